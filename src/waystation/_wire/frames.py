"""The vocabulary: every frame that two peers can say to each other.

A frame is a header of ten bytes and a payload of MessagePack, which is the array of the fields below in their order. That
order is the protocol: new fields go to the end and have a default; none is ever removed or moved. `framing` turns frames
into bytes and back, `states` says who may say what when.

The *client* is the peer that connects, the *server* the one that listens. Every request of a client has a number of its
session, `seq`, counted from 1 without gaps, and gets exactly one answer, which names it. `answered` says that all answers
below that number have come, so that the server may forget them. What a feed delivers has numbers of its channel, counted
from 0 without gaps.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from .._core.capabilities import Capabilities
from .._core.packed import Packed

#: The versions of the protocol that this code speaks: first and last.
VERSIONS = (1, 1)

#: The first field of `Hello`, so that whoever speaks something else is told so, and not something obscure.
PROTOCOL = "waystation"


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What all frames are."""


class Hello(Frame):
    """Client: who I am, and which session I would like to go on with.

    Attributes:
        versions: The first and the last that it speaks.
        token: What it may, as a secret; empty: nothing to show.
        session: The session to go on with; empty: a new one.
        channels: Of that session, each open channel with the number of the next delivery that it has not had.
        heartbeat_s: It says something at least this often, in seconds.
    """

    protocol: str
    versions: tuple[int, int]
    features: list[str] = []
    name: str = ""
    host: str = ""
    pid: int = 0
    token: str = ""
    session: bytes = b""
    answered: int = 1
    channels: list[tuple[int, int]] = []
    heartbeat_s: float = 5.0


class Welcome(Frame):
    """Server: what you can have here.

    Attributes:
        version: The one that is spoken from here on.
        session: Its secret name, for coming back.
        resumed: Whether the session that was asked for goes on.
        received: Of that session, how many requests have come: the next has this number plus one.
        frame_bytes_max: The longest payload that it takes.
        requests_max: Requests that may wait for their answers: a client that has more is sent away.
        bytes_max: Bytes of sent messages that may wait for their answers, but for one that is larger by itself.
    """

    version: int
    capabilities: Capabilities
    session: bytes
    resumed: bool
    received: int
    features: list[str] = []
    server: str = ""
    heartbeat_s: float = 5.0
    frame_bytes_max: int = 1024 * 1024
    requests_max: int = 1024
    bytes_max: int = 16 * 1024 * 1024


class Bye(Frame):
    """Either: this connection ends here. Nothing follows.

    Attributes:
        code: Why, for programs: one of `BYES`.
        text: Why, for people, and what to change.
        field: Which field of which frame was wrong, as `Frame.field`; empty: none.
    """

    code: str
    text: str = ""
    field: str = ""


class GoAway(Frame):
    """Server: I am about to leave. What is under way is finished; nothing new is begun.

    Attributes:
        text: Why.
    """

    text: str = ""


class Ping(Frame):
    """Either: say something."""

    number: int = 0


class Pong(Frame):
    """Either: an answer to a `Ping`, with its number."""

    number: int = 0


class Send(Frame):
    """Client: publish these messages. Answered by `Sent`, or by `Failed` if not one of them was stored."""

    seq: int
    answered: int
    batch: Packed


class Sent(Frame):
    """Server: what became of each message of a `Send`.

    Attributes:
        durability: What is certain of all that are not among the failures.
        firsts: Of duplicates, by place in the batch: the id of the first message.
        failures: Of messages that were not stored, or of which that is unknown, by place in the batch: class and text.
    """

    seq: int
    durability: int
    firsts: dict[int, str] = {}
    failures: dict[int, tuple[str, str]] = {}


class Call(Frame):
    """Client: do something by name. Answered by `Result` or `Failed`.

    Attributes:
        method: One of `methods.METHODS`.
        arguments: That method's arguments, in MessagePack.
    """

    seq: int
    answered: int
    method: str
    arguments: msgspec.Raw


class Open(Frame):
    """Client: deliver what comes for a subscription on a new channel. Answered by `Result` or `Failed`.

    Attributes:
        channel: Its number, of the client's choice, new in the session.
        group: Empty: a reply address.
    """

    seq: int
    answered: int
    channel: int
    pattern: str
    group: str = ""
    ordered: bool = True
    temporary: bool = False


class Credit(Frame):
    """Client: how much may be delivered on a channel. Not answered.

    Attributes:
        received: The number of the next delivery that has not come. What is below needs not be kept for it.
        upto: Deliveries with lower numbers may be made. It never falls.
    """

    channel: int
    received: int
    upto: int


class Deliver(Frame):
    """Server: deliveries on a channel, numbered from `first` on.

    Attributes:
        attempts: One for each; empty: all are first attempts.
        errors: Of what cannot be handled although it arrived, by place in the batch: why.
    """

    channel: int
    first: int
    batch: Packed
    attempts: list[int] = []
    errors: dict[int, str] = {}


class Ended(Frame):
    """Server: nothing more comes on this channel, because of that error."""

    channel: int
    code: str
    text: str = ""


class Settle(Frame):
    """Client: how deliveries of a channel end. Answered by `Result`, or by `Failed` with those whose leases had ended.

    Attributes:
        accepted: Ranges of numbers, first and past the last.
        others: Number, kind (`retry`, `dead`, `release`), delay in seconds, reason, detail.
    """

    seq: int
    answered: int
    channel: int
    accepted: list[tuple[int, int]] = []
    others: list[tuple[int, str, float, str, str]] = []


class Extend(Frame):
    """Client: keep the leases of deliveries, by ranges of numbers. Answered as `Settle` is."""

    seq: int
    answered: int
    channel: int
    ranges: list[tuple[int, int]] = []


class Close(Frame):
    """Client: take the channel's unsettled deliveries back, and deliver no more. Answered by `Result`."""

    seq: int
    answered: int
    channel: int


class Cancel(Frame):
    """Client: I do not wait for that request's answer any more. What has begun may end all the same."""

    request: int


class Result(Frame):
    """Server: a request's answer. What the value is follows from the request."""

    seq: int
    value: msgspec.Raw = msgspec.Raw(b"\xc0")


class Failed(Frame):
    """Server: a request's answer: an error.

    Attributes:
        code: The name of its class; see `failures`.
        facts: Its attributes that matter.
        lost: Numbers of deliveries whose leases had ended.
    """

    seq: int
    code: str
    text: str = ""
    facts: dict[str, str] = {}
    lost: list[int] = []


Request: TypeAlias = Send | Call | Open | Settle | Extend | Close
"""What is numbered and answered."""

Answer: TypeAlias = Sent | Result | Failed
"""What names a request."""

#: Type codes. A code is never used again for something else.
CODES: Mapping[int, type[Frame]] = MappingProxyType(
    {
        1: Hello,
        2: Welcome,
        3: Bye,
        4: GoAway,
        5: Ping,
        6: Pong,
        16: Send,
        17: Sent,
        18: Call,
        19: Result,
        20: Failed,
        21: Cancel,
        32: Open,
        33: Credit,
        34: Deliver,
        35: Ended,
        36: Settle,
        37: Extend,
        38: Close,
    }
)

#: Why a connection ends: the codes of `Bye`, and what each means.
BYES: Mapping[str, str] = MappingProxyType(
    {
        "done": "the peer has finished, and everything that it asked for was answered",
        "drained": "the server has stopped; connect again, or elsewhere",
        "protocol": "a frame was not what the protocol allows there",
        "version": "the two have no version in common",
        "access": "the token is missing or wrong, or this kind of connection is not allowed",
        "limit": "a limit was reached",
        "silence": "nothing was heard for too long",
        "replaced": "the same session has come back by another connection",
    }
)
