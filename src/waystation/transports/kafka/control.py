"""What processes tell each other: which groups there are, and who serves them. Rows of one compacted topic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from ..._core.inspection import MemberInfo, State
from ..._core.ports import Start, Subscription
from ..._core.topic import matches
from .names import Spot
from .records import Fetched


class Declared(msgspec.Struct, frozen=True):
    """A group's subscription.

    Attributes:
        starts: For topics that existed when it was declared: where the group begins in each partition. Later ones are
            read from their beginning.
        since: When it was declared, in Unix seconds.
    """

    group: str
    pattern: str
    ordered: bool
    temporary: bool
    since: float
    starts: dict[str, dict[int, int]] = {}

    @property
    def key(self) -> bytes:
        """Its row's."""
        return group_key(self.group, self.pattern)

    def start_of(self, topic: str, spot: Spot) -> int | None:
        """Return where it begins in a partition of a topic; None: it does not read that."""
        if not matches(self.pattern, topic):
            return None
        return self.starts.get(topic, {}).get(spot[1], 0)


class _Said(msgspec.Struct, frozen=True):
    """What a process says of one of its subscriptions, and when."""

    group: str
    pattern: str
    pid: int
    state: State
    reason: str
    since: float
    heard: float


_DECLARED = msgspec.json.Decoder(Declared)
_SAID = msgspec.json.Decoder(list[_Said])
_KEY = msgspec.json.Decoder(list[str])

Kind = Literal["group", "member"]


def group_key(group: str, pattern: str) -> bytes:
    """Return the key of a subscription's row."""
    return msgspec.json.encode(["group", group, pattern])


def member_key(who: str) -> bytes:
    """Return the key of what a process says."""
    return msgspec.json.encode(["member", who])


def declared_of(subscription: Subscription, starts: dict[str, dict[int, int]], now: float) -> Declared:
    """Return the row of a new subscription."""
    assert subscription.group is not None, "a reply address is not declared"
    return Declared(
        group=subscription.group,
        pattern=subscription.pattern,
        ordered=subscription.ordered,
        temporary=subscription.temporary,
        since=now,
        starts=starts,
    )


def needs_positions(start: Start) -> bool:
    """Say whether where a group begins must be put down: it is not the beginning."""
    return start != "earliest"


def read_declared(rows: Iterable[tuple[bytes, Fetched]]) -> dict[tuple[str, str], Declared]:
    """Return subscriptions by group and pattern. Damaged rows are passed over."""
    found = {}
    for key, row in rows:
        if _kind(key) == "group":
            try:
                each = _DECLARED.decode(row.value() or b"")
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            found[each.group, each.pattern] = each
    return found


def is_ordered(declared: Iterable[Declared], group: str, topic: str) -> bool:
    """Say whether a group's messages of a topic keep their order by key: unless all that read it do without."""
    read = [each for each in declared if each.group == group and matches(each.pattern, topic)]
    return any(each.ordered for each in read) if read else True


def start_of(declared: Iterable[Declared], group: str, topic: str | None, spot: Spot) -> int:
    """Return where a group begins in a partition of a topic in which it has no place."""
    if topic is None:
        return 0
    starts = [each.start_of(topic, spot) for each in declared if each.group == group]
    return next((each for each in starts if each is not None), 0)


def write_said(members: Sequence[MemberInfo], now: float) -> bytes | None:
    """Return what a process says as a row; of nothing, none."""
    said = [
        _Said(each.group, each.pattern, each.pid, each.state, each.reason, each.since, now)
        for each in members
    ]
    return msgspec.json.encode(said) if said else None


def read_said(rows: Iterable[tuple[bytes, Fetched]], since: float) -> list[MemberInfo]:
    """Return what processes have said since then, by group, pattern and process."""
    found = []
    for key, row in rows:
        if _kind(key) != "member":
            continue
        try:
            said = _SAID.decode(row.value() or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        found += [
            MemberInfo(
                group=each.group,
                pattern=each.pattern,
                pid=each.pid,
                state=each.state,
                reason=each.reason,
                since=each.since,
                heard=each.heard,
            )
            for each in said
            if each.heard >= since
        ]
    return sorted(found, key=lambda member: (member.group, member.pattern, member.pid))


def _kind(key: bytes) -> str:
    try:
        return _KEY.decode(key)[0]
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError):
        return ""
