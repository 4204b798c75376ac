"""The vocabulary: every frame that two peers can say to each other.

A frame is a header of ten bytes and a payload of MessagePack, which is the array of the fields below in their order.
That order is the protocol: new fields go to the end and have a default; none is ever removed or moved. `framing` turns
frames into bytes and back, `states` says who may say what when.

The *client* is the peer that connects, the *server* the one that listens. Every request of a client has a number of its
session, `seq`, counted from 1 without gaps, and gets exactly one answer, which names it. `answered` says that all
answers below that number have come, so that the server may forget them. What a feed delivers has numbers of its
channel, counted from 0 without gaps.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

import msgspec

from .._core.capabilities import Capabilities
from .._core.limits import CREDIT_MESSAGES_MAX, GREETING_BYTES_MAX, HEARTBEAT_S_MAX, PEER_CHANNELS_MAX
from .._core.message import Message
from .._core.packed import Packed
from .._core.question import Reply

#: The versions of the protocol that this code speaks: first and last.
VERSIONS = (1, 1)

#: The first field of `Hello`, so that whoever speaks something else is told so, and not something obscure.
PROTOCOL = "waystation"


#: What counts or numbers something. Stores have 64 bits with a sign, and so has the wire.
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

#: A limit or a version that cannot be nothing.
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]

#: How often somebody says something, in seconds.
Interval: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=HEARTBEAT_S_MAX)]

#: How long something is to wait, in seconds; no infinity, and nothing that is not a number.
Delay: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=sys.float_info.max)]

#: For each message of a batch.
Each = msgspec.Meta(max_length=CREDIT_MESSAGES_MAX)

#: What a peer may have beyond the version: a server with this one takes questions straight to responders.
ASKING: Final = "asking"

#: Ranges of numbers, first and past the last.
Ranges: TypeAlias = Annotated[list[tuple[Number, Number]], Each]


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What all frames are.

    Attributes:
        seq: The number of the request, or of the one that this answers.
        answered: The answers to all requests with lower numbers have come: they need not be kept.
        channel: The channel's number.
    """

    secrets: ClassVar[frozenset[str]] = frozenset()
    """Fields that no log may show."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, "***" if value and name in self.secrets else value) for name, value in shown]

    def __repr__(self) -> str:
        fields = [f"{name}={value!r}" for name, value in self.__rich_repr__()]
        return f"{type(self).__name__}({', '.join(fields)})"


class Hello(Frame, frozen=True):
    """Client: who I am, and which session I would like to go on with.

    Attributes:
        protocol: The word `waystation`.
        versions: The first and the last that it speaks.
        features: What it has beyond the version, by names. Unknown ones mean nothing.
        name: The program, for people.
        host: Its machine, as it calls itself.
        pid: Its process there.
        token: What it may, as a secret; empty: nothing to show.
        session: The session to go on with; empty: a new one.
        channels: Of that session, each open channel with the number of the next delivery that it has not had.
        heartbeat_s: It says something at least this often, in seconds.
    """

    secrets = frozenset({"token", "session"})

    protocol: str
    versions: tuple[Number, Number]
    features: list[str] = []
    name: str = ""
    host: str = ""
    pid: Number = 0
    token: str = ""
    session: bytes = b""
    answered: Number = 1
    channels: Annotated[list[tuple[Number, Number]], msgspec.Meta(max_length=PEER_CHANNELS_MAX)] = []
    heartbeat_s: Interval = 5.0


class Welcome(Frame, frozen=True):
    """Server: what you can have here.

    Attributes:
        version: The one that is spoken from here on.
        capabilities: What the served transport gives.
        session: Its secret name, for coming back.
        resumed: Whether the session that was asked for goes on.
        received: Of that session, the number up to which all requests have come; 0 in a new one.
        features: Those of the client's that it has too.
        server: What it is, for people.
        heartbeat_s: It says something at least this often, in seconds.
        frame_bytes_max: The longest payload that it takes.
        requests_max: Requests that may wait for their answers: a client that has more is sent away.
        bytes_max: Bytes of sent messages that may wait for their answers, but for one that is larger by itself.
    """

    secrets = frozenset({"session"})

    version: Number
    capabilities: Capabilities
    session: bytes
    resumed: bool
    received: Number
    features: list[str] = []
    server: str = ""
    heartbeat_s: Interval = 5.0
    frame_bytes_max: Annotated[int, msgspec.Meta(ge=GREETING_BYTES_MAX, le=2**63 - 1)] = 1024 * 1024
    requests_max: Positive = 1024
    bytes_max: Positive = 16 * 1024 * 1024


class Bye(Frame, frozen=True):
    """Either: this connection ends here. Nothing follows.

    Attributes:
        code: Why, for programs: one of `BYES`.
        text: Why, for people, and what to change.
        field: Which field of which frame was wrong, as `Frame.field`; empty: none.
    """

    code: str
    text: str = ""
    field: str = ""


class GoAway(Frame, frozen=True):
    """Server: I am about to leave. What is under way is finished; nothing new is begun.

    Attributes:
        text: Why.
    """

    text: str = ""


class Ping(Frame, frozen=True):
    """Either: say something.

    Attributes:
        number: Comes back with the answer.
    """

    number: Number = 0


class Pong(Frame, frozen=True):
    """Either: an answer to a `Ping`.

    Attributes:
        number: That of the `Ping`.
    """

    number: Number = 0


class Send(Frame, frozen=True):
    """Client: publish these messages. Answered by `Sent`, or by `Failed` if not one of them was stored.

    Attributes:
        batch: The messages, in order.
    """

    seq: Number
    answered: Number
    batch: Packed


class Sent(Frame, frozen=True):
    """Server: what became of each message of a `Send`.

    Attributes:
        durability: What is certain of all that are not among the failures, as a number of `Durability`.
        firsts: Of duplicates, by place in the batch: the id of the first message.
        failures: Of messages that were not stored, or of which that is unknown, by place in the batch: class and text.
    """

    seq: Number
    durability: Number
    firsts: Annotated[dict[Number, str], Each] = {}
    failures: Annotated[dict[Number, tuple[str, str]], Each] = {}


class Ask(Frame, frozen=True):
    """Client: take these to their responders. Answered each by itself: by `Answers`, or by `Sent` or `Failed`.

    Attributes:
        seq: The number of the first question; those after it have the next ones.
        questions: Messages with a reply address each.
    """

    seq: Number
    answered: Number
    questions: Annotated[list[Message], msgspec.Meta(min_length=1, max_length=CREDIT_MESSAGES_MAX)]


class Answers(Frame, frozen=True):
    """Server: what responders have to say.

    Attributes:
        seqs: The numbers of the questions.
        replies: The answer to each.
    """

    seqs: Annotated[list[Number], Each]
    replies: Annotated[list[Reply], Each]

    def __post_init__(self) -> None:
        """Refuse answers that do not belong to the questions.

        Raises:
            ValueError: In a sentence.
        """
        if len(self.seqs) != len(self.replies):
            raise ValueError("there is one answer for each question")


class Call(Frame, frozen=True):
    """Client: do something by name. Answered by `Result` or `Failed`.

    Attributes:
        method: One of `methods.METHODS`.
        arguments: That method's arguments, in MessagePack.
    """

    seq: Number
    answered: Number
    method: str
    arguments: msgspec.Raw


class Open(Frame, frozen=True):
    """Client: deliver what comes for a subscription on a new channel. Answered by `Result` or `Failed`.

    Attributes:
        channel: Its number, of the client's choice, new in the session.
        pattern: The topics, or the reply address.
        group: Empty: a reply address. What was delivered there is done with once `Credit` says that it has come.
        ordered: Whether messages of one key come in order, also under retry.
        temporary: Whether the group may be forgotten with its only member.
    """

    seq: Number
    answered: Number
    channel: Number
    pattern: str
    group: str = ""
    ordered: bool = True
    temporary: bool = False


class Credit(Frame, frozen=True):
    """Client: how much may be delivered on a channel. Not answered.

    Attributes:
        received: The number of the next delivery that has not come. What is below needs not be kept for it.
        upto: Deliveries with lower numbers may be made. It never falls.
    """

    channel: Number
    received: Number
    upto: Number


class Deliver(Frame, frozen=True):
    """Server: deliveries on a channel, numbered from `first` on.

    Attributes:
        first: The number of the first.
        batch: The messages, in the order of their numbers.
        attempts: One for each; empty: all are first attempts.
        errors: Of what cannot be handled although it arrived, by place in the batch: why.
    """

    channel: Number
    first: Number
    batch: Packed
    attempts: Annotated[list[Positive], Each] = []
    errors: Annotated[dict[Number, str], Each] = {}

    def __post_init__(self) -> None:
        """Refuse attempts that do not belong to the messages.

        Raises:
            ValueError: In a sentence.
        """
        if self.attempts and len(self.attempts) != len(self.batch):
            raise ValueError("there is one attempt for each delivery, or none at all")


class Ended(Frame, frozen=True):
    """Server: nothing more comes on this channel, because of that error.

    Attributes:
        code: The name of its class.
        text: What it says.
    """

    channel: Number
    code: str
    text: str = ""


class Settle(Frame, frozen=True):
    """Client: how deliveries of a channel end. Answered by `Result`, or by `Failed` with those whose leases had ended.

    Attributes:
        accepted: Ranges of numbers, first and past the last.
        others: Number, how it ends, delay of a retry in seconds, reason, detail.
    """

    seq: Number
    answered: Number
    channel: Number
    accepted: Ranges = []
    others: Annotated[list[tuple[Number, Literal["retry", "dead", "release"], Delay, str, str]], Each] = []


class Extend(Frame, frozen=True):
    """Client: keep the leases of deliveries. Answered as `Settle` is.

    Attributes:
        ranges: Of numbers, first and past the last.
    """

    seq: Number
    answered: Number
    channel: Number
    ranges: Ranges = []


class Close(Frame, frozen=True):
    """Client: take the channel's unsettled deliveries back, and deliver no more. Answered by `Result`."""

    seq: Number
    answered: Number
    channel: Number


class Cancel(Frame, frozen=True):
    """Client: I have that request's answer, or wait for it no more: do not keep it. One that was not said yet comes.

    Attributes:
        request: The request's number.
    """

    request: Number


class Result(Frame, frozen=True):
    """Server: a request's answer.

    Attributes:
        value: What it is follows from the request; nil: it was done.
    """

    seq: Number
    value: msgspec.Raw = msgspec.Raw(b"\xc0")


class Failed(Frame, frozen=True):
    """Server: a request's answer: an error.

    Attributes:
        code: The name of its class, or `internal`, or `sql`.
        text: What it says.
        facts: Its attributes that matter, as text.
        lost: Numbers of deliveries whose leases had ended.
    """

    seq: Number
    code: str
    text: str = ""
    facts: dict[str, str] = {}
    lost: Annotated[list[Number], Each] = []


Request: TypeAlias = Send | Ask | Call | Open | Settle | Extend | Close
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
        22: Ask,
        23: Answers,
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
