"""Two connections joined by bytes: the greeting, its limits, and whose fault it is."""

from __future__ import annotations

import copy
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.pair import EXAMPLES, WELCOME, ConnectionPair, frames, part, written
from waystation._core.errors import LocalProtocolError, RemoteProtocolError
from waystation._core.limits import FRAME_BYTES_MAX, GREETING_BYTES_MAX, WHOLE_BYTES_MAX
from waystation._core.message import Message
from waystation._core.packed import pack
from waystation._wire.connection import Connection, common_version
from waystation._wire.frames import Bye, Call, Failed, Frame, GoAway, Hello, Ping, Pong, Result, Send, Welcome
from waystation._wire.framing import Bulk
from waystation._wire.states import TRANSITIONS, Role, State

HELLO = Hello("waystation", (1, 1))


def welcome(**changes: object) -> Welcome:
    assert isinstance(WELCOME, Welcome)
    return msgspec.structs.replace(WELCOME, **changes)


def said(connection: Connection, frame: Frame) -> bytes:
    data = connection.say(frame)
    assert isinstance(data, bytes)
    return data


def test_peers_greet_each_other_and_talk() -> None:
    pair = ConnectionPair()
    assert pair.says(Role.CLIENT, HELLO) == [HELLO]
    assert pair.says(Role.SERVER, WELCOME) == [WELCOME]
    assert [end.state for end in pair.ends.values()] == [State.OPEN, State.OPEN]
    assert pair.says(Role.CLIENT, Ping(3), Call(1, 1, "groups", msgspec.Raw(b"\x90")))[0] == Ping(3)
    assert pair.says(Role.SERVER, Pong(3), Result(1)) == [Pong(3), Result(1)]
    assert pair.says(Role.SERVER, GoAway("maintenance")) == [GoAway("maintenance")]
    assert pair.says(Role.SERVER, Failed(2, "Disconnected"), Bye("drained"))[1] == Bye("drained")
    assert [end.state for end in pair.ends.values()] == [State.CLOSED, State.CLOSED]


@given(st.lists(frames(), max_size=5), st.integers(1, 30))
def test_a_talk_is_the_same_when_it_comes_in_pieces(talk: list[Frame], size: int) -> None:
    pair = ConnectionPair().greet()
    row = TRANSITIONS[Role.CLIENT][State.OPEN]
    talk = [frame for frame in talk if row.get(type(frame)) is State.OPEN]
    stream = b"".join(said(pair.client, frame) for frame in talk)
    pieces = [stream[place : place + size] for place in range(0, len(stream), size)]
    assert [frame for piece in pieces for frame in pair.server.received(piece)] == talk


# --- the greeting -------------------------------------------------------------------------------------------------


def test_a_stranger_may_say_little() -> None:
    server = Connection(Role.SERVER)
    with pytest.raises(RemoteProtocolError, match="at most") as caught:
        server.received(written(1, b"x" * (GREETING_BYTES_MAX + 1)))
    assert caught.value.code == "limit"


@pytest.mark.parametrize("role", Role)
def test_nothing_comes_in_parts_before_the_peers_know_each_other(role: Role) -> None:
    connection = Connection(role)
    with pytest.raises(RemoteProtocolError, match="before the peers know each other") as caught:
        connection.received(part(1, 1, 100, b"x"))
    assert caught.value.code == "limit"
    assert connection.whole_bytes == 0


def test_a_client_does_not_say_more_than_a_stranger_may() -> None:
    client = Connection(Role.CLIENT)
    with pytest.raises(LocalProtocolError, match="Hello has") as caught:
        client.say(Hello("waystation", (1, 1), token="x" * GREETING_BYTES_MAX))
    assert caught.value.code == "limit"
    assert client.state is State.GREETING
    assert client.say(HELLO)


def test_after_the_greeting_both_may_say_more() -> None:
    pair = ConnectionPair().greet()
    large = Send(1, 1, pack([Message("m", "t", b"x" * (FRAME_BYTES_MAX - 100))]))
    assert isinstance(pair.client.say(large), bytes)
    assert pair.says(Role.CLIENT, large) == [large]
    larger = Send(2, 1, pack([Message("m", "t", b"x" * 3 * FRAME_BYTES_MAX)]))
    assert isinstance(pair.client.say(larger), Bulk)
    assert pair.says(Role.CLIENT, larger) == [larger]


def test_a_server_may_take_shorter_frames_and_a_client_keeps_to_it() -> None:
    pair = ConnectionPair()
    pair.says(Role.CLIENT, HELLO)
    pair.says(Role.SERVER, welcome(frame_bytes_max=GREETING_BYTES_MAX))
    assert pair.client.peer_frame_bytes_max == GREETING_BYTES_MAX
    assert pair.server.peer_frame_bytes_max == FRAME_BYTES_MAX
    large = Send(1, 1, pack([Message("m", "t", b"x" * 2 * GREETING_BYTES_MAX)]))
    assert isinstance(pair.client.say(large), Bulk)
    assert pair.says(Role.CLIENT, large) == [large]
    with pytest.raises(RemoteProtocolError):
        pair.server.received(written(16, b"x" * (GREETING_BYTES_MAX + 1)))


def test_a_server_that_takes_longer_frames_does_not_get_them() -> None:
    pair = ConnectionPair()
    pair.says(Role.CLIENT, HELLO)
    pair.says(Role.SERVER, welcome(frame_bytes_max=2**40))
    assert pair.client.peer_frame_bytes_max == FRAME_BYTES_MAX


@pytest.mark.parametrize(
    ("hello", "field", "code"),
    [
        (Hello("elsewhere", (1, 1)), "Hello.protocol", "protocol"),
        (Hello("waystation", (2, 9)), "Hello.versions", "version"),
        (Hello("waystation", (0, 0)), "Hello.versions", "version"),
        (Hello("waystation", (1, 0)), "Hello.versions", "version"),
    ],
)
def test_who_has_nothing_in_common_is_told_what(hello: Hello, field: str, code: str) -> None:
    server = Connection(Role.SERVER)
    with pytest.raises(RemoteProtocolError) as caught:
        server.received(written(1, msgspec.msgpack.encode(hello)))
    assert (caught.value.field, caught.value.code) == (field, code)
    with pytest.raises(LocalProtocolError):
        Connection(Role.CLIENT).say(hello)


def test_the_highest_common_version_is_spoken() -> None:
    assert common_version(Hello("waystation", (1, 7))) == 1
    pair = ConnectionPair()
    pair.says(Role.CLIENT, HELLO)
    with pytest.raises(RemoteProtocolError, match="was not asked for") as caught:
        pair.client.received(written(2, msgspec.msgpack.encode(welcome(version=2))))
    assert (caught.value.code, caught.value.field) == ("version", "Welcome.version")


# --- parts --------------------------------------------------------------------------------------------------------


def test_wholes_of_one_side_have_different_numbers() -> None:
    pair = ConnectionPair().greet()
    large = [Send(n, 1, pack([Message(f"m{n}", "t", b"x" * 2 * FRAME_BYTES_MAX)])) for n in (1, 2)]
    first, second = (pair.client.say(frame) for frame in large)
    assert isinstance(first, Bulk)
    assert isinstance(second, Bulk)
    heard: list[Frame] = []
    for pieces in zip(first, second, strict=True):
        heard += pair.server.received(pieces[0])
        assert pair.server.whole_bytes >= first.total_bytes
        heard += pair.server.received(pieces[1])
    assert heard == large
    assert pair.server.whole_bytes == 0


def test_what_is_under_way_is_forgotten_when_the_connection_ends() -> None:
    pair = ConnectionPair().greet()
    pair.server.received(part(16, 1, WHOLE_BYTES_MAX, b"x" * 1000))
    assert pair.server.whole_bytes == WHOLE_BYTES_MAX
    pair.server.say(Bye("limit"))
    assert pair.server.whole_bytes == 0


# --- the end ------------------------------------------------------------------------------------------------------


def test_whoever_was_wronged_says_so_and_hears_no_more() -> None:
    pair = ConnectionPair().greet()
    with pytest.raises(RemoteProtocolError) as caught:
        pair.server.received(written(16, msgspec.msgpack.encode([1, "one", []])))
    assert (caught.value.field, pair.server.state) == ("Send.answered", State.FAILED)
    assert pair.server.received(said(pair.client, Ping(1))) == []
    bye = Bye(caught.value.code, str(caught.value), caught.value.field)
    assert pair.says(Role.SERVER, bye) == [bye]
    assert pair.server.state is pair.client.state is State.CLOSED


def test_what_follows_a_bye_is_not_heard() -> None:
    pair = ConnectionPair().greet()
    stream = said(pair.client, Ping(1)) + said(pair.client, Bye("done"))
    assert pair.server.received(stream + written(5, b"\x91\x02")) == [Ping(1), Bye("done")]
    assert pair.server.received(b"anything") == []
    assert pair.server.state is State.CLOSED


def test_what_crosses_ones_own_bye_is_not_heard() -> None:
    pair = ConnectionPair().greet()
    crossing = said(pair.client, Ping(1))
    pair.server.say(Bye("drained"))
    assert pair.server.received(crossing + b"\xff" * 20) == []


def test_what_crosses_a_go_away_is_heard() -> None:
    pair = ConnectionPair().greet()
    crossing = said(pair.client, EXAMPLES[6])
    leaving = said(pair.server, GoAway())
    assert pair.server.received(crossing) == [EXAMPLES[6]]
    assert pair.client.received(leaving) == [GoAway()]


def test_a_server_that_is_full_says_bye_to_whoever_comes() -> None:
    pair = ConnectionPair()
    hello = said(pair.client, HELLO)
    assert pair.says(Role.SERVER, Bye("limit", "too many connections")) == [
        Bye("limit", "too many connections")
    ]
    assert pair.server.received(hello) == []


def test_a_frame_that_cannot_be_written_changes_nothing() -> None:
    pair = ConnectionPair().greet()
    with pytest.raises(LocalProtocolError):
        pair.client.say(Bye("\ud800"))
    assert pair.client.state is State.OPEN
    with pytest.raises(LocalProtocolError, match="Bye has"):
        pair.client.say(Bye("done", "x" * FRAME_BYTES_MAX))
    assert pair.says(Role.CLIENT, Ping(1)) == [Ping(1)]


def test_an_idle_connection_is_small() -> None:
    pair = ConnectionPair().greet()
    seen = {id(None)}

    def size(thing: object) -> int:
        if (
            id(thing) in seen
            or isinstance(thing, (type, Role, State))
            or thing in TRANSITIONS[Role.CLIENT].values()
        ):
            return 0
        seen.add(id(thing))
        inside = [
            getattr(thing, name) for name in getattr(type(thing), "__slots__", ()) if hasattr(thing, name)
        ]
        return sys.getsizeof(thing) + sum(map(size, inside))

    assert size(pair.server) < 1024


# --- secrets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", EXAMPLES[:2])
def test_no_secret_is_shown(frame: Frame) -> None:
    shown = repr(frame) + repr(frame.__rich_repr__())
    assert "s3cret" not in shown
    assert "x01" not in shown
    assert "x09" not in shown
    assert "***" in shown
    assert repr(copy.copy(frame)) == repr(frame)


def test_an_error_does_not_quote_a_secret() -> None:
    payload = msgspec.msgpack.encode(["waystation", [1, 1], [], "", "", 0, b"s3cret"])
    with pytest.raises(RemoteProtocolError) as caught:
        Connection(Role.SERVER).received(written(1, payload))
    assert caught.value.field == "Hello.token"
    assert "s3cret" not in str(caught.value)


def test_what_is_no_secret_is_shown() -> None:
    assert repr(Ping(3)) == "Ping(number=3)"
    assert "token=''" in repr(HELLO)
