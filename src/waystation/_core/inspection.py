"""Looking into a transport: what the command line and the dashboard use, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from .duration import Instant
from .errors import ConfigurationError
from .message import Message
from .ports import Start
from .url import did_you_mean

State: TypeAlias = Literal["consuming", "waiting", "resubscribing", "paused", "starved", "stalled", "stopped"]
"""What a subscription does: `consuming` messages, `waiting` for some, `resubscribing` after a failure until the new
feed has proved itself, `paused` on purpose, `starved` because other members hold all there is, `stalled` because
messages wait and nothing moves, `stopped`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicInfo:
    """A topic: how many messages and bytes it keeps, when the oldest and newest were published (Unix seconds).

    Attributes:
        next_offset: What the next message will have: how many were ever published.
    """

    name: str
    messages: int
    next_offset: int
    bytes: int
    oldest: float | None
    newest: float | None
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInfo:
    """A group on one topic.

    Attributes:
        ready: Messages that could be delivered now, as far as the log says: a key that waits may hold some back.
        in_flight: Delivered, not yet settled.
        waiting: Held for a retry's delay, or behind an earlier message of their key.
        dead: Dead letters.
        oldest_age_s: Age of the oldest message not yet settled, in seconds, since it was published or the time came
            that it was scheduled for; None if there is none.
    """

    group: str
    topic: str
    ready: int
    in_flight: int
    waiting: int
    dead: int
    oldest_age_s: float | None

    @property
    def lag(self) -> int:
        """Messages accepted but not yet settled for the group."""
        return self.ready + self.in_flight + self.waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class SeekInfo:
    """What became of a group on one topic when its place was moved.

    Attributes:
        again: Messages that it had settled, or skipped, and gets once more.
        skipped: Messages that it had not settled, and gets no more.
        taken_back: Deliveries that its members held: whatever they still say of them is refused (`SettlementLost`).
        lag: Messages that it has before it now.
    """

    group: str
    topic: str
    again: int
    skipped: int
    taken_back: int
    lag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadInfo:
    """A dead letter: its number in this store, its message, and why it was given up."""

    number: int
    group: str
    topic: str
    message: Message
    attempts: int
    reason: str
    detail: str
    died: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsettledInfo:
    """A message that a group has not settled.

    Attributes:
        position: Where it is: messages of one key are handled in the order of their positions.
        attempts: Deliveries that were started and have ended.
        due: When it may be delivered again, Unix seconds; None: as soon as it is its turn, or it is with a member.
        reason: Why it is delivered again.
        error: Why it cannot be read; None normally.
    """

    message: Message
    position: int
    attempts: int = 0
    due: float | None = None
    reason: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledInfo:
    """A message that waits for its time (Unix seconds)."""

    message: Message
    due: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurringInfo:
    """A message that recurs: when, by which rule, and when it is due next (Unix seconds)."""

    name: str
    topic: str
    rule: str
    due: float
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberInfo:
    """What a process says of one of its subscriptions. Times are Unix seconds.

    Attributes:
        pattern: The topic or pattern that it serves.
        state: As in `SubscriptionHealth`.
        since: When it came into this state.
        heard: When it said so last; 0: it is saying so now.
    """

    group: str
    pattern: str
    pid: int
    state: State
    reason: str
    since: float
    heard: float = 0.0


@runtime_checkable
class Roster(Protocol):
    """A transport by which processes know of each other (`capabilities.members`)."""

    async def announce(self, members: Sequence[MemberInfo], /) -> Sequence[str]:
        """Say how this process is, in place of what it said before; nothing: that it serves nobody any more.

        What is not said again within `MEMBER_LEASE_S` is forgotten.

        Returns:
            Groups among them that are not there: somebody has removed them.
        """

    async def members(self) -> Sequence[MemberInfo]:
        """Return what processes have said lately, by group, pattern and process."""


@runtime_checkable
class Ledger(Protocol):
    """A transport that can say of each message what a group still owes, and takes nothing for that."""

    async def unsettled(
        self, group: str, topic: str, *, after: int = -1, limit: int = 1000
    ) -> Sequence[UnsettledInfo]:
        """Return messages of a topic that a group has not settled, with positions over `after`; nothing: no more.

        What members hold is among them, what is scheduled for later is not.
        """


@runtime_checkable
class Inspector(Protocol):
    """A transport that can be looked into (`capabilities.inspectable`)."""

    async def topics(self) -> Sequence[TopicInfo]:
        """Return every topic, by name."""

    async def groups(self) -> Sequence[GroupInfo]:
        """Return every group on every topic."""

    async def browse(self, pattern: str, *, start: Start, limit: int) -> Sequence[tuple[int, Message]]:
        """Return offsets and messages, without taking anything from any group."""

    async def dead(self, *, group: str | None = None, limit: int = 100, after: int = 0) -> Sequence[DeadInfo]:
        """Return dead letters with a number over `after`, oldest first."""

    async def retry_dead(self, numbers: Sequence[int]) -> int:
        """Give dead letters back to their group as new first attempts; return how many there were."""

    async def purge_dead(self, numbers: Sequence[int]) -> int:
        """Delete dead letters for good; return how many there were."""

    async def scheduled(
        self, *, pattern: str = "#", before: Instant | None = None, limit: int = 100
    ) -> Sequence[ScheduledInfo]:
        """Return messages that wait for their time, the next one first: of topics that fit, due before a time."""

    async def move_scheduled(self, message_id: str, at: Instant) -> bool:
        """Let a message wait for another time, earlier or later; False if it is not there (any more).

        What has passed means now. When the message expires stays as it was.
        """

    async def cancel_scheduled(self, message_id: str) -> bool:
        """Delete a message that waits for its time; False if it is not there (any more)."""

    async def recurring(self) -> Sequence[RecurringInfo]:
        """Return messages that recur, the next one first."""

    async def pause_recurring(self, name: str, *, paused: bool = True) -> bool:
        """Let nothing be published at its times until that is undone; False if nothing recurs by this name.

        It stays so when programs are started again. What was held back is not published later.
        """

    async def remove_recurring(self, name: str) -> bool:
        """Forget a message that recurs; False if there is none.

        Programs that run publish it no more; one that declares it brings it back when it starts.
        """

    async def seek(
        self, group: str, pattern: str, start: Start, *, dry_run: bool = False
    ) -> Sequence[SeekInfo]:
        """Move a group's place on every topic that it reads and the pattern fits; say what that means for each.

        From `start` on, every message that is still kept comes once, as a first attempt. What is before it comes no
        more, unless it was tried before: what waits for a retry, or was brought back from the dead letters, stays.
        Dead letters stay, other groups notice nothing, and members hold nothing any more.

        Args:
            dry_run: Only say it.

        Raises:
            ConfigurationError: The group does not exist or reads no such topic, or the time has no zone.
        """

    async def remove_group(self, group: str) -> bool:
        """Forget a group with its place, retries and dead letters; False if there is none."""

    async def facts(self) -> dict[str, str]:
        """Return what `doctor` prints: versions, sizes, settings, and how each was found out."""


def no_such_place(group: str, pattern: str, groups: Sequence[GroupInfo]) -> ConfigurationError:
    """Return the error for a group that does not exist, or reads no topic that the pattern fits."""
    read = {info.topic for info in groups if info.group == group}
    if not read:
        hint = did_you_mean(group, {info.group for info in groups})
        return ConfigurationError(f"no group {group!r} on any topic{hint}")
    return ConfigurationError(f"group {group!r} does not read {pattern!r}{did_you_mean(pattern, read)}")
