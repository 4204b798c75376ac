"""Taking messages from the log for a member of a group: what is due first, then a range of each free partition.

A range that can be delivered as it is, the usual case, is only marked under the write lock and read afterwards
(`read_plain`). One with something in it to be looked at (settled places, keys that wait, retention, damage) is read at
once. Every function runs inside its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import apsw

from .._core.delivery import Delivery, first_deliveries
from .._core.limits import PARTITIONS_COUNT
from .._core.message import BYTES, Message
from .._core.run import MessageRun
from .leases import Member, PendingLease, RangeLease, Stretch, bitmap_bytes
from .log import Log, priority_of
from .pending import blocked_keys, bury, park, park_blocked, take_due
from .rows import Row, fetch
from .segment import DamagedSegment, Ticketed
from .ticket import Ticket

_FREE_CURSORS = """
    SELECT p.number, coalesce(c.next, 0), coalesce(c.done, x''), coalesce(c.leased_to, 0), c.owner,
           coalesce(c.token, 0), p.ends, EXISTS (SELECT 1 FROM bus_pending
               WHERE group_id = ?1 AND topic = ?2 AND partition = p.number AND key IS NOT NULL)
    FROM bus_partition p LEFT JOIN bus_cursor c ON c.group_id = ?1 AND c.topic = p.topic AND c.partition = p.number
    WHERE p.topic = ?2 AND coalesce(c.next, 0) < p.ends AND (c.owner IS NULL OR c.deadline <= ?3)
        AND (c.next IS NOT NULL OR EXISTS (SELECT 1 FROM bus_membership WHERE topic = ?2 AND group_id = ?1))
    ORDER BY p.number"""
_COMMIT_OF = "SELECT id FROM bus_segment WHERE topic = ? AND partition = ? AND first + count > ? ORDER BY first LIMIT 1"
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


@dataclass(slots=True)
class Claim:
    """What one claim found."""

    deliveries: list[Delivery] = field(default_factory=list)
    leases: list[RangeLease | PendingLease] = field(default_factory=list)
    unread: list[RangeLease] = field(default_factory=list)  # to be read once the claim has committed
    count: int = 0  # messages, those of unread ranges included
    more: bool = False  # whether there was more than the limit


def claim(
    log: Log, connection: apsw.Connection, member: Member, topic: int, limit: int, now: float, deadline: float
) -> Claim:
    """Lease up to `limit` messages of one topic until `deadline`. Due retries come first, then higher priorities.

    Suspects are returned only to a member that holds nothing else, and nothing else with them; a member that does hold
    something gets nothing more, so that it soon will.
    """
    found = Claim()
    deliveries, leases, only_suspects = take_due(connection, member, topic, limit, now, deadline)
    found.deliveries += deliveries
    found.leases += leases
    found.count += len(deliveries)
    if only_suspects:
        found.more = not deliveries
        return found
    rows = fetch(connection, _FREE_CURSORS, (member.group, topic, now))
    several_priorities = bool(rows) and rows[-1][0] >= PARTITIONS_COUNT
    rows.sort(key=_least_recently_leased)
    if several_priorities:
        _sort_by_priority(connection, member, topic, rows)
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
        found = _deliveries(log, lease)
    except DamagedSegment:
        return None
    return found if len(found) == lease.leased_to - lease.next else None


def _deliveries(log: Log, lease: RangeLease) -> list[Delivery]:
    """Return first deliveries of a lease's range."""
    found: list[Delivery] = []
    for first, messages in log.segments(lease.topic, lease.partition, lease.next, lease.leased_to):
        found += deliveries_of(lease, first, messages)
    return found


def deliveries_of(lease: RangeLease, first: int, messages: Sequence[Message]) -> list[Delivery]:
    """Return first deliveries of what a lease has of a segment that begins at `first`, and tell it their bytes."""
    places = range(max(0, lease.next - first), min(len(messages), lease.leased_to - first))
    found = first_deliveries(messages, places, Stretch(lease, first))
    if isinstance(messages, MessageRun):  # without tickets
        lease.bytes += sum(map(len, messages.bodies[places.start : places.stop]))
    else:
        lease.ticketed = lease.ticketed or isinstance(messages, Ticketed)
        _weigh(lease, found)
    return found


def _weigh(lease: RangeLease, deliveries: list[Delivery]) -> None:
    """Tell a lease how large the bodies are that it stands for too."""
    lease.bytes += sum([len(delivery.body) for delivery in deliveries])
    if lease.ticketed:
        lease.bytes += sum(delivery.body.size for delivery in deliveries if isinstance(delivery.body, Ticket))


def topics_with_work(connection: apsw.Connection, group: int, now: float) -> set[int]:
    """Return the topics in which something could be claimed now; for members of very many topics."""
    return {row[0] for row in fetch(connection, _WITH_WORK, (group, now))}


def next_due(connection: apsw.Connection, group: int, topics: Sequence[int]) -> float | None:
    """Return when the next retry of the group, or the next lease to end, or the next schedule is due (Unix seconds)."""
    moments = [connection.execute(_NEXT_DUE, (group, topic)).get for topic in topics or (None,)]
    return min((moment for moment in moments if moment is not None), default=None)


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
    partition, first, bitmap, leased_to, previous_owner, token, ends, waiting_keys = row
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
    read_now = lease.done or member.careful or previous_owner is not None or (member.ordered and waiting_keys)
    if not read_now and lease.next < lease.leased_to:
        connection.execute(_TAKE_CURSOR, _cursor_row(lease, member.owner, deadline))
        found.leases.append(lease)
        found.unread.append(lease)
        found.count += lease.leased_to - lease.next
        return
    messages = _read(log, connection, lease, ends, now)
    if member.ordered:
        park_blocked(connection, lease, messages)
    stretch = Stretch(lease, lease.next)
    deliveries = [
        Delivery.of(message, 1, stretch, index=index)
        for index, message in enumerate(messages)
        if not lease.is_settled(stretch.first + index)
    ]
    if not deliveries:
        _skip_to(lease, lease.leased_to)  # what is settled behind a damaged segment stays so
        connection.execute(_TAKE_CURSOR, _cursor_row(lease, None, deadline))
        found.more = True
        return
    connection.execute(_TAKE_CURSOR, _cursor_row(lease, member.owner, deadline))
    lease.ticketed = any(isinstance(delivery.body, Ticket) for delivery in deliveries)
    _weigh(lease, deliveries)
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


def _cursor_row(lease: RangeLease, owner: str | None, deadline: float) -> tuple[apsw.SQLiteValue, ...]:
    place = (lease.group, lease.topic, lease.partition)
    return (*place, lease.next, bitmap_bytes(lease.done), lease.leased_to, owner, lease.token, deadline)


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
    blocked = blocked_keys(connection, lease)
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


def _sort_by_priority(connection: apsw.Connection, member: Member, topic: int, rows: list[Row]) -> None:
    """Put the highest priority first, or, when it is their turn, the messages that have waited longest."""
    if member.oldest_first:
        rows.sort(key=lambda row: connection.execute(_COMMIT_OF, (topic, row[0], row[1])).get or 0)
    else:
        rows.sort(key=lambda row: -priority_of(row[0]))


def _least_recently_leased(row: Row) -> int:
    token: int = row[5]
    return token
