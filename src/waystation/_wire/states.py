"""Who may say what, and when: the protocol as one table.

A connection is in one state, which both peers see alike but for what is on its way. It begins with a greeting: the
client says `Hello`, the server answers with `Welcome`. From then on both say what they like, in any order. `GoAway`
announces an end, `Bye` is the end.

Frames may cross on their way, and the table allows for that: what a client says before it has heard `GoAway` is still
heard, and answered; what comes after one's own `Bye` is not listened to; and a server that is full says `Bye` without
waiting for `Hello`.

The diagram in docs/wire-protocol.md is drawn from the table. What it cannot say belongs to sessions: that requests are
numbered without gaps, and deliveries too, and that nothing is delivered beyond the credit.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias, get_args

from .frames import (
    Answer,
    Answers,
    Bye,
    Cancel,
    Credit,
    Deliver,
    Ended,
    Frame,
    GoAway,
    Hello,
    Ping,
    Pong,
    Request,
    Welcome,
)


class Role(enum.Enum):
    """Which of the two peers: the client connects, the server listens."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def peer(self) -> Role:
        """The other one."""
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


class State(enum.Enum):
    """How far a connection has come."""

    GREETING = "greeting"  #: Nothing was said.
    GREETED = "greeted"  #: The client has said who it is; the server has not answered.
    OPEN = "open"  #: The peers know each other.
    LEAVING = "leaving"  #: The server is about to leave: what is under way is finished, nothing new is begun.
    FAILED = "failed"  #: The peer said what it may not: it is told so, and not heard any more.
    CLOSED = "closed"  #: Nothing is said or heard any more.


Row: TypeAlias = Mapping[type[Frame], State]
"""What may be said in a state, and where it leads."""

#: What is numbered, and gets exactly one answer.
REQUESTS: frozenset[type[Frame]] = frozenset(get_args(Request))

_BY_CLIENT = (*get_args(Request), Credit, Cancel, Ping, Pong)
_BY_SERVER = (*get_args(Answer), Answers, Deliver, Ended, Ping, Pong)

#: The whole protocol: what a peer may say in which state, and where that takes the connection.
TRANSITIONS: Mapping[Role, Mapping[State, Row]] = {
    Role.CLIENT: {
        State.GREETING: {Hello: State.GREETED, Bye: State.CLOSED},
        State.GREETED: {Bye: State.CLOSED},
        State.OPEN: dict.fromkeys(_BY_CLIENT, State.OPEN) | {Bye: State.CLOSED},
        State.LEAVING: dict.fromkeys(_BY_CLIENT, State.LEAVING) | {Bye: State.CLOSED},
        State.FAILED: {Bye: State.CLOSED},
        State.CLOSED: {},
    },
    Role.SERVER: {
        State.GREETING: {Bye: State.CLOSED},
        State.GREETED: {Welcome: State.OPEN, Bye: State.CLOSED},
        State.OPEN: dict.fromkeys(_BY_SERVER, State.OPEN) | {GoAway: State.LEAVING, Bye: State.CLOSED},
        State.LEAVING: dict.fromkeys(_BY_SERVER, State.LEAVING) | {Bye: State.CLOSED},
        State.FAILED: {Bye: State.CLOSED},
        State.CLOSED: {},
    },
}
