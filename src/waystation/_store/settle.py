"""Ending deliveries: one row for a range, whatever the number of messages in it.

A settlement is written inside its caller's transaction and takes effect in memory only when that has committed
(`Settled.apply`), so a transaction that is rolled back leaves every lease as it was. What is already settled is read
from the file and not from the lease in memory: another transaction of this process may have committed a moment ago.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import apsw

from .._core.delivery import ACCEPT, Accept, DeadLetter, Delivery, Release, Retry, Settlement
from .leases import DUE_AGAIN, PendingLease, RangeLease, Stretch, bitmap_bytes
from .pending import bury, park
from .rows import fetch_one

_CURSOR = """
    SELECT next, done, leased_to FROM bus_cursor WHERE group_id = ? AND topic = ? AND partition = ? AND token = ?"""
_MOVE_CURSOR = """
    UPDATE bus_cursor SET next = ?, done = ?, owner = CASE WHEN ? THEN NULL ELSE owner END
    WHERE group_id = ? AND topic = ? AND partition = ? AND token = ?"""
_PROMOTE = """
    UPDATE bus_pending SET due = ?5 WHERE due IS NULL AND id = (
        SELECT id FROM bus_pending WHERE group_id = ?1 AND topic = ?2 AND partition = ?3 AND key = ?4
        ORDER BY place LIMIT 1)"""
_HAS_MORE = "SELECT ends > ?3 FROM bus_partition WHERE topic = ?1 AND number = ?2"
_IS_BEHIND = """
    SELECT 1 FROM bus_pending WHERE group_id = ? AND topic = ? AND partition = ? AND key = ? AND place < ? LIMIT 1"""

Outcome = tuple[Delivery, Settlement]


@dataclass(slots=True)
class RangeOutcomes:
    """What one settlement says about one range."""

    places: set[int] = field(default_factory=set)  # settled for good, or moved to a row of their own
    others: dict[int, Outcome] = field(default_factory=dict)  # by place: all but Accept


@dataclass(frozen=True, slots=True)
class Grouped:
    """A settlement worked out before the write lock is taken: what is left is one row for each range, and the rare."""

    ranges: dict[RangeLease, RangeOutcomes]
    pending: list[tuple[PendingLease, Delivery, Settlement]]


@dataclass(slots=True)
class Settled:
    """What was written, to be applied to the leases in memory once the transaction has committed."""

    ranges: list[tuple[RangeLease, int, int]] = field(default_factory=list)  # lease, next, done
    released: list[RangeLease] = field(default_factory=list)
    pending: list[PendingLease] = field(default_factory=list)
    lost: list[RangeLease | PendingLease] = field(default_factory=list)
    woken: set[int] = field(default_factory=set)  # topics in which something waits for other members now

    def apply(self) -> None:
        """Bring the leases in memory up to what was committed, in whatever order commits are heard of."""
        for lease, first, done in self.ranges:
            if first + done.bit_count() >= lease.next + lease.done.bit_count():
                lease.next, lease.done = first, done
        for lease in self.released:
            lease.next = lease.leased_to
        for row in self.pending:
            row.ended = True
        for gone in self.lost:
            gone.lost = True


def by_lease(outcomes: Sequence[Outcome]) -> Grouped:
    """Sort outcomes by lease. If a delivery is named twice, the first counts."""
    ranges: dict[RangeLease, RangeOutcomes] = {}
    pending: list[tuple[PendingLease, Delivery, Settlement]] = []
    before: object = None  # the token before: nearly always that of the next one too
    for delivery, settlement in outcomes:
        token = delivery.token
        if token is not before:
            if isinstance(token, PendingLease):
                pending.append((token, delivery, settlement))
                continue
            assert isinstance(token, Stretch), "a delivery of another transport"
            before, first = token, token.first
            found = ranges.setdefault(token.lease, RangeOutcomes())
            add = found.places.add
        place = first + delivery.index
        if settlement is not ACCEPT and not isinstance(settlement, Accept) and place not in found.places:
            found.others[place] = (delivery, settlement)
        add(place)
    return Grouped(ranges, pending)


def settle(connection: apsw.Connection, grouped: Grouped, now: float) -> Settled:
    """Write the end of deliveries. Those whose lease has ended are left alone and reported in `lost`."""
    settled = Settled()
    for row, delivery, settlement in grouped.pending:
        _settle_pending(connection, row, delivery, settlement, now, settled)
    for lease, found in grouped.ranges.items():
        _settle_range(connection, lease, found, now, settled)
    return settled


def _settle_range(
    connection: apsw.Connection, lease: RangeLease, found: RangeOutcomes, now: float, settled: Settled
) -> None:
    if lease.lost:
        settled.lost.append(lease)
        return
    if lease.ended:
        return
    mine = (lease.group, lease.topic, lease.partition, lease.token)
    cursor = fetch_one(connection, _CURSOR, mine)
    if cursor is None:
        settled.lost.append(lease)
        return
    stored, leased_to = (int(cursor[0]), int.from_bytes(cursor[1], "little")), cursor[2]
    others = {
        place: outcome for place, outcome in sorted(found.others.items()) if not _is_done(stored, place)
    }
    first, done = _advance(stored, found.places)
    released = {place for place, (_, settlement) in others.items() if isinstance(settlement, Release)}
    # Nothing of the range is held but what is released: the cursor itself goes back, and no row is needed.
    clean = bool(released) and first >= leased_to
    if clean:
        first, done = _advance(stored, found.places - released)
        others = {place: outcome for place, outcome in others.items() if place not in released}
    ended = clean or first >= leased_to
    connection.execute(_MOVE_CURSOR, (first, bitmap_bytes(done), ended, *mine))
    for place, (delivery, settlement) in others.items():
        _move_out(connection, lease, place, delivery, settlement, now)
    if (
        others
        or clean
        or (ended and connection.execute(_HAS_MORE, (lease.topic, lease.partition, first)).get)
    ):
        settled.woken.add(lease.topic)
    settled.ranges.append((lease, first, done))
    if clean:
        settled.released.append(lease)


def _is_done(stored: tuple[int, int], place: int) -> bool:
    first, done = stored
    return place < first or bool(done >> (place - first) & 1)


def _advance(stored: tuple[int, int], places: set[int]) -> tuple[int, int]:
    """Return a cursor's next place and bitmap once `places` are done too."""
    first, done = stored
    fresh = places if not places or min(places) >= first else {place for place in places if place >= first}
    if fresh:
        lo, hi = min(fresh), max(fresh)
        if hi - lo + 1 == len(fresh):  # the usual case: a run
            done |= ((1 << len(fresh)) - 1) << (lo - first)
        else:
            for place in fresh:
                done |= 1 << (place - first)
    run = (~done & (done + 1)).bit_length() - 1  # ones from the lowest bit on
    return first + run, done >> run


def _move_out(
    connection: apsw.Connection,
    lease: RangeLease,
    place: int,
    delivery: Delivery,
    settlement: Settlement,
    now: float,
) -> None:
    message, attempt = lease.tickets.get(place) or delivery.message, delivery.attempt
    if isinstance(settlement, Retry):
        park(
            connection,
            lease,
            place,
            message,
            attempt=attempt,
            due=now + settlement.delay_s,
            reason=settlement.reason,
        )
    elif isinstance(settlement, DeadLetter):
        bury(
            connection,
            lease,
            place,
            message,
            attempts=attempt,
            reason=settlement.reason,
            detail=settlement.detail,
            now=now,
        )
    elif isinstance(settlement, Release):
        behind = message.key is not None and _is_behind(connection, lease, message.key, place)
        park(connection, lease, place, message, attempt=attempt - 1, due=None if behind else now)


def _settle_pending(
    connection: apsw.Connection,
    lease: PendingLease,
    delivery: Delivery,
    settlement: Settlement,
    now: float,
    settled: Settled,
) -> None:
    if lease.ended:
        return
    run, mine = connection.execute, (lease.id, lease.token)
    if isinstance(settlement, Retry):
        run(
            "UPDATE bus_pending SET due = ?3, owner = NULL, suspect = 0, reason = ?4 WHERE id = ?1 AND token = ?2",
            (*mine, now + settlement.delay_s, settlement.reason),
        )
    elif isinstance(settlement, Release):
        run(
            f"""UPDATE bus_pending AS late SET due = {DUE_AGAIN}, attempt = attempt - (owner IS NOT NULL), owner = NULL
                WHERE id = ?1 AND token = ?2""",
            (*mine, now, lease.follows),
        )
    else:
        run("DELETE FROM bus_pending WHERE id = ? AND token = ?", mine)
    if connection.changes() == 0:
        settled.lost.append(lease)
        return
    settled.pending.append(lease)
    settled.woken.add(lease.topic)
    if isinstance(settlement, DeadLetter):
        bury(
            connection,
            lease,
            lease.place,
            lease.ticket or delivery.message,
            attempts=delivery.attempt,
            reason=settlement.reason,
            detail=settlement.detail,
            now=now,
        )
    if lease.key is not None and isinstance(settlement, (Accept, DeadLetter)):
        run(_PROMOTE, (lease.group, lease.topic, lease.partition, lease.key, now))


def _is_behind(connection: apsw.Connection, lease: RangeLease, key: str, place: int) -> bool:
    found = connection.execute(_IS_BEHIND, (lease.group, lease.topic, lease.partition, key, place)).get
    return bool(found)
