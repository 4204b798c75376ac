"""What is deleted from the log, and when: what every group has settled, once it is old enough or the file too large.

What some group has not settled is never deleted. A topic that no group reads counts as settled, and is kept longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import apsw

from .._core.limits import INBOX_RETENTION_S, UNREAD_RETENTION_S
from .rows import fetch

#: Segments deleted in one transaction: a few milliseconds of the write lock.
_SEGMENTS_MAX: Final = 50

_SETTLED_BY_ALL = """
    SELECT p.topic, p.number, min(coalesce(c.next, 0)) FROM bus_partition p
    JOIN bus_membership m ON m.topic = p.topic
    LEFT JOIN bus_cursor c ON c.group_id = m.group_id AND c.topic = p.topic AND c.partition = p.number
    GROUP BY p.topic, p.number HAVING min(coalesce(c.next, 0)) > 0"""
_UNREAD = (
    "SELECT topic, number, ends FROM bus_partition WHERE topic NOT IN (SELECT topic FROM bus_membership)"
)
_BODY_BYTES = """
    SELECT coalesce(sum(size), 0) FROM bus_body b WHERE (
        SELECT first + "count" > b.place FROM bus_segment
        WHERE topic = b.topic AND partition = b.partition AND first <= b.place ORDER BY first DESC LIMIT 1)"""
_OLDEST = """
    SELECT id FROM (
        SELECT id, first + "count" AS behind FROM bus_segment WHERE topic = ? AND partition = ? ORDER BY first LIMIT 1)
    WHERE behind <= ?"""
_DELETE_SETTLED = """
    DELETE FROM bus_segment WHERE id IN (
        SELECT id FROM (
            SELECT id, first + "count" AS behind, time FROM bus_segment WHERE topic = ?1 AND partition = ?2
            ORDER BY first LIMIT ?5)
        WHERE behind <= ?3 AND time <= ?4)"""
_DELETE_UNREAD = """
    DELETE FROM bus_segment WHERE id IN (
        SELECT id FROM bus_segment
        WHERE time < ? AND topic NOT IN (SELECT topic FROM bus_membership) ORDER BY id LIMIT ?)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long what is settled is kept.

    Attributes:
        keep_s: After it was stored, in seconds. None: not at all where a group reads, and elsewhere the default.
        bytes_max: Size of what the file holds, in bytes, above which settled messages go before their time; the oldest
            first. None: there is no such size.
    """

    keep_s: float | None = None
    bytes_max: int | None = None

    @property
    def unread_s(self) -> float:
        """How long messages of a topic that no group reads are kept, in seconds."""
        return UNREAD_RETENTION_S if self.keep_s is None else self.keep_s

    @property
    def inbox_s(self) -> float:
        """How long the inbox remembers a message, in seconds: longer than it can be replayed."""
        return max(INBOX_RETENTION_S, 2 * (self.keep_s or 0.0))


def declare(connection: apsw.Connection, retention: Retention) -> None:
    """Write down what a URL says about it, so that every process heeds it: whichever looks after the file next."""
    before = declared(connection)
    for name in ("keep_s", "bytes_max"):
        value = getattr(retention, name)
        if value is not None and value != getattr(before, name):
            connection.execute("INSERT OR REPLACE INTO bus_setting VALUES (?, ?)", (name, value))


def declared(connection: apsw.Connection) -> Retention:
    """Return what URLs have said so far; of several, the last that said it counts."""
    found: dict[str, float] = dict(fetch(connection, "SELECT name, value FROM bus_setting"))
    size = found.get("bytes_max")
    return Retention(keep_s=found.get("keep_s"), bytes_max=None if size is None else int(size))


def delete_old(connection: apsw.Connection, retention: Retention, now: float) -> bool:
    """Delete some of what is settled and old enough; say whether there may be more."""
    until = now - (retention.keep_s or 0.0)
    more = False
    for topic, partition, settled in fetch(connection, _SETTLED_BY_ALL):
        connection.execute(_DELETE_SETTLED, (topic, partition, settled, until, _SEGMENTS_MAX))
        more = more or connection.changes() == _SEGMENTS_MAX
    connection.execute(_DELETE_UNREAD, (now - retention.unread_s, _SEGMENTS_MAX))
    return more or connection.changes() == _SEGMENTS_MAX


def is_too_large(connection: apsw.Connection, retention: Retention) -> bool:
    """Say whether the file holds more than it should, the user's own tables included.

    Files of large bodies count while their message is in the log: it is that which can be deleted.
    """
    if retention.bytes_max is None:
        return False
    pages = connection.pragma("page_count") - connection.pragma("freelist_count")
    bodies = connection.execute(_BODY_BYTES).get
    return bool(pages * connection.pragma("page_size") + bodies > retention.bytes_max)


def delete_oldest(connection: apsw.Connection) -> bool:
    """Delete some of the oldest that is settled, whatever its age; False if there is nothing settled."""
    oldest: tuple[int, int, int, int] | None = None
    for topic, partition, settled in (*fetch(connection, _SETTLED_BY_ALL), *fetch(connection, _UNREAD)):
        found = connection.execute(_OLDEST, (topic, partition, settled)).get
        if found is not None and (oldest is None or found < oldest[0]):
            oldest = (found, topic, partition, settled)
    if oldest is None:
        return False
    connection.execute(_DELETE_SETTLED, (*oldest[1:], float("inf"), _SEGMENTS_MAX))
    return True
