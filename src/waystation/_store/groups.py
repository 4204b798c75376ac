"""Groups: who reads which topic, and from where. Every function runs inside its caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import apsw

from .._core.ports import Start, Subscription
from .._core.topic import is_pattern, matches
from .log import Log
from .rows import fetch, fetch_one
from .segment import DamagedSegment, decode_segment


def declare(
    connection: apsw.Connection, log: Log, subscription: Subscription, *, expires: float | None = None
) -> int:
    """Make a group on a topic or pattern, unless it is there; return the group's id.

    Args:
        expires: When a new group that is temporary ends, unless it is kept.

    A group that was there keeps its place. A new one begins where `subscription.start` says on the topics that exist,
    and at the beginning of topics that come later.
    """
    run = connection.execute
    assert subscription.group is not None, "reply addresses have no group and are not declared"
    if not is_pattern(subscription.pattern):
        log.topic_id(subscription.pattern)
    run(
        "INSERT INTO bus_groups (name, expires) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (subscription.group, expires if subscription.temporary else None),
    )
    group: int = run("SELECT id FROM bus_groups WHERE name = ?", (subscription.group,)).get
    run("INSERT INTO bus_subscription VALUES (?, ?) ON CONFLICT DO NOTHING", (group, subscription.pattern))
    for topic, _ in topics_matching(connection, subscription.pattern):
        joined = run(
            "INSERT INTO bus_membership (group_id, topic) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING 1",
            (group, topic),
        ).get
        if joined:
            place(connection, group, topic, places_of(connection, topic, subscription.start))
    return group


def is_declared(connection: apsw.Connection, subscription: Subscription) -> bool:
    """Say whether `declare` would change nothing, without taking the write lock."""
    found = connection.execute(
        """SELECT 1 FROM bus_subscription
           WHERE pattern = ? AND group_id = (SELECT id FROM bus_groups WHERE name = ?)""",
        (subscription.pattern, subscription.group),
    ).get
    return bool(found)


def group_id(connection: apsw.Connection, name: str) -> int | None:
    """Return a group's id, or None if there is none of that name."""
    found: int | None = connection.execute("SELECT id FROM bus_groups WHERE name = ?", (name,)).get
    return found


def topics_matching(connection: apsw.Connection, pattern: str) -> list[tuple[int, str]]:
    """Return ids and names of the topics that fit a name or pattern, by name."""
    if not is_pattern(pattern):
        return [
            (row[0], row[1])
            for row in fetch(connection, "SELECT id, name FROM bus_topic WHERE name = ?", (pattern,))
        ]
    every = fetch(connection, "SELECT id, name FROM bus_topic ORDER BY name")
    return [(topic, name) for topic, name in every if matches(pattern, name)]


def place(connection: apsw.Connection, group: int, topic: int, places: dict[int, int]) -> None:
    """Put a group's cursors at these places of the partitions. Leases of the old place lose their token."""
    connection.executemany(
        """INSERT INTO bus_cursor (group_id, topic, partition, next) VALUES (?1, ?2, ?3, ?4)
           ON CONFLICT (group_id, topic, partition)
           DO UPDATE SET next = ?4, done = x'', leased_to = ?4, owner = NULL, token = token + 1""",
        [(group, topic, number, first) for number, first in places.items()],
    )


def places_of(connection: apsw.Connection, topic: int, start: Start) -> dict[int, int]:
    """Return, for each partition of a topic, the place at which a reader that starts at `start` begins."""
    ends = dict(_ends(connection, topic))
    if start == "new":
        return ends
    if start == "earliest":
        start = 0
    return {number: _first_from(connection, topic, number, start, end) for number, end in ends.items()}


def remove(connection: apsw.Connection, name: str) -> bool:
    """Forget a group with its place, retries, dead letters and inbox; False if there is none."""
    found = group_id(connection, name)
    if found is None:
        return False
    for table in ("subscription", "membership", "cursor", "pending", "dead", "inbox"):
        connection.execute(f"DELETE FROM bus_{table} WHERE group_id = ?", (found,))
    connection.execute("DELETE FROM bus_groups WHERE id = ?", (found,))
    return True


def keep(connection: apsw.Connection, names: Iterable[str], expires: float) -> list[str]:
    """Let those of these groups that are temporary live until then; return those that are not there."""
    gone = [name for name in names if group_id(connection, name) is None]
    connection.executemany(
        "UPDATE bus_groups SET expires = ? WHERE name = ? AND expires IS NOT NULL",
        [(expires, name) for name in names],
    )
    return gone


def expired(connection: apsw.Connection, now: float) -> list[str]:
    """Return the names of temporary groups whose time is over."""
    return [row[0] for row in fetch(connection, "SELECT name FROM bus_groups WHERE expires < ?", (now,))]


def _ends(connection: apsw.Connection, topic: int) -> list[tuple[int, int]]:
    return [
        (row[0], row[1])
        for row in fetch(connection, "SELECT number, ends FROM bus_partition WHERE topic = ?", (topic,))
    ]


def _first_from(
    connection: apsw.Connection, topic: int, partition: int, start: int | datetime | str, end: int
) -> int:
    """Return the first place at or after an offset or a time.

    The first segment that reaches it is found by its columns; the place inside it by its messages. A segment's time is
    its commit's, which no message in it or before it was published after.
    """
    moment = start.timestamp() if isinstance(start, datetime) else None
    condition = '"offset" + count > ?' if moment is None else "time >= ?"
    row = fetch_one(
        connection,
        f"""SELECT id, first, count, "offset", checksum, messages FROM bus_segment
            WHERE topic = ? AND partition = ? AND {condition} ORDER BY first LIMIT 1""",
        (topic, partition, start if moment is None else moment),
    )
    if row is None:
        return end
    segment_id, first, count, offset, checksum, data = row
    if moment is None:
        assert isinstance(start, int), "'earliest' and 'new' were answered by the caller"
        return int(first) + max(0, start - int(offset))
    try:
        times = [message.time for message in decode_segment(segment_id, first, count, checksum, data)]
    except DamagedSegment:
        return int(first)  # its own time reaches the moment
    return int(first) + next((i for i, time in enumerate(times) if time >= moment), int(count))
