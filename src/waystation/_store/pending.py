"""Messages that left their range and have a row of their own: retried, parked behind one of their key, or suspect.

When an owner dies, what it had not settled becomes *suspect*: one of these messages may have killed it. Suspects are
delivered a few at a time, to a member that holds nothing else, their attempts committed before the first handler
starts. Should that member die as well, each of those few comes alone, still as the same attempt. So a message that
kills its process is found, and its neighbours are not blamed.

Of an ordered group's rows of one key only the first is ever due. Who takes it takes those behind it as well, so that
one retry does not make a busy key slow; should that member die, they line up behind it again.

Every function runs inside its caller's transaction.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Final

import apsw

from .._core.delivery import Delivery
from .._core.message import Message, available
from .leases import IS_BEHIND, Member, PendingLease, RangeLease
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
_BEHIND = """
    SELECT id, partition, place, key, attempt, suspect, FALSE, token, message, due IS NOT NULL FROM bus_pending
    WHERE group_id = ? AND topic = ? AND partition = ? AND key = ? AND place > ? ORDER BY place LIMIT ?"""
_LINE_UP = f"""
    UPDATE bus_pending AS late SET due = NULL, owner = NULL, suspect = max(suspect, {_IN_COMPANY})
    WHERE group_id = ?1 AND topic = ?2 AND due <= ?3 AND owner IS NOT NULL AND key IS NOT NULL AND {IS_BEHIND}"""
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
    member: Member,
    topic: int,
    limit: int,
    now: float,
    deadline: float,
) -> tuple[list[Delivery], list[PendingLease], bool]:
    """Lease rows that are due, and what waits behind them; suspects only to a member that holds nothing else.

    Returns:
        Deliveries, their leases, and whether suspects are, or should be, all that this member holds.
    """
    due = (member.group, topic, now)
    rows = fetch(connection, _DUE, (*due, limit))
    if member.ordered and any(died and key is not None for _, _, _, key, _, _, died, _, _ in rows):
        connection.execute(_LINE_UP, due)
        rows = fetch(connection, _DUE, (*due, limit))
    chosen, stage = _choose(rows)
    suspect = stage != _TRUSTED
    deliveries: list[Delivery] = []
    leases: list[PendingLease] = []
    if suspect and member.busy:
        return deliveries, leases, True
    room = 0 if suspect else limit - len(chosen)
    for row in chosen:
        behind = _those_behind(connection, member.group, topic, row, room)
        room -= len(behind)
        for each in (row, *behind):
            delivery, lease = _take(connection, member, topic, each, stage, deadline)
            lease.follows = each is not row
            deliveries.append(delivery)
            leases.append(lease)
    return deliveries, leases, suspect


def _take(
    connection: apsw.Connection, member: Member, topic: int, row: Row, stage: int, deadline: float
) -> tuple[Delivery, PendingLease]:
    row_id, partition, place, key, attempt, was, died, token, data = row
    # An attempt in company was counted, and may have been cut short by another.
    counted = not (died and was == _IN_COMPANY)
    connection.execute(_TAKE_DUE, (row_id, member.owner, deadline, stage, counted))
    suspect = stage != _TRUSTED
    lease = PendingLease(
        row_id, member.group, topic, partition, place, key, token + 1, suspect, bytes=len(data)
    )
    message, damage = unpack(data)
    if isinstance(message.body, Ticket):
        lease.ticketed = True
        lease.bytes += message.body.size
    return Delivery.of(message, attempt + counted, lease, damage), lease


def _choose(rows: list[Row]) -> tuple[list[Row], int]:
    """Choose among rows that are due: what may be delivered together, and at which stage of suspicion."""
    first = [row for row in rows if (row[5] == _IN_COMPANY and not row[6]) or (row[5] == _TRUSTED and row[6])]
    if len(first) > 1:
        return first[:_SUSPECTS_TOGETHER_MAX], _IN_COMPANY
    alone = first or [row for row in rows if row[5] != _TRUSTED]
    if alone:
        return alone[:1], _ALONE
    return rows, _TRUSTED


def _those_behind(connection: apsw.Connection, group: int, topic: int, row: Row, room: int) -> list[Row]:
    """Return the rows that wait for nothing but this one, in their order."""
    _, partition, place, key, *_ = row
    if key is None or room <= 0:
        return []
    rows = fetch(connection, _BEHIND, (group, topic, partition, key, place, room))
    return [behind[:-1] for behind in takewhile(_only_waits, rows)]


def _only_waits(row: Row) -> bool:
    *_, suspect, _died, _token, _message, is_due = row
    return suspect == _TRUSTED and not is_due


def blocked_keys(connection: apsw.Connection, lease: RangeLease) -> set[str]:
    """Return the keys of a range's partition that have a row here: later messages must not overtake these."""
    rows = fetch(
        connection,
        "SELECT DISTINCT key FROM bus_pending WHERE group_id = ? AND topic = ? AND partition = ? AND key IS NOT NULL",
        (lease.group, lease.topic, lease.partition),
    )
    return {row[0] for row in rows}


def park_blocked(connection: apsw.Connection, lease: RangeLease, messages: list[Message]) -> None:
    """Put messages whose key waits in `pending` behind what they must not overtake."""
    blocked = blocked_keys(connection, lease)
    if not blocked:
        return
    for place, message in enumerate(messages, lease.next):
        if message.key in blocked and not lease.is_settled(place):
            park(connection, lease, place, message, attempt=0, due=None)
            lease.done |= 1 << (place - lease.next)
