"""Moving a group's place: back to what it has settled, or past what waits.

The log answers for everything from the new place on: each message comes once, as a first attempt, and a row of its own
that it had is deleted, unless retention has left nothing but that row. What is before the new place and has a row stays
if it was tried, and is skipped with the rest if it only stood in a queue: behind another of its key, or given back.
Every lease of the group on the topic ends: tokens grow, so a late settlement finds nothing.
"""

from __future__ import annotations

import apsw

from .._core.inspection import SeekInfo
from .._core.ports import Start
from .._core.topic import matches
from .groups import place, places_of
from .lag import MEMBERSHIPS, group_info, skipped_by
from .rows import fetch

_FORGET_KEPT = """
    DELETE FROM bus_pending WHERE group_id = ?1 AND topic = ?2 AND partition = ?3 AND place >= ?4 AND EXISTS (
        SELECT 1 FROM bus_segment s WHERE s.topic = ?2 AND s.partition = ?3
        AND s.first <= bus_pending.place AND bus_pending.place < s.first + s.count)"""
#: What was retried or died has an attempt; what was brought back from the dead letters has none, but a reason.
_FORGET_UNTRIED = """
    DELETE FROM bus_pending WHERE group_id = ?1 AND topic = ?2 AND partition = ?3 AND place < ?4
        AND attempt - (owner IS NOT NULL) <= 0 AND reason = ''"""
_TAKE_BACK = """
    UPDATE bus_pending SET owner = NULL, token = token + 1, attempt = attempt - 1, due = ?3
    WHERE group_id = ?1 AND topic = ?2 AND owner IS NOT NULL AND due > ?3"""
_FIRST_OF_KEYS = """
    UPDATE bus_pending SET due = ?3 WHERE group_id = ?1 AND topic = ?2 AND due IS NULL AND NOT EXISTS (
        SELECT 1 FROM bus_pending b WHERE b.group_id = ?1 AND b.topic = ?2 AND b.partition = bus_pending.partition
        AND b.key = bus_pending.key AND b.place < bus_pending.place)"""


def seek(
    connection: apsw.Connection, group: str, pattern: str, start: Start, now: float, *, dry_run: bool = False
) -> list[SeekInfo]:
    """Move a group's place on each topic that it reads and the pattern fits; nothing if there is none.

    Runs inside its caller's transaction, in which a dry run leaves no trace.
    """
    run = connection.execute
    run("SAVEPOINT seek")
    found = [
        _seek(connection, (group_number, topic), (name, topic_name), start, now)
        for group_number, name, topic, topic_name in fetch(connection, MEMBERSHIPS)
        if name == group and matches(pattern, topic_name)
    ]
    if dry_run:
        run("ROLLBACK TO seek")
    run("RELEASE seek")
    return found


def _seek(
    connection: apsw.Connection, ids: tuple[int, int], names: tuple[str, str], start: Start, now: float
) -> SeekInfo:
    before = group_info(connection, ids, names, now)
    places = places_of(connection, ids[1], start)
    skipped = skipped_by(connection, ids, places, now)
    for number, first in places.items():
        connection.execute(_FORGET_KEPT, (*ids, number, first))
        connection.execute(_FORGET_UNTRIED, (*ids, number, first))
        skipped += connection.changes()
    connection.execute(_TAKE_BACK, (*ids, now))
    connection.execute(_FIRST_OF_KEYS, (*ids, now))
    place(connection, *ids, places)
    lag = group_info(connection, ids, names, now).lag
    return SeekInfo(
        group=names[0],
        topic=names[1],
        again=lag - before.lag + skipped,
        skipped=skipped,
        taken_back=before.in_flight,
        lag=lag,
    )
