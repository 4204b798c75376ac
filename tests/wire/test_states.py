"""The table of the protocol, and two connections that keep to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.wire.pair import EXAMPLES, WELCOME, ConnectionPair
from waystation._core.errors import LocalProtocolError, RemoteProtocolError
from waystation._wire.frames import BYES, CODES, Bye, Frame, GoAway, Hello
from waystation._wire.framing import encode
from waystation._wire.states import TRANSITIONS, Role, State

HELLO = Hello("waystation", (1, 1))


def brought_to(state: State) -> ConnectionPair:
    """Two connections that have come so far; in `FAILED` it is the server that was wronged."""
    pair = ConnectionPair()
    if state in (State.GREETED, State.OPEN, State.LEAVING):
        pair.says(Role.CLIENT, HELLO)
    if state in (State.OPEN, State.LEAVING):
        pair.says(Role.SERVER, WELCOME)
    if state is State.LEAVING:
        pair.says(Role.SERVER, GoAway())
    if state is State.CLOSED:
        pair.says(Role.CLIENT, Bye("done"))
    if state is State.FAILED:
        for end in pair.ends.values():
            with pytest.raises(RemoteProtocolError):
                end.received(b"\xff" * 10)
    return pair


def every_case() -> Iterator[tuple[Role, State, Frame]]:
    for role in Role:
        for state in State:
            for frame in EXAMPLES:
                yield role, state, frame


def data_of(frame: Frame) -> bytes:
    data = encode(frame)
    assert isinstance(data, bytes)
    return data


@pytest.mark.parametrize(("role", "state", "frame"), list(every_case()))
def test_what_may_be_said_and_heard_is_what_the_table_says(role: Role, state: State, frame: Frame) -> None:
    pair = brought_to(state)
    speaker, listener = pair.ends[role], pair.ends[role.peer]
    assert speaker.state is listener.state is state
    leads = TRANSITIONS[role][state].get(type(frame))
    if leads is not None:
        heard = pair.says(role, frame)
        deaf = state is State.FAILED  # the listener was wronged too, and waits for nothing
        assert heard == ([] if deaf else [frame])
        assert (speaker.state, listener.state) == (leads, state if deaf else leads)
        return
    with pytest.raises(LocalProtocolError, match=f"a {role.value} may not say {type(frame).__name__} while"):
        speaker.say(frame)
    assert speaker.state is state
    if state in (State.FAILED, State.CLOSED):
        assert listener.received(data_of(frame)) == []
        assert listener.state is state
        return
    with pytest.raises(RemoteProtocolError, match=f"a {role.value} may not say {type(frame).__name__} while"):
        listener.received(data_of(frame))
    assert listener.state is State.FAILED


def test_the_table_is_complete() -> None:
    assert all(set(TRANSITIONS[role]) == set(State) for role in Role)
    said = {frame for role in Role for row in TRANSITIONS[role].values() for frame in row}
    assert said == set(CODES.values()), "each frame can be said by somebody"


@pytest.mark.parametrize("role", Role)
def test_every_state_is_reached_and_left_by_bye(role: Role) -> None:
    for state, row in TRANSITIONS[role].items():
        assert row.get(Bye) is (None if state is State.CLOSED else State.CLOSED)
    reached = {to for each in TRANSITIONS.values() for row in each.values() for to in row.values()}
    assert reached == set(State) - {State.GREETING, State.FAILED}, "one begins there; the other is a fault"


def test_either_is_the_others_peer() -> None:
    assert [role.peer for role in Role] == [Role.SERVER, Role.CLIENT]


def test_every_reason_for_an_end_has_a_meaning() -> None:
    assert set(BYES) == {"done", "drained", "protocol", "version", "access", "limit", "silence", "replaced"}
    assert all(BYES.values())
