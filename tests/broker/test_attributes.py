"""A message in headers and back; and what a client sent that never heard of Waystation."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waystation._broker.attributes import (
    AMQP,
    KAFKA,
    NATS,
    REDIS,
    Binding,
    from_headers,
    headers_of,
    rfc3339,
    seconds,
    text,
    to_headers,
)
from waystation._core.message import Message
from waystation._core.run import MessageRun

BINDINGS = {"kafka": KAFKA, "amqp": AMQP, "nats": NATS, "redis": REDIS}
EVERY_BINDING = pytest.mark.parametrize("binding", BINDINGS.values(), ids=BINDINGS.keys())

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.one_of(
    st.sampled_from(
        ["ce_id", "CE-ID", "cloudEvents:id", "Nats-Msg-Id", "CC", "x-delay", "Content-Type", "data", "a b"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1, max_size=12),
)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=20)
TIMES = st.one_of(
    st.floats(1.6e9, 2.5e9), st.floats(0, 1e9), st.floats(allow_nan=False, allow_infinity=False, width=64)
)
MESSAGES = st.builds(
    Message,
    id=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    topic=st.just("orders.placed"),
    body=st.binary(max_size=10),
    key=st.none() | TEXT,
    headers=st.dictionaries(NAMES, VALUES, max_size=4),
    content_type=st.sampled_from(["application/json", "text/plain; charset=utf-8"]),
    type=st.sampled_from(["", "Order", "orders.placed", "Größe"]),
    source=st.sampled_from(["", "shop", "waystation", "a b%20"]),
    time=TIMES,
    correlation_id=st.none() | TEXT,
    causation_id=st.none() | TEXT,
    reply_to=st.none() | TEXT,
    expires_at=st.none() | TIMES,
    deliver_at=st.none() | TIMES,
    priority=st.integers(-10, 10),
    dedupe_key=st.none() | TEXT,
    traceparent=st.none() | TEXT,
    failure=st.none() | TEXT,
)


def read(headers: dict[str, str], binding: Binding, message: Message) -> Message:
    """Read a message as its gate does: where the protocol has a place for the content type, from there."""
    place = "" if binding.content_type else message.content_type
    return from_headers(
        headers, message.body, binding, topic=message.topic, message_id="?", content_type=place, time=-1.0
    )


@EVERY_BINDING
@given(message=MESSAGES)
@example(message=Message("m", "orders.placed", b"", headers={"": "x"}, time=1_700_000_000.1234567))
def test_a_message_survives_the_way_through_headers(binding: Binding, message: Message) -> None:
    headers = to_headers(message, binding)
    assert read(headers, binding, message) == message


@given(message=MESSAGES)
def test_a_protocol_made_of_lines_gets_lines(message: Message) -> None:
    for name, value in to_headers(message, NATS).items():
        assert name.isascii()
        assert not {*name} & {*' :\r\n"'}
        assert value.isascii()
        assert value.isprintable() or not value
        assert value == value.strip()


@EVERY_BINDING
@given(message=MESSAGES)
def test_no_header_of_the_user_becomes_a_command_to_the_broker(binding: Binding, message: Message) -> None:
    assert not any(binding.is_reserved(name) for name in to_headers(message, binding))


@EVERY_BINDING
@given(messages=st.lists(MESSAGES, min_size=1, max_size=3), keyed=st.booleans())
def test_a_run_is_written_as_its_messages_are(binding: Binding, messages: list[Message], keyed: bool) -> None:
    keys = [each.key for each in messages] if keyed else None
    run = MessageRun(messages[0], [each.id for each in messages], [each.body for each in messages], keys)
    assert headers_of(run, binding) == [to_headers(message, binding) for message in run]
    assert headers_of(messages, binding) == [to_headers(message, binding) for message in messages]


def test_a_cloud_event_is_written_as_its_binding_says() -> None:
    message = Message(
        "m1-0",
        "orders.placed",
        b"{}",
        "c 1",
        {"tenant": "acme"},
        type="Order",
        source="shop",
        time=1_700_000_000.5,
    )
    assert to_headers(message, KAFKA) == {
        "ce_specversion": "1.0",
        "ce_id": "m1-0",
        "ce_source": "shop",
        "ce_type": "Order",
        "ce_time": "2023-11-14T22:13:20.5000000Z",
        "ce_partitionkey": "c 1",
        "content-type": "application/json",
        "tenant": "acme",
    }
    assert to_headers(message, NATS)["ce-partitionkey"] == "c%201"
    assert "cloudEvents_id" in to_headers(message, AMQP)
    assert "content-type" not in to_headers(message, AMQP)


@EVERY_BINDING
def test_an_event_has_a_source_and_a_type_even_if_the_message_has_none(binding: Binding) -> None:
    headers = to_headers(Message("m", "orders.placed", b""), binding)
    assert headers[binding.names["source"]]
    assert headers[binding.names["type"]] == "orders.placed"


@EVERY_BINDING
def test_what_a_plain_client_sends_is_a_legal_message(binding: Binding) -> None:
    message = from_headers(
        {"tenant": "acme"}, b"{}", binding, topic="orders.placed", message_id="k-0-17", time=5.0, key="c1"
    )
    assert message == Message("k-0-17", "orders.placed", b"{}", "c1", {"tenant": "acme"}, time=5.0)


def test_an_event_of_another_library_is_read() -> None:
    headers = {
        "cloudEvents:id": "A-1",
        "cloudEvents:source": "/shop",
        "cloudEvents:type": "com.example.order",
        "cloudEvents:time": "2023-11-14T23:13:20.25+01:00",
        "cloudEvents:subject": "42",
        "x-death": "[]",
    }
    message = from_headers(
        headers, b"hi", AMQP, topic="orders", message_id="?", content_type="text/plain", time=1.0
    )
    assert (message.id, message.source, message.type) == ("A-1", "/shop", "com.example.order")
    assert message.time == 1_700_000_000.25
    assert message.content_type == "text/plain"
    assert message.headers == {"cloudEvents:subject": "42"}


@EVERY_BINDING
@given(headers=st.dictionaries(st.sampled_from(["priority", "time", "expires_at", "headers", "id"]), TEXT))
def test_nonsense_is_as_if_it_were_not_there(binding: Binding, headers: dict[str, str]) -> None:
    written = {binding.names[field]: value for field, value in headers.items()}
    message = from_headers(written, b"", binding, topic="orders", message_id="k-1", time=3.0)
    assert message.id
    assert isinstance(message.priority, int)
    assert message.time == 3.0 or seconds(headers["time"]) is not None
    assert all(isinstance(value, str) for value in message.headers.values())


@pytest.mark.parametrize(
    "written", ["", "soon", "nan", "inf", "2023-11-14T22:13:20", "2023-13-14T22:13:20Z", "1.Z"]
)
def test_what_is_no_time_is_none(written: str) -> None:
    assert seconds(written) is None


@pytest.mark.parametrize(
    ("written", "unix_s"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-14T22:13:20.123Z", 1_700_000_000.123),
        ("2023-11-14T22:13:20+00:00", 1_700_000_000.0),
        ("2023-11-14T17:13:20.5-05:00", 1_700_000_000.5),
        ("1700000000.25", 1_700_000_000.25),
    ],
)
def test_times_are_read_as_others_write_them(written: str, unix_s: float) -> None:
    assert seconds(written) == unix_s


@given(st.floats(5.4e8, 2.5e11))
def test_a_time_of_the_calendar_is_written_as_rfc_3339(unix_s: float) -> None:
    assert "T" in rfc3339(unix_s)
    assert seconds(rfc3339(unix_s)) == unix_s


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "a"), (b"\xc3\xa4", "ä"), (bytearray(b"\xff"), "\ufffd"), (7, "7"), (True, "True")],
)
def test_what_a_driver_finds_is_text(value: object, expected: str) -> None:
    assert text(value) == expected


def test_line_breaks_of_a_stranger_are_not_sent_on() -> None:
    message = from_headers({"note": "a\r\nb\0"}, b"", KAFKA, topic="orders", message_id="k")
    assert message.headers == {"note": "a  b "}


def test_headers_that_cannot_stand_beside_the_attributes_are_json_in_one() -> None:
    message = Message("m", "orders", b"", headers={"Nats-Rollup": "all", "größe": "XL", "plain": "yes"})
    headers = to_headers(message, NATS)
    assert headers["plain"] == "yes"
    assert {*headers} & {*message.headers} == {"plain"}
    assert read(headers, NATS, message).headers == message.headers
