"""How far behind a group is: what it has not settled, and how old that is."""

from __future__ import annotations

import apsw

from .._core.inspection import GroupInfo
from .rows import Row, fetch, fetch_one

MEMBERSHIPS = """
    SELECT g.id, g.name, t.id, t.name FROM bus_membership m
    JOIN bus_groups g ON g.id = m.group_id JOIN bus_topic t ON t.id = m.topic ORDER BY g.name, t.name"""
_CURSORS = """
    SELECT p.number, p.ends, coalesce(c.next, 0), coalesce(c.done, x''), coalesce(c.leased_to, 0),
           c.owner IS NOT NULL AND c.deadline > ?3,
           (SELECT min(first) FROM bus_segment WHERE topic = p.topic AND partition = p.number)
    FROM bus_partition p LEFT JOIN bus_cursor c ON c.group_id = ?1 AND c.topic = p.topic AND c.partition = p.number
    WHERE p.topic = ?2"""
_PENDING = """
    SELECT coalesce(sum(due <= ?3), 0), coalesce(sum(owner IS NOT NULL AND due > ?3), 0),
           coalesce(sum(owner IS NULL AND (due IS NULL OR due > ?3)), 0), min(time)
    FROM bus_pending WHERE group_id = ?1 AND topic = ?2"""
_OLDEST = """
    SELECT time FROM bus_segment WHERE topic = ? AND partition = ? AND first + count > ? ORDER BY first LIMIT 1"""

_RIPE = "SELECT count(*), min(due) FROM bus_scheduled WHERE due <= ? AND topic = ?"


def group_info(
    connection: apsw.Connection, ids: tuple[int, int], names: tuple[str, str], now: float
) -> GroupInfo:
    """Count what a group (its id and name) has still to settle of a topic (the same).

    What was scheduled and has become due counts, though it is not in the log before somebody receives.
    """
    ready = in_flight = 0
    oldest: list[float] = []
    for row in fetch(connection, _CURSORS, (*ids, now)):
        unsettled, held, first_kept = _unsettled(row)
        ready, in_flight = ready + unsettled - held, in_flight + held
        if unsettled:
            oldest.append(connection.execute(_OLDEST, (ids[1], row[0], first_kept)).get)
    due, leased_rows, waiting, oldest_row = fetch_one(connection, _PENDING, (*ids, now)) or (0, 0, 0, None)
    ripe, ripe_since = fetch_one(connection, _RIPE, (now, names[1])) or (0, None)
    dead_count: int = connection.execute(
        "SELECT count(*) FROM bus_dead WHERE group_id = ? AND topic = ?", ids
    ).get
    oldest += [since for since in (oldest_row, ripe_since) if since is not None]
    return GroupInfo(
        group=names[0],
        topic=names[1],
        ready=ready + due + ripe,
        in_flight=in_flight + leased_rows,
        waiting=waiting,
        dead=dead_count,
        oldest_age_s=max(0.0, now - min(oldest)) if oldest else None,
    )


def skipped_by(connection: apsw.Connection, ids: tuple[int, int], places: dict[int, int], now: float) -> int:
    """Count what is unsettled before these places of the partitions, by their numbers."""
    skipped = 0
    for row in fetch(connection, _CURSORS, (*ids, now)):
        number, ends, first, bitmap, _, _, kept_from = row
        passed = max(0, places[number] - first)
        settled = int.from_bytes(bitmap, "little") & ((1 << passed) - 1)
        first_kept = max(first, ends if kept_from is None else kept_from)
        skipped += max(0, places[number] - first_kept - settled.bit_count())
    return skipped


def _unsettled(row: Row) -> tuple[int, int, int]:
    """Return how many messages of a partition are unsettled, how many of them are leased, and the first kept place."""
    _, ends, first, bitmap, leased_to, leased, kept_from = row
    done = int.from_bytes(bitmap, "little")
    first_kept = max(first, ends if kept_from is None else kept_from)
    length = max(0, leased_to - first) if leased else 0
    held = length - (done & ((1 << length) - 1)).bit_count()
    return max(0, ends - first_kept - done.bit_count()), held, first_kept
