"""Making a range longer that a member holds.

What arrives one by one would otherwise wait until all before it in its partition is settled, however many handlers of
the member are idle. Only whole segments that fit into the member's room are added: a backlog is read in ranges, each
segment once. Every function runs inside its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import apsw

from .._core.delivery import Delivery
from .leases import Member, RangeLease, Stretch, bitmap_bytes
from .log import Log
from .pending import park_blocked
from .rows import Row, fetch
from .segment import DamagedSegment
from .ticket import Ticket

_GROWING = """
    SELECT c.partition, c.token, c.next, c.done, c.leased_to, EXISTS (SELECT 1 FROM bus_pending
        WHERE group_id = ?1 AND topic = ?2 AND partition = p.number AND key IS NOT NULL)
    FROM bus_cursor c JOIN bus_partition p ON p.topic = c.topic AND p.number = c.partition
    WHERE c.group_id = ?1 AND c.topic = ?2 AND c.owner = ?3 AND c.deadline > ?4 AND c.leased_to < p.ends
    ORDER BY p.number DESC"""  # urgent messages have the higher numbers
_SEGMENTS_FROM = """
    SELECT first, count FROM bus_segment WHERE topic = ? AND partition = ? AND first >= ? ORDER BY first LIMIT ?"""
_GROW = """
    UPDATE bus_cursor SET leased_to = ?, done = ? WHERE group_id = ? AND topic = ? AND partition = ? AND token = ?"""


@dataclass(frozen=True, slots=True)
class Growth:
    """How far a lease reaches now. It is told so when that has committed."""

    lease: RangeLease
    leased_to: int
    deliveries: list[Delivery]

    def apply(self) -> None:
        """Tell the lease."""
        self.lease.leased_to = self.leased_to
        for delivery in self.deliveries:
            if isinstance(delivery.body, Ticket):
                self.lease.ticketed = True
                self.lease.bytes += delivery.body.size
            else:
                self.lease.bytes += len(delivery.body)


def grow(
    log: Log,
    connection: apsw.Connection,
    member: Member,
    topic: int,
    held: Iterable[RangeLease],
    room: int,
    now: float,
) -> list[Growth]:
    """Add what has arrived behind ranges of one topic that the member holds: at most `room` messages."""
    mine = {(lease.partition, lease.token): lease for lease in held if lease.topic == topic}
    found: list[Growth] = []
    if not mine or room <= 0:
        return found
    for row in fetch(connection, _GROWING, (member.group, topic, member.owner, now)):
        lease = mine.get((row[0], row[1]))
        if lease is not None:
            growth = _grow_one(log, connection, member, lease, row, room)
            if growth is not None:
                found.append(growth)
                room -= len(growth.deliveries)
    return found


def _grow_one(
    log: Log, connection: apsw.Connection, member: Member, lease: RangeLease, row: Row, room: int
) -> Growth | None:
    _, _, first, bitmap, begins, waiting_keys = row
    ends = _reach(connection, lease, begins, room)
    try:
        messages = log.read(lease.topic, lease.partition, begins, ends)
    except DamagedSegment:
        return None  # whoever claims it next sees to that
    if not messages or len(messages) < ends - begins:
        return None
    done = int.from_bytes(bitmap, "little")
    added = replace(lease, next=begins, leased_to=ends, done=done >> (begins - first))
    if member.ordered and waiting_keys:
        park_blocked(connection, added, messages)
    done |= added.done << (begins - first)
    place = (lease.group, lease.topic, lease.partition, lease.token)
    connection.execute(_GROW, (ends, bitmap_bytes(done), *place))
    stretch = Stretch(lease, begins)
    deliveries = [
        Delivery.of(message, 1, stretch, index=index)
        for index, message in enumerate(messages)
        if not added.is_settled(begins + index)
    ]
    return Growth(lease, ends, deliveries)


def _reach(connection: apsw.Connection, lease: RangeLease, begins: int, room: int) -> int:
    """Return the end of the last whole segment behind `begins` for which there is room, or `begins`."""
    ends = begins
    for first, count in fetch(connection, _SEGMENTS_FROM, (lease.topic, lease.partition, begins, room)):
        if first != ends or first + count - begins > room:
            break
        ends = first + count
    return ends
