"""What a group has not settled of a topic, message by message, without taking anything."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

import apsw

from .._core.inspection import UnsettledInfo
from .._core.limits import BATCH_BYTES_MAX
from .._core.message import TEXT, Message
from .rows import fetch, fetch_one
from .segment import DamagedSegment, decode_segment, unpack
from .ticket import Ticket

#: A position is a partition's number and, in its lower bits, a place there: messages of one key are in one partition.
_PLACE_BITS: Final = 48

_IDS = """
    SELECT m.group_id, m.topic FROM bus_membership m
    JOIN bus_groups g ON g.id = m.group_id JOIN bus_topic t ON t.id = m.topic WHERE g.name = ? AND t.name = ?"""
_CURSORS = """
    SELECT p.number, coalesce(c.next, 0), coalesce(c.done, x'') FROM bus_partition p
    LEFT JOIN bus_cursor c ON c.group_id = ?1 AND c.topic = p.topic AND c.partition = p.number
    WHERE p.topic = ?2 AND p.number >= ?3 ORDER BY p.number"""
_SEGMENTS = """
    SELECT id, first, count, checksum, messages FROM bus_segment
    WHERE topic = ? AND partition = ? AND first + count > ? ORDER BY first"""
_ROWS = """
    SELECT place, attempt - (owner IS NOT NULL), CASE WHEN owner IS NULL THEN due END, reason, message
    FROM bus_pending WHERE group_id = ? AND topic = ? AND partition = ? AND place >= ? ORDER BY place"""


def unsettled(
    connection: apsw.Connection, group: str, topic: str, *, after: int, limit: int
) -> list[UnsettledInfo]:
    """Return up to `limit` messages with positions over `after`, fewer if they are large; nothing: there are no more.

    Runs inside its caller's transaction, or sees each row as it is then.
    """
    ids = fetch_one(connection, _IDS, (group, topic))
    found: list[UnsettledInfo] = []
    room = BATCH_BYTES_MAX
    if ids is None:
        return found
    begin = after + 1
    for number, cursor, done in fetch(connection, _CURSORS, (*ids, max(begin, 0) >> _PLACE_BITS)):
        base = number << _PLACE_BITS
        first = max(begin - base, 0)
        settled = (cursor, int.from_bytes(done, "little"))
        for info in heapq.merge(
            _rows(connection, ids, number, first),
            _fresh(connection, ids[1], number, first, settled),
            key=lambda info: info.position,
        ):
            found.append(info)
            room -= (
                info.message.body.size if isinstance(info.message.body, Ticket) else len(info.message.body)
            )
            if len(found) >= limit or room <= 0:
                return found
    return found


def _rows(
    connection: apsw.Connection, ids: tuple[int, int], number: int, first: int
) -> Iterator[UnsettledInfo]:
    """Yield what has a row of its own."""
    for place, attempts, due, reason, data in connection.execute(_ROWS, (*ids, number, first)):
        message, damage = unpack(data)
        position = (number << _PLACE_BITS) + place
        yield UnsettledInfo(
            message=message, position=position, attempts=attempts, due=due, reason=reason, error=damage
        )


def _fresh(
    connection: apsw.Connection, topic: int, number: int, first: int, settled: tuple[int, int]
) -> Iterator[UnsettledInfo]:
    """Yield what is in the log, and not settled: at or behind the cursor, and not in its bitmap."""
    cursor, done = settled
    begin = max(first, cursor)
    for segment_id, start, count, checksum, data in connection.execute(_SEGMENTS, (topic, number, begin)):
        messages, damage = _read(segment_id, start, count, checksum, data)
        for place in range(max(start, begin), start + count):
            if not done >> (place - cursor) & 1:
                position = (number << _PLACE_BITS) + place
                yield UnsettledInfo(message=messages[place - start], position=position, error=damage)


def _read(
    segment_id: int, first: int, count: int, checksum: int, data: bytes
) -> tuple[list[Message], str | None]:
    try:
        return list(decode_segment(segment_id, first, count, checksum, data)), None
    except DamagedSegment as damage:
        return [Message("damaged", "damaged", data, content_type=TEXT)] * count, str(damage)
