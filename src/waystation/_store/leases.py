"""Taking messages from the log for a member of a group, and keeping them.

A member leases a *range* of one partition at a time: one row with owner, fencing token and deadline, whatever the
number of messages. When an owner dies, what it had not settled gets rows of its own in `bus_pending`, as *suspect*: one
of them may have killed it. Suspects are delivered a few at a time, to a member that holds nothing else, their attempts
committed before the first handler starts. Should that member die as well, each of those few comes alone, still as the
same attempt. So a message that kills its process is found, and its neighbours are not blamed.

Every function runs inside its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import apsw

from .._core.delivery import Delivery
from .._core.message import BYTES, Message
from .log import DamagedSegment, Log, pack, unpack
from .rows import Row, fetch

#: Suspects delivered together at their first stage: a thousand of them take a dozen rounds.
_SUSPECTS_TOGETHER_MAX: Final = 100

#: Stages of suspicion, as stored in `bus_pending.suspect`.
_TRUSTED: Final = 0
_IN_COMPANY: Final = 1  # its owner died: with others like it
_ALONE: Final = 2  # its owner died again: by itself

_FREE_CURSORS = """
    SELECT p.number, coalesce(c.next, 0), coalesce(c.done, x''), coalesce(c.leased_to, 0), c.owner,
           coalesce(c.token, 0), p.ends
    FROM bus_partition p LEFT JOIN bus_cursor c ON c.group_id = ?1 AND c.topic = p.topic AND c.partition = p.number
    WHERE p.topic = ?2 AND coalesce(c.next, 0) < p.ends AND (c.owner IS NULL OR c.deadline <= ?3)"""
_SEGMENT_AT = "SELECT max(first) FROM bus_segment WHERE topic = ? AND partition = ? AND first <= ?"
_WITH_WORK = """
    SELECT m.topic FROM bus_membership m JOIN bus_partition p ON p.topic = m.topic
    LEFT JOIN bus_cursor c ON c.group_id = m.group_id AND c.topic = p.topic AND c.partition = p.number
    WHERE m.group_id = ?1 AND coalesce(c.next, 0) < p.ends AND (c.owner IS NULL OR c.deadline <= ?2)
    UNION SELECT topic FROM bus_pending WHERE group_id = ?1 AND due <= ?2"""
_NEXT_DUE = """
    SELECT min(due) FROM (
        SELECT min(due) AS due FROM bus_scheduled UNION ALL
        SELECT min(due) FROM bus_pending WHERE group_id = ?1 AND topic = ?2 AND due IS NOT NULL UNION ALL
        SELECT min(deadline) FROM bus_cursor WHERE group_id = ?1 AND topic = ?2 AND owner IS NOT NULL)"""
_TAKE_CURSOR = """
    INSERT INTO bus_cursor (group_id, topic, partition, next, done, leased_to, owner, token, deadline)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (group_id, topic, partition) DO UPDATE SET next = excluded.next, done = excluded.done,
        leased_to = excluded.leased_to, owner = excluded.owner, token = excluded.token, deadline = excluded.deadline"""
_DUE = """
    SELECT id, partition, place, key, attempt, suspect, owner IS NOT NULL, token, message FROM bus_pending
    WHERE group_id = ? AND topic = ? AND due <= ? ORDER BY due LIMIT ?"""
_TAKE_DUE = """
    UPDATE bus_pending SET owner = ?2, token = token + 1, attempt = attempt + ?5, due = ?3, suspect = ?4
    WHERE id = ?1"""
_HAS_BLOCKED = """
    SELECT 1 FROM bus_pending
    WHERE group_id = ? AND topic = ? AND partition = ? AND key IS NOT NULL LIMIT 1"""
_PARK = """
    INSERT INTO bus_pending (group_id, topic, partition, place, key, attempt, due, suspect, reason, time, message)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_BURY = """
    INSERT INTO bus_dead (group_id, topic, partition, place, key, attempts, reason, detail, died, message)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


@dataclass(slots=True, eq=False)
class RangeLease:
    """A range of one partition that this member holds: places [next, leased_to), less those in `done`."""

    group: int
    topic: int
    partition: int
    token: int
    next: int
    leased_to: int
    done: int  # bitmap from `next` on
    bytes: int = 0
    lost: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing of the range is held any more."""
        return self.lost or self.next >= self.leased_to

    def is_settled(self, place: int) -> bool:
        """Say whether a place of this range was settled before."""
        return place < self.next or bool(self.done >> (place - self.next) & 1)


@dataclass(slots=True, eq=False)
class PendingLease:
    """A row of `pending` that this member holds."""

    id: int
    group: int
    topic: int
    partition: int
    place: int
    key: str | None
    token: int
    suspect: bool
    bytes: int = 0
    ended: bool = False
    lost: bool = False


#: What a delivery carries: a place in a range, or a row of its own.
RangeToken = tuple[RangeLease, int]


@dataclass(slots=True)
class Claim:
    """What one claim found."""

    deliveries: list[Delivery] = field(default_factory=list)
    leases: list[RangeLease | PendingLease] = field(default_factory=list)
    unread: list[RangeLease] = field(default_factory=list)  # to be read once the claim has committed
    count: int = 0  # messages, those of unread ranges included
    more: bool = False  # whether there was more than the limit


@dataclass(frozen=True, slots=True)
class Member:
    """Who claims: a member of a group, and whether it holds something already."""

    group: int
    owner: str
    ordered: bool
    busy: bool = False
    careful: bool = False  # read under the write lock, after a plain range could not be read


def claim(
    log: Log, connection: apsw.Connection, member: Member, topic: int, limit: int, now: float, deadline: float
) -> Claim:
    """Lease up to `limit` messages of one topic until `deadline`. Due retries come first.

    Suspects are returned only to a member that holds nothing else, and nothing else with them; a member that does hold
    something gets nothing more, so that it soon will.
    """
    found = Claim()
    if _claim_due(connection, member, topic, limit, now, deadline, found):
        return found
    rows = fetch(connection, _FREE_CURSORS, (member.group, topic, now))
    rows.sort(key=_least_recently_leased)
    for row in rows:
        room = limit - found.count
        if room <= 0:
            found.more = True
            break
        _claim_range(log, connection, member, topic, row, room, now, deadline, found)
    return found


def read_plain(log: Log, lease: RangeLease) -> list[Delivery] | None:
    """Return the deliveries of a range that was claimed unread.

    None if something is wrong with it (its front was deleted, a segment is damaged): then release it, and claim it
    again with `Member.careful`.
    """
    try:
        messages = log.read(lease.topic, lease.partition, lease.next, lease.leased_to)
    except DamagedSegment:
        return None
    if len(messages) != lease.leased_to - lease.next:
        return None
    lease.bytes = sum([len(message.body) for message in messages])
    return [Delivery(message, 1, (lease, place)) for place, message in enumerate(messages, lease.next)]


def topics_with_work(connection: apsw.Connection, group: int, now: float) -> set[int]:
    """Return the topics in which something could be claimed now; for members of very many topics."""
    return {row[0] for row in fetch(connection, _WITH_WORK, (group, now))}


def next_due(connection: apsw.Connection, group: int, topics: Sequence[int]) -> float | None:
    """Return when the next retry of the group, or the next lease to end, or the next schedule is due (Unix seconds)."""
    moments = [connection.execute(_NEXT_DUE, (group, topic)).get for topic in topics or (None,)]
    return min((moment for moment in moments if moment is not None), default=None)


def extend(connection: apsw.Connection, leases: Sequence[RangeLease | PendingLease], deadline: float) -> int:
    """Move the deadline of leases; mark those that had ended as lost, and return how many they were."""
    lost = 0
    for lease in leases:
        if isinstance(lease, RangeLease):
            connection.execute(
                """UPDATE bus_cursor SET deadline = ?
                   WHERE group_id = ? AND topic = ? AND partition = ? AND token = ?""",
                (deadline, lease.group, lease.topic, lease.partition, lease.token),
            )
        else:
            connection.execute(
                # One that was given back in this very transaction has a time of its own.
                "UPDATE bus_pending SET due = iif(owner IS NULL, due, ?) WHERE id = ? AND token = ?",
                (deadline, lease.id, lease.token),
            )
        if connection.changes() == 0:
            lease.lost = True
            lost += 1
    return lost


def release(connection: apsw.Connection, leases: Sequence[RangeLease | PendingLease], now: float) -> None:
    """Give back what is unsettled, in its place and without counting an attempt."""
    for lease in leases:
        if isinstance(lease, RangeLease):
            connection.execute(
                "UPDATE bus_cursor SET owner = NULL WHERE group_id = ? AND topic = ? AND partition = ? AND token = ?",
                (lease.group, lease.topic, lease.partition, lease.token),
            )
        else:
            connection.execute(
                """UPDATE bus_pending SET owner = NULL, due = ?, attempt = attempt - 1
                   WHERE id = ? AND token = ? AND owner IS NOT NULL""",
                (now, lease.id, lease.token),
            )


def release_process(connection: apsw.Connection, pid: int) -> int:
    """End the leases of a dead process at once; return how many it held. What it had taken comes back as suspect."""
    pattern = f"{pid}-*"
    connection.execute("UPDATE bus_cursor SET deadline = 0 WHERE owner GLOB ?", (pattern,))
    ended = connection.changes()
    connection.execute("UPDATE bus_pending SET due = 0 WHERE owner GLOB ?", (pattern,))
    return ended + connection.changes()


def park(
    connection: apsw.Connection,
    lease: RangeLease,
    place: int,
    message: Message,
    *,
    attempt: int,
    due: float | None,
    suspect: bool = False,
    reason: str = "",
) -> None:
    """Give a message of a range a row of its own, to be delivered when it is due, or after its key's earlier ones."""
    row = (lease.group, lease.topic, lease.partition, place, message.key, attempt, due, suspect, reason)
    connection.execute(_PARK, (*row, message.time, pack(message)))


def bury(
    connection: apsw.Connection,
    lease: RangeLease | PendingLease,
    place: int,
    message: Message,
    *,
    attempts: int,
    reason: str,
    detail: str,
    now: float,
) -> None:
    """Keep a message as a dead letter."""
    row = (lease.group, lease.topic, lease.partition, place, message.key, attempts, reason, detail, now)
    connection.execute(_BURY, (*row, pack(message)))


def _claim_due(
    connection: apsw.Connection,
    member: Member,
    topic: int,
    limit: int,
    now: float,
    deadline: float,
    found: Claim,
) -> bool:
    """Lease rows that are due; return whether suspects are, or should be, all that this member holds."""
    rows = fetch(connection, _DUE, (member.group, topic, now, limit))
    chosen, stage = _choose(rows)
    if stage != _TRUSTED and member.busy:
        found.more = True
        return True
    for row_id, partition, place, key, attempt, was, died, token, data in chosen:
        counted = not (
            died and was == _IN_COMPANY
        )  # that attempt was counted, and may have been cut short by another
        connection.execute(_TAKE_DUE, (row_id, member.owner, deadline, stage, counted))
        lease = PendingLease(
            row_id,
            member.group,
            topic,
            partition,
            place,
            key,
            token + 1,
            stage != _TRUSTED,
            len(data),
        )
        found.leases.append(lease)
        message, damage = unpack(data)
        found.deliveries.append(Delivery(message, attempt + counted, lease, damage))
        found.count += 1
    return stage != _TRUSTED


def _choose(rows: list[Row]) -> tuple[list[Row], int]:
    """Choose among rows that are due: what may be delivered together, and at which stage of suspicion."""
    first = [row for row in rows if (row[5] == _IN_COMPANY and not row[6]) or (row[5] == _TRUSTED and row[6])]
    if len(first) > 1:
        return first[:_SUSPECTS_TOGETHER_MAX], _IN_COMPANY
    alone = first or [row for row in rows if row[5] != _TRUSTED]
    if alone:
        return alone[:1], _ALONE
    return rows, _TRUSTED


def _claim_range(
    log: Log,
    connection: apsw.Connection,
    member: Member,
    topic: int,
    row: Row,
    room: int,
    now: float,
    deadline: float,
    found: Claim,
) -> None:
    partition, first, bitmap, leased_to, previous_owner, token, ends = row
    lease = RangeLease(
        member.group, topic, partition, token + 1, first, ends, int.from_bytes(bitmap, "little")
    )
    if previous_owner is not None:
        _suspect(log, connection, lease, leased_to, now)
    lease.leased_to = _reach(lease, room, ends)
    if lease.leased_to < ends and not lease.done:
        begins = connection.execute(_SEGMENT_AT, (topic, partition, lease.leased_to)).get
        if begins is not None and begins > lease.next:
            lease.leased_to = begins  # so that no segment is read twice
    if _is_plain(connection, member, lease):
        connection.execute(_TAKE_CURSOR, _cursor_row(lease, member.owner, deadline))
        found.leases.append(lease)
        found.unread.append(lease)
        found.count += lease.leased_to - lease.next
        return
    messages = _read(log, connection, lease, ends, now)
    if member.ordered:
        _park_blocked(connection, lease, messages)
    deliveries = [
        Delivery(message, 1, (lease, place))
        for place, message in enumerate(messages, lease.next)
        if not lease.done or not lease.is_settled(place)
    ]
    if not deliveries:
        _skip_to(lease, lease.leased_to)  # what is settled behind a damaged segment stays so
        connection.execute(_TAKE_CURSOR, _cursor_row(lease, None, deadline))
        found.more = True
        return
    connection.execute(_TAKE_CURSOR, _cursor_row(lease, member.owner, deadline))
    lease.bytes = sum([len(delivery.message.body) for delivery in deliveries])
    found.leases.append(lease)
    found.deliveries.extend(deliveries)
    found.count += len(deliveries)


def _reach(lease: RangeLease, room: int, ends: int) -> int:
    """Return where a range ends that has `room` unsettled places, and no more.

    More would wait in its member, and a key's next message with it, while an earlier one is given back.
    """
    place, done = lease.next, lease.done
    while done and room and place < ends:
        room -= not done & 1
        done >>= 1
        place += 1
    return min(ends, place + room)


def _is_plain(connection: apsw.Connection, member: Member, lease: RangeLease) -> bool:
    """Say whether a range can be delivered as it is, so that its messages need not be read under the write lock."""
    if lease.done or member.careful or lease.next >= lease.leased_to:
        return False
    blocked = (
        member.ordered and connection.execute(_HAS_BLOCKED, (lease.group, lease.topic, lease.partition)).get
    )
    return not blocked


def _cursor_row(lease: RangeLease, owner: str | None, deadline: float) -> tuple[apsw.SQLiteValue, ...]:
    place = (lease.group, lease.topic, lease.partition)
    return (*place, lease.next, bitmap_bytes(lease.done), lease.leased_to, owner, lease.token, deadline)


def bitmap_bytes(done: int) -> bytes:
    """Return a bitmap as it is stored."""
    return done.to_bytes((done.bit_length() + 7) // 8, "little")


def _read(log: Log, connection: apsw.Connection, lease: RangeLease, ends: int, now: float) -> list[Message]:
    """Read a lease's range, less what retention has deleted at its front; `lease` is moved accordingly.

    A damaged segment becomes one dead letter; what is behind it goes on.
    """
    while lease.next < lease.leased_to:
        try:
            messages = log.read(lease.topic, lease.partition, lease.next, lease.leased_to)
        except DamagedSegment as damage:
            if lease.next < damage.first:
                lease.leased_to = damage.first  # what is before it first
            else:
                _bury_damaged(connection, lease, damage, now)
                _skip_to(lease, damage.first + damage.count)
            continue
        if messages:
            _skip_to(lease, lease.leased_to - len(messages))
            return messages
        room = lease.leased_to - lease.next
        _skip_to(lease, log.first_kept(lease.topic, lease.partition, lease.leased_to, ends))
        lease.leased_to = min(ends, lease.next + room)
    return []


def _skip_to(lease: RangeLease, place: int) -> None:
    if place > lease.next:
        lease.done >>= place - lease.next
        lease.next = place
        lease.leased_to = max(lease.leased_to, place)


def _bury_damaged(connection: apsw.Connection, lease: RangeLease, damage: DamagedSegment, now: float) -> None:
    name = connection.execute("SELECT name FROM bus_topic WHERE id = ?", (lease.topic,)).get
    remains = Message(f"segment-{damage.segment_id}", name, damage.data, content_type=BYTES, time=now)
    reason = f"corrupt: {damage}; its {damage.count} messages could not be read"
    bury(connection, lease, damage.first, remains, attempts=0, reason=reason, detail="", now=now)


def _suspect(log: Log, connection: apsw.Connection, lease: RangeLease, leased_to: int, now: float) -> None:
    """Move what a dead owner had not settled into rows of its own, and the cursor behind it."""
    blocked = _blocked_keys(connection, lease)
    while lease.next < leased_to:
        lease.leased_to = leased_to
        messages = _read(log, connection, lease, leased_to, now)
        for place, message in enumerate(messages, lease.next):
            if lease.is_settled(place):
                continue
            behind = message.key is not None and message.key in blocked
            park(connection, lease, place, message, attempt=1, due=None if behind else now, suspect=True)
            if message.key is not None:
                blocked.add(message.key)
        _skip_to(lease, lease.leased_to)


def _park_blocked(connection: apsw.Connection, lease: RangeLease, messages: list[Message]) -> None:
    """Put messages whose key waits in `pending` behind what they must not overtake."""
    blocked = _blocked_keys(connection, lease)
    if not blocked:
        return
    for place, message in enumerate(messages, lease.next):
        if message.key in blocked and not lease.is_settled(place):
            park(connection, lease, place, message, attempt=0, due=None)
            lease.done |= 1 << (place - lease.next)


def _blocked_keys(connection: apsw.Connection, lease: RangeLease) -> set[str]:
    rows = fetch(
        connection,
        "SELECT DISTINCT key FROM bus_pending WHERE group_id = ? AND topic = ? AND partition = ? AND key IS NOT NULL",
        (lease.group, lease.topic, lease.partition),
    )
    return {row[0] for row in rows}


def _least_recently_leased(row: Row) -> int:
    token: int = row[5]
    return token
