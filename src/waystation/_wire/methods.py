"""What a client can call by name: each method's arguments and result, as types that the codec checks.

Arguments travel as arrays in the order of their fields, under the same rule as frames: new ones go to the end. A start
position is a word, an offset as a whole number, or a time as a float of Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

from .._core.duration import unix_time
from .._core.errors import ConfigurationError
from .._core.inspection import (
    DeadInfo,
    GroupInfo,
    MemberInfo,
    RecurringInfo,
    ScheduledInfo,
    SeekInfo,
    TopicInfo,
)
from .._core.message import Message
from .._core.packed import Packed
from .._core.ports import Start, Subscription

R = TypeVar("R")

WireStart: TypeAlias = str | int | float

Ending: TypeAlias = Literal["retry", "dead", "release"]


class Arguments(msgspec.Struct, array_like=True):
    """What all arguments are."""


class Nothing(Arguments):
    """No arguments."""


class WireSubscription(Arguments):
    """A `Subscription`; an empty group: a reply address."""

    pattern: str
    group: str = ""
    start: WireStart = "earliest"
    ordered: bool = True
    temporary: bool = False


class Declare(Arguments):
    """Topics and groups that must exist."""

    topics: list[str] = []
    subscriptions: list[WireSubscription] = []


class Recur(Arguments):
    """A recurring message; `due` none: begin it."""

    name: str
    topic: str
    rule: str
    due: float | None
    next_due: float
    batch: Packed


class Announce(Arguments):
    """What this process says of its subscriptions."""

    members: list[MemberInfo]


class Browse(Arguments):
    """Which messages to show."""

    pattern: str
    start: WireStart
    limit: int


class Dead(Arguments):
    """Which dead letters to show."""

    group: str | None = None
    limit: int = 100
    after: int = 0


class Numbers(Arguments):
    """Numbers of dead letters."""

    numbers: list[int]


class Scheduled(Arguments):
    """Which waiting messages to show; `before` in Unix seconds."""

    pattern: str = "#"
    before: float | None = None
    limit: int = 100


class MoveScheduled(Arguments):
    """A waiting message and its new time, in Unix seconds."""

    message_id: str
    at: float


class Name(Arguments):
    """The name of a group, a message or a recurring message."""

    name: str


class Pause(Arguments):
    """A recurring message, and whether it is paused."""

    name: str
    paused: bool = True


class Seek(Arguments):
    """Where to move a group's place."""

    group: str
    pattern: str
    start: WireStart
    dry_run: bool = False


class Process(Arguments):
    """A process of the caller's machine."""

    pid: int


class Begin(Arguments):
    """A transaction's number, of the client's choice, new in its session."""

    transaction: int
    flush: bool


class Of(Arguments):
    """A transaction."""

    transaction: int


class Execute(Arguments):
    """A statement with one row of parameters."""

    transaction: int
    sql: str
    parameters: list[Any] | dict[str, Any] = []


class ExecuteMany(Arguments):
    """A statement with many rows of parameters."""

    transaction: int
    sql: str
    rows: list[list[Any] | dict[str, Any]] = []


class TransactionSend(Arguments):
    """Messages to send at the commit."""

    transaction: int
    batch: Packed


class TransactionSettle(Arguments):
    """Settlements at the commit: channel, accepted ranges and others, as in `Settle`."""

    transaction: int
    settlements: list[tuple[int, list[tuple[int, int]], list[tuple[int, Ending, float, str, str]]]]


class MarkSeen(Arguments):
    """Marks for the inbox."""

    transaction: int
    group: str
    message_ids: list[str]


class Method(Generic[R]):
    """One method.

    Attributes:
        repeatable: Whether calling it twice is calling it once, so that it may be called again when a session is lost.
    """

    __slots__ = ("arguments", "name", "read_arguments", "read_result", "repeatable")

    def __init__(
        self, name: str, arguments: type[Arguments], result: Any, *, repeatable: bool = False
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.repeatable = repeatable
        self.read_arguments = msgspec.msgpack.Decoder(arguments).decode
        self.read_result = msgspec.msgpack.Decoder(result).decode


_Rows: TypeAlias = list[tuple[Any, ...]]

_LIST: tuple[Method[Any], ...] = (
    Method("declare", Declare, None, repeatable=True),
    Method("recur", Recur, float | None),
    Method("announce", Announce, list[str], repeatable=True),
    Method("members", Nothing, list[MemberInfo], repeatable=True),
    Method("topics", Nothing, list[TopicInfo], repeatable=True),
    Method("groups", Nothing, list[GroupInfo], repeatable=True),
    Method("browse", Browse, list[tuple[int, Message]], repeatable=True),
    Method("dead", Dead, list[DeadInfo], repeatable=True),
    Method("retry_dead", Numbers, int),
    Method("purge_dead", Numbers, int),
    Method("scheduled", Scheduled, list[ScheduledInfo], repeatable=True),
    Method("move_scheduled", MoveScheduled, bool),
    Method("cancel_scheduled", Name, bool),
    Method("recurring", Nothing, list[RecurringInfo], repeatable=True),
    Method("pause_recurring", Pause, bool),
    Method("remove_recurring", Name, bool),
    Method("seek", Seek, list[SeekInfo]),
    Method("remove_group", Name, bool),
    Method("facts", Nothing, dict[str, str], repeatable=True),
    Method("release_process", Process, int),
    Method("begin", Begin, None),
    Method("execute", Execute, _Rows),
    Method("executemany", ExecuteMany, None),
    Method("transaction_send", TransactionSend, None),
    Method("transaction_settle", TransactionSettle, None),
    Method("mark_seen", MarkSeen, list[str]),
    Method("savepoint", Of, None),
    Method("release", Of, None),
    Method("undo", Of, None),
    Method("commit", Of, None),
    Method("rollback", Of, None),
)

METHODS: Mapping[str, Method[Any]] = MappingProxyType({method.name: method for method in _LIST})
"""Every method by its name."""


def start_to_wire(start: Start) -> WireStart:
    """Return a start position as it travels.

    Raises:
        ConfigurationError: It is a time without a zone.
    """
    return float(unix_time(start, name="start")) if isinstance(start, datetime) else start


def start_of(start: WireStart) -> Start:
    """Return a start position as it came.

    Raises:
        ConfigurationError: It is a word that is none.
    """
    if isinstance(start, float):
        return datetime.fromtimestamp(start, UTC)
    if isinstance(start, int):
        return start
    if start not in ("earliest", "new"):
        raise ConfigurationError(f"start={start!r} is no place: write 'earliest', 'new', an offset or a time")
    return "new" if start == "new" else "earliest"


def subscription_to_wire(subscription: Subscription) -> WireSubscription:
    """Return a subscription as it travels."""
    return WireSubscription(
        subscription.pattern,
        subscription.group or "",
        start_to_wire(subscription.start),
        subscription.ordered,
        subscription.temporary,
    )


def subscription_of(wire: WireSubscription) -> Subscription:
    """Return a subscription as it came.

    Raises:
        ConfigurationError: It is not legal.
    """
    return Subscription(
        pattern=wire.pattern,
        group=wire.group or None,
        start=start_of(wire.start),
        ordered=wire.ordered,
        temporary=wire.temporary,
    )
