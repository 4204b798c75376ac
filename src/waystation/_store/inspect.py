"""Looking into the file: topics, groups, lag, messages, dead letters, schedules; and what people change there.

Reading uses short transactions and copies rows out, so that it never keeps the write-ahead log from shrinking.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import apsw
from msgspec.structs import replace

from .._core.inspection import DeadInfo, GroupInfo, ScheduledInfo, TopicInfo
from .._core.message import TEXT, Message
from .._core.ports import Start
from .._core.topic import matches
from .dedupe import unmark
from .groups import places_of, topics_matching
from .lag import MEMBERSHIPS, group_info
from .rows import fetch, fetch_one
from .segment import DamagedSegment, decode_segment, pack, unpack

_TOPICS = """
    SELECT t.id, t.name, t.next_offset, coalesce(sum(s.count), 0), coalesce(sum(length(s.messages)), 0)
           + (SELECT coalesce(sum(size), 0) FROM bus_body WHERE topic = t.id),
           min(s.time), max(s.time)
    FROM bus_topic t LEFT JOIN bus_segment s ON s.topic = t.id GROUP BY t.id ORDER BY t.name"""
_FROM = """
    SELECT id, first, count, "offset", checksum, messages FROM bus_segment
    WHERE topic = ?1 AND partition = ?2 AND first + count > ?3 AND first >= coalesce(
        (SELECT max(first) FROM bus_segment WHERE topic = ?1 AND partition = ?2 AND first <= ?3), 0)
    ORDER BY first"""
_DEAD = """
    SELECT d.number, g.name, t.name, d.message, d.attempts, d.reason, d.detail, d.died FROM bus_dead d
    JOIN bus_groups g ON g.id = d.group_id JOIN bus_topic t ON t.id = d.topic
    WHERE d.number > ? AND (?2 IS NULL OR g.name = ?2) ORDER BY d.number LIMIT ?3"""
_REVIVE = """
    INSERT INTO bus_pending (group_id, topic, partition, place, key, attempt, due, reason, time, message)
    SELECT group_id, topic, partition, place, key, 0, ?2, reason, died, message FROM bus_dead WHERE number = ?1
    RETURNING group_id, topic, partition, key"""


def topics(connection: apsw.Connection) -> list[TopicInfo]:
    """Return every topic with what it keeps."""
    readers: dict[int, list[str]] = {}
    for _, group, topic, _ in fetch(connection, MEMBERSHIPS):
        readers.setdefault(topic, []).append(group)
    return [
        TopicInfo(
            name=name,
            messages=count,
            next_offset=next_offset,
            bytes=size,
            oldest=oldest,
            newest=newest,
            groups=tuple(readers.get(topic, ())),
        )
        for topic, name, next_offset, count, size, oldest, newest in fetch(connection, _TOPICS)
    ]


def groups(connection: apsw.Connection, now: float) -> list[GroupInfo]:
    """Return every group on every topic that it reads."""
    return [
        group_info(connection, (group, topic), (group_name, topic_name), now)
        for group, group_name, topic, topic_name in fetch(connection, MEMBERSHIPS)
    ]


def browse(connection: apsw.Connection, pattern: str, start: Start, limit: int) -> list[tuple[int, Message]]:
    """Return up to `limit` offsets and messages of the topics that fit, each topic from `start` on, by time."""
    found: list[tuple[int, Message]] = []
    for topic, _ in topics_matching(connection, pattern):
        found.extend(_browse_topic(connection, topic, start, limit))
    found.sort(key=lambda item: (item[1].time, item[0]))
    return found[:limit]


def dead(connection: apsw.Connection, group: str | None, limit: int, after: int) -> list[DeadInfo]:
    """Return dead letters with a number over `after`, oldest first."""
    return [
        DeadInfo(
            number=number,
            group=name,
            topic=topic,
            message=unpack(message)[0],
            attempts=attempts,
            reason=reason,
            detail=detail,
            died=died,
        )
        for number, name, topic, message, attempts, reason, detail, died in fetch(
            connection, _DEAD, (after, group, limit)
        )
    ]


def retry_dead(connection: apsw.Connection, numbers: Sequence[int], now: float) -> int:
    """Give dead letters back to their group in their key's order, as first attempts."""
    revived = 0
    for number in numbers:
        row = fetch_one(connection, _REVIVE, (number, now))
        if row is None:
            continue
        revived += 1
        connection.execute("DELETE FROM bus_dead WHERE number = ?", (number,))
        group, topic, partition, key = row
        if key is not None:  # only the first of a key may be due; one that is being handled stays
            connection.execute(
                """UPDATE bus_pending SET due = NULL WHERE owner IS NULL AND key = ?4 AND group_id = ?1 AND topic = ?2
                   AND partition = ?3 AND place > (SELECT min(place) FROM bus_pending
                       WHERE group_id = ?1 AND topic = ?2 AND partition = ?3 AND key = ?4)""",
                (group, topic, partition, key),
            )
    return revived


def purge_dead(connection: apsw.Connection, numbers: Sequence[int]) -> int:
    """Delete dead letters."""
    before = connection.total_changes()
    connection.executemany("DELETE FROM bus_dead WHERE number = ?", [(number,) for number in numbers])
    return connection.total_changes() - before


def scheduled(
    connection: apsw.Connection, limit: int, pattern: str = "#", before: float = math.inf
) -> list[ScheduledInfo]:
    """Return messages that wait for their time, the next one first: of topics that fit, due before a time."""
    rows = connection.execute(
        "SELECT topic, due, message FROM bus_scheduled WHERE due < ? ORDER BY due", (before,)
    )
    fitting = ((due, message) for topic, due, message in rows if matches(pattern, topic))
    return [
        ScheduledInfo(message=unpack(message)[0], due=due)
        for due, message in itertools.islice(fitting, limit)
    ]


def move_scheduled(connection: apsw.Connection, message_id: str, due: float) -> bool:
    """Let a message wait for another time."""
    rows = fetch(connection, "SELECT id, message FROM bus_scheduled WHERE message_id = ?", (message_id,))
    for row_id, data in rows:
        message, damage = unpack(data)
        moved = pack(replace(message, deliver_at=due)) if damage is None else data
        connection.execute("UPDATE bus_scheduled SET due = ?, message = ? WHERE id = ?", (due, moved, row_id))
    return bool(rows)


def cancel_scheduled(connection: apsw.Connection, message_id: str) -> bool:
    """Delete a message that waits for its time. Its `dedupe_key` is free again."""
    found = fetch(
        connection, "DELETE FROM bus_scheduled WHERE message_id = ? RETURNING message", (message_id,)
    )
    for (data,) in found:
        unmark(connection, unpack(data)[0])
    return bool(found)


def _shown(segment_id: int, first: int, count: int, checksum: int, data: bytes) -> Sequence[Message]:
    """Return a segment's messages, or its remains in their places."""
    try:
        return decode_segment(segment_id, first, count, checksum, data)
    except DamagedSegment as damage:
        return [Message("damaged", "damaged", str(damage).encode(), content_type=TEXT)] * count


def _browse_topic(
    connection: apsw.Connection, topic: int, start: Start, limit: int
) -> list[tuple[int, Message]]:
    places = places_of(connection, topic, start)
    found: list[tuple[int, Message]] = []
    for partition, first in places.items():
        room = limit
        for segment_id, begins, count, offset, checksum, data in connection.execute(
            _FROM, (topic, partition, first)
        ):
            skipped = max(0, first - begins)
            messages = _shown(segment_id, begins, count, checksum, data)[skipped:]
            found.extend(enumerate(messages[:room], offset + skipped))
            room -= len(messages)
            if room <= 0:
                break
    found.sort(key=lambda item: item[0])
    return found[:limit]
