"""Messages that left their range and have a row of their own: retried, parked behind one of their key, or suspect.

When an owner dies, what it had not settled becomes *suspect*: one of these messages may have killed it. Suspects are
delivered a few at a time, to a member that holds nothing else, their attempts committed before the first handler
starts. Should that member die as well, each of those few comes alone, still as the same attempt. So a message that
kills its process is found, and its neighbours are not blamed.

Every function runs inside its caller's transaction.
"""

from __future__ import annotations

from typing import Final

import apsw

from .._core.delivery import Delivery
from .._core.message import Message, available
from .leases import PendingLease, RangeLease
from .rows import Row, fetch
from .segment import pack, unpack
from .ticket import Ticket

#: Suspects delivered together at their first stage: a thousand of them take a dozen rounds.
_SUSPECTS_TOGETHER_MAX: Final = 100

#: Stages of suspicion, as stored in `bus_pending.suspect`.
_TRUSTED: Final = 0
_IN_COMPANY: Final = 1  # its owner died: with others like it
_ALONE: Final = 2  # its owner died again: by itself

_DUE = """
    SELECT id, partition, place, key, attempt, suspect, owner IS NOT NULL, token, message FROM bus_pending
    WHERE group_id = ? AND topic = ? AND due <= ? ORDER BY due LIMIT ?"""
_TAKE_DUE = """
    UPDATE bus_pending SET owner = ?2, token = token + 1, attempt = attempt + ?5, due = ?3, suspect = ?4
    WHERE id = ?1"""
_PARK = """
    INSERT INTO bus_pending (group_id, topic, partition, place, key, attempt, due, suspect, reason, time, message)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_BURY = """
    INSERT INTO bus_dead (group_id, topic, partition, place, key, attempts, reason, detail, died, message)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


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
    connection.execute(_PARK, (*row, available(message), pack(message)))


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


def take_due(
    connection: apsw.Connection,
    group: int,
    topic: int,
    owner: str,
    limit: int,
    now: float,
    deadline: float,
    *,
    busy: bool,
) -> tuple[list[Delivery], list[PendingLease], bool]:
    """Lease rows that are due.

    Args:
        busy: Whether the member holds something else: then it gets no suspect.

    Returns:
        Deliveries, their leases, and whether suspects are, or should be, all that this member holds.
    """
    rows = fetch(connection, _DUE, (group, topic, now, limit))
    chosen, stage = _choose(rows)
    suspect = stage != _TRUSTED
    deliveries: list[Delivery] = []
    leases: list[PendingLease] = []
    if suspect and busy:
        return deliveries, leases, True
    for row_id, partition, place, key, attempt, was, died, token, data in chosen:
        # An attempt in company was counted, and may have been cut short by another.
        counted = not (died and was == _IN_COMPANY)
        connection.execute(_TAKE_DUE, (row_id, owner, deadline, stage, counted))
        lease = PendingLease(row_id, group, topic, partition, place, key, token + 1, suspect, len(data))
        message, damage = unpack(data)
        if isinstance(message.body, Ticket):
            lease.ticketed = True
            lease.bytes += message.body.size
        leases.append(lease)
        deliveries.append(Delivery.of(message, attempt + counted, lease, damage))
    return deliveries, leases, suspect


def _choose(rows: list[Row]) -> tuple[list[Row], int]:
    """Choose among rows that are due: what may be delivered together, and at which stage of suspicion."""
    first = [row for row in rows if (row[5] == _IN_COMPANY and not row[6]) or (row[5] == _TRUSTED and row[6])]
    if len(first) > 1:
        return first[:_SUSPECTS_TOGETHER_MAX], _IN_COMPANY
    alone = first or [row for row in rows if row[5] != _TRUSTED]
    if alone:
        return alone[:1], _ALONE
    return rows, _TRUSTED


def blocked_keys(connection: apsw.Connection, lease: RangeLease) -> set[str]:
    """Return the keys of a range's partition that have a row here: later messages must not overtake these."""
    rows = fetch(
        connection,
        "SELECT DISTINCT key FROM bus_pending WHERE group_id = ? AND topic = ? AND partition = ? AND key IS NOT NULL",
        (lease.group, lease.topic, lease.partition),
    )
    return {row[0] for row in rows}
