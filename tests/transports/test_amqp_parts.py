"""The parts of amqp:// that need no server: bytes, names, settling in ranges, suspicion, and a group's place."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation import ConfigurationError, Disconnected
from waystation._broker.attributes import AMQP, to_headers
from waystation._core.delivery import ACCEPT, RELEASE, Delivery, Retry
from waystation._core.errors import Refused
from waystation._core.limits import LEASE_S
from waystation._core.message import Message
from waystation._core.url import parse_url
from waystation.transports.amqp import frames
from waystation.transports.amqp.binding import ATTEMPTS, DUE, message_of
from waystation.transports.amqp.channel import Arrival, Channel
from waystation.transports.amqp.driver import Closed, Gone, trouble
from waystation.transports.amqp.holds import Holds
from waystation.transports.amqp.limits import SLOTS_COUNT
from waystation.transports.amqp.lines import Line, Source
from waystation.transports.amqp.names import Names, slot_of
from waystation.transports.amqp.options import read_options
from waystation.transports.amqp.place import Held, Place
from waystation.transports.amqp.suspicion import ALONE, Standing, standing
from waystation.transports.amqp.tables import read_properties, write_properties

pamqp_frame = pytest.importorskip("pamqp.frame")
pamqp_commands = pytest.importorskip("pamqp.commands")

LINE = Line("billing", "q", "q:again", keyed=True, dead="q:dead")


# --- bytes -----------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=50)


@given(st.dictionaries(st.text(min_size=1, max_size=40), TEXT), TEXT, TEXT, st.booleans())
def test_properties_are_read_as_they_were_written(
    headers: dict[str, str], content_type: str, message_id: str, persistent: bool
) -> None:
    written = write_properties(
        headers, content_type=content_type, message_id=message_id, persistent=persistent
    )
    assert read_properties(written) == {
        "headers": headers,
        "content_type": content_type,
        "message_id": message_id,
        "delivery_mode": 2 if persistent else 1,
    }


def test_frames_are_what_another_library_reads() -> None:
    """A body in pieces, too."""
    properties = write_properties({"a": "1"}, content_type="text/plain", message_id="m-1", persistent=True)
    data = frames.publish(
        7, route=b"\2ws\6orders", mandatory=True, properties=properties, body=b"x" * 25, piece_bytes=10
    )
    found = []
    while data:
        length, channel, frame = pamqp_frame.unmarshal(data)
        found.append(frame)
        data = data[length:]
        assert channel == 7
    publish, header, *bodies = found
    assert (publish.name, publish.exchange, publish.routing_key, publish.mandatory) == (
        "Basic.Publish",
        "ws",
        "orders",
        True,
    )
    assert (header.body_size, header.properties.headers) == (25, {"a": "1"})
    assert [body.value for body in bodies] == [b"x" * 10, b"x" * 10, b"x" * 5]
    _, _, ack = pamqp_frame.unmarshal(frames.ack(7, 12, multiple=True))
    assert (ack.name, ack.delivery_tag, ack.multiple) == ("Basic.Ack", 12, True)
    _, _, nack = pamqp_frame.unmarshal(frames.nack(7, 12, multiple=False))
    assert (nack.name, nack.multiple, nack.requeue) == ("Basic.Nack", False, True)


def test_what_another_library_writes_is_read() -> None:
    """Headers of every type that it has."""
    headers = {
        "n": 7,
        "big": 2**40,
        "no": None,
        "yes": True,
        "half": 0.5,
        "list": [1, "a"],
        "inner": {"b": "c"},
    }
    properties = pamqp_commands.Basic.Properties(
        content_type="application/json", headers=headers, priority=3, message_id="x", expiration="100"
    )
    found = read_properties(properties.marshal())
    assert found == {
        "content_type": "application/json",
        "headers": headers,
        "priority": 3,
        "message_id": "x",
        "expiration": "100",
    }


@given(st.binary(max_size=60))
def test_strange_bytes_are_refused_or_read(data: bytes) -> None:
    """By the error that ends the connection, and no other."""
    try:
        read_properties(data)
    except ValueError:
        return


def test_a_copy_is_its_message_whatever_it_carries_besides() -> None:
    sent = Message("m-1", "orders.placed", b"1", key="k", headers={"tenant": "n"}, time=1.5)
    headers = to_headers(sent, AMQP) | {ATTEMPTS: "3", DUE: "2.5", "x-ws-topic": sent.topic}
    arrival = arrived({"headers": headers, "content_type": sent.content_type}, b"1", routing_key="some:queue")
    assert message_of(arrival) == sent


def arrived(properties: dict[str, object], body: bytes, *, routing_key: str) -> Arrival:
    channel = Channel.__new__(Channel)  # nothing is said through it
    return Arrival(channel, 1, False, "ws", routing_key, properties, body)


# --- names and URLs --------------------------------------------------------------------------------------------


def test_names_fit_and_differ() -> None:
    names = Names("ws")
    long = "a" * 200
    assert names.group("billing", "orders.*", "dead") == "ws:orders.@:billing:dead"
    found = {names.group(group, long, part) for group in (long, long[:-1]) for part in ("", "dead", "k0")}
    assert len(found) == 6
    assert max(map(len, found)) <= 255
    assert {slot_of(f"k{number}") for number in range(100)} == set(range(SLOTS_COUNT))


def test_a_url_is_read_and_shown_without_its_password() -> None:
    options = read_options(
        parse_url("amqps://me:s%40crt@rabbit/shop%2Fa?prefix=shop&partitions=8&heartbeat=2s")
    )
    assert (options.host, options.port, options.user, options.password) == ("rabbit", 5671, "me", "s@crt")
    assert (options.vhost, options.prefix, options.partitions, options.heartbeat_s) == (
        "shop/a",
        "shop",
        8,
        2,
    )
    assert "crt" not in options.shown
    assert "crt" not in repr(options)
    plain = read_options(parse_url("amqp://localhost"))
    assert (plain.port, plain.user, plain.password, plain.vhost) == (5672, "guest", "guest", "/")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("amqp:///", "names no host"),
        ("amqp://localhost:x/", "port must be a number"),
        ("amqp://localhost/a/b", "written with %2F"),
        ("amqp://localhost/?prefx=a", "did you mean 'prefix'"),
        ("amqp://localhost/?prefix=a.b", "1 to 32 letters"),
        ("amqp://localhost/?partitions=3", "must be one of 1, 2, 4, 8"),
        ("amqp://localhost/?heartbeat=0s", "from 1 s to 1 h"),
        ("amqp://localhost/?tls_ca=ca.pem", "is for amqps://"),
        ("amqps://localhost/?tls_ca=/nowhere", "cannot be read"),
        ("amqp://me:s3cret@rabbit/", "a secret is not sent to another machine without TLS: write amqps://"),
        ("amqp://rabbit/?insecure=1", "say insecure=yes-i-know"),
    ],
)
def test_a_wrong_url_is_refused_with_the_way_out(url: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        read_options(parse_url(url))


@pytest.mark.parametrize(
    ("closed", "kind", "sentence"),
    [
        (
            Closed(403, "ACCESS_REFUSED - access to queue"),
            Refused,
            r"rabbitmqctl set_permissions -p / guest '\^shop",
        ),
        (Closed(406, "PRECONDITION_FAILED - inequivalent arg"), ConfigurationError, "use another [?]prefix="),
        (Closed(404, "NOT_FOUND - no queue"), Gone, "NOT_FOUND"),
        (Closed(541, "INTERNAL_ERROR"), Disconnected, "INTERNAL_ERROR"),
    ],
)
def test_what_a_server_refuses_is_said_with_the_way_out(
    closed: Closed, kind: type[Exception], sentence: str
) -> None:
    options = read_options(parse_url("amqp://guest:s3cret@rabbit/?prefix=shop&insecure=yes-i-know"))
    error = trouble(closed, options, "connecting")
    assert type(error) is kind
    with pytest.raises(kind, match=sentence):
        raise error
    assert "s3cret" not in str(error)


# --- settling --------------------------------------------------------------------------------------------------


class Wire:
    """A channel's end: what is said through it."""

    number = 1

    def __init__(self) -> None:
        self.said: list[tuple[int, bool]] = []

    def write(self, data: bytes) -> None:
        while data:
            length, _, ack = pamqp_frame.unmarshal(data)
            self.said.append((ack.delivery_tag, ack.multiple))
            data = data[length:]


@given(st.permutations(range(1, 13)), st.integers(1, 5))
def test_everything_is_settled_once_in_whatever_order(order: list[int], size: int) -> None:
    """In ranges, of which the last is always one that is still open."""
    wire = Wire()
    holds = Holds(cast("Channel", wire))
    for tag in range(1, 13):
        holds.add(tag)
    open_tags = set(range(1, 13))
    for start in range(0, 12, size):
        chosen = order[start : start + size]
        holds.ack(chosen)
        for tag, multiple in wire.said:
            assert tag in open_tags
            open_tags -= {each for each in open_tags if each <= tag} if multiple else {tag}
        wire.said.clear()
        assert open_tags == set(range(1, 13)) - set(order[: start + size])
        assert len(holds) == len(open_tags)


# --- suspicion -------------------------------------------------------------------------------------------------


def test_who_dies_alone_is_guilty_and_nobody_else() -> None:
    """A message that kills, from its first death to its last; and a neighbour that only lies there."""
    assert standing(attempts=0, level=0, vanished=0) == Standing(0, 0, doubted=False)
    first = standing(attempts=0, level=0, vanished=1)
    assert first == Standing(1, 1, doubted=True), "it may have been begun; in company"
    second = standing(attempts=first.attempts, level=first.level, vanished=1)
    assert second == Standing(1, ALONE, doubted=True), "another may have been the reason: no attempt"
    third = standing(attempts=second.attempts, level=second.level, vanished=1)
    assert third == Standing(2, ALONE + 1, doubted=True), "it was alone"
    neighbour = standing(attempts=0, level=0, vanished=4)
    assert neighbour.attempts == 1, "what was never handed out is not blamed again and again"


# --- a group's place -------------------------------------------------------------------------------------------


class Member:
    """A receiver."""

    def __init__(self) -> None:
        self.rings = 0

    def wake(self) -> None:
        self.rings += 1


class Desk:
    """A place, and a partition whose messages arrive there."""

    def __init__(self) -> None:
        self.place = Place()
        self.source = Source.__new__(Source)  # nothing is settled through it
        self.count = 0

    def arrive(self, key: str | None = "k", **attributes: object) -> Held:
        self.count += 1
        sequence = None if key is None else ("orders", key)
        message = Message(f"m-{self.count}", "orders", b"", key=key)
        held = Held(message, self.source, self.count, 0, self.count, 0.0, sequence)
        for name, value in attributes.items():
            setattr(held, name, value)
        self.place.arrive(held, 100.0, again=held.doubted or held.attempts > 0)
        return held

    def take(self, owner: Member, limit: int = 10) -> list[Delivery]:
        return self.place.take(owner, limit, 0.0)


def names_of(deliveries: list[Delivery]) -> list[str]:
    return [delivery.message.id for delivery in deliveries]


def test_a_key_that_is_retried_waits_for_its_copy_and_others_do_not() -> None:
    desk, one = Desk(), Member()
    desk.arrive("a")
    desk.arrive("a")
    desk.arrive("b")
    (head,) = desk.take(one, 1)
    ended, lost = desk.place.settle([(head, Retry(0.0))], 100.0)
    assert (len(ended), lost) == (1, [])
    desk.place.expect("copy", ("orders", "a"))
    assert names_of(desk.take(one)) == ["m-3"]
    again = Held(head.message, desk.source, 9, 1, 1, 0.0, ("orders", "a"))
    desk.place.arrive(again, 100.0, again=True, copy="copy")
    (came,) = desk.take(one)
    assert (came.message.id, came.attempt) == ("m-1", 2)
    desk.place.settle([(came, ACCEPT)], 100.0)
    assert names_of(desk.take(one)) == ["m-2"]


def test_what_could_not_be_published_anew_stays_in_its_place() -> None:
    desk, one = Desk(), Member()
    desk.arrive("a")
    desk.arrive("a")
    (head,) = desk.take(one, 1)
    (ended,), _ = desk.place.settle([(head, Retry(0.0))], 100.0)
    desk.place.expect("copy", ("orders", "a"))
    desk.place.put_back(ended.held, "copy", 100.0)
    assert names_of(desk.take(one)) == ["m-1", "m-2"]


def test_a_lease_that_ends_gives_back_in_order_and_refuses_who_is_late() -> None:
    desk, late, other = Desk(), Member(), Member()
    for _ in range(3):
        desk.arrive("a")
    held = desk.take(late, 2)
    desk.place.tick(LEASE_S + 1, 100.0)
    assert desk.place.settle([(held[0], ACCEPT)], 100.0) == ([], [held[0]])
    (again,) = desk.take(other)
    assert (again.message.id, again.attempt) == ("m-1", 2)
    desk.place.settle([(again, ACCEPT)], 100.0)
    assert names_of(desk.take(other)) == ["m-2"]


def test_suspects_come_in_company_first_and_then_alone() -> None:
    desk, one = Desk(), Member()
    for number in range(3):
        desk.arrive(None, attempts=1, level=1, doubted=True, tag=number)
    worse = desk.arrive(None, attempts=1, level=ALONE, doubted=True)
    assert desk.take(one) == [], "nobody is handed out before that is written down"
    company = desk.place.company(2)
    assert len(company) == 2
    for held in company:
        held.doubted = False
        desk.place.arrive(held, 100.0, again=True)
    assert desk.place.company(2) == [], "others wait until these are done with"
    taken = desk.take(one)
    assert len(taken) == 2
    desk.place.settle([(delivery, ACCEPT) for delivery in taken], 100.0)
    (last,) = desk.place.company(2)
    last.doubted = False
    desk.place.arrive(last, 100.0, again=True)
    desk.place.settle([(delivery, ACCEPT) for delivery in desk.take(one)], 100.0)
    assert desk.place.company(2) == [worse]
    worse.doubted = False
    desk.place.arrive(worse, 100.0, again=True)
    desk.arrive(None)
    (alone,) = desk.take(one)
    assert alone.message.id == worse.message.id
    assert desk.take(one) == [], "nothing else is in hand with it"
    desk.place.settle([(alone, ACCEPT)], 100.0)
    assert len(desk.take(one)) == 1


def test_a_suspect_does_not_wait_for_what_is_parked_behind_it() -> None:
    """Which was taken out before it: a member had left meanwhile, and the first of the key came back last."""
    desk, one = Desk(), Member()
    first = desk.arrive("a", attempts=1, level=1, doubted=True)
    desk.arrive("a", attempts=1, level=1)
    assert desk.take(one) == []
    assert desk.place.company(2) == [first]


def test_a_key_is_held_back_no_more_by_a_copy_that_comes_to_another_process() -> None:
    desk, one = Desk(), Member()
    desk.arrive("a")
    desk.place.settle([(desk.take(one)[0], Retry(0.0))], 100.0)
    desk.place.expect("copy", ("orders", "a"))
    desk.place.forget(lambda sequence: sequence == ("orders", "b"), 100.0)
    desk.arrive("a")
    assert desk.take(one) == []
    desk.place.forget(lambda sequence: sequence == ("orders", "a"), 100.0)
    assert names_of(desk.take(one)) == ["m-2"]


def test_a_copy_waits_at_the_door_until_what_it_is_a_copy_of_is_settled() -> None:
    desk, one = Desk(), Member()
    desk.place.bar(["copy"])
    held = Held(Message("m-1", "orders", b""), desk.source, 1, 1, 1, 0.0, None, 1)
    desk.place.arrive(held, 100.0, again=True, copy="copy")
    assert desk.take(one) == []
    desk.place.unbar(["copy"], 100.0)
    assert names_of(desk.take(one)) == ["m-1"]


def test_what_is_withdrawn_comes_in_its_order_and_leaves_the_rest() -> None:
    desk, one = Desk(), Member()
    for key in ("a", "a", "b", None):
        desk.arrive(key)
    (head,) = desk.take(one, 1)
    withdrawn = desk.place.withdraw(lambda held: held.sequence is not None, 100.0)
    assert [held.message.id for held in withdrawn] == ["m-2", "m-3"]
    desk.place.settle([(head, RELEASE)], 100.0)
    assert sorted(names_of(desk.take(one))) == ["m-1", "m-4"]
