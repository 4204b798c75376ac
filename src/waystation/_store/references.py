"""Which files are needed: a row for each ticket, and sweeping those whose message is gone.

A message has one place in the log for as long as it lives, whether it lies in its segment, in a row of its own or
among the dead letters; before that it is scheduled. So nothing but publishing needs to know of these rows: a file is
needed while any of those has its place. Notes are made inside their caller's transaction; a sweep has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from .._core.limits import ORPHAN_BODY_S
from .._core.message import Message
from .bodies import Bodies
from .rows import fetch
from .ticket import Ticket

#: Files removed at one turn of the sweep.
_REMOVE_FILES_MAX: Final = 100

_NOTE = """
    INSERT INTO bus_body (name, size, message_id, topic, partition, place) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET topic = excluded.topic, partition = excluded.partition, place = excluded.place"""
_GONE = """
    SELECT name FROM bus_body b WHERE CASE WHEN b.place IS NULL
        THEN NOT EXISTS (SELECT 1 FROM bus_scheduled WHERE message_id = b.message_id)
        ELSE coalesce((SELECT first + count <= b.place FROM bus_segment
                       WHERE topic = b.topic AND partition = b.partition AND first <= b.place
                       ORDER BY first DESC LIMIT 1), 1)
        AND (b.topic, b.partition, b.place) NOT IN (SELECT topic, partition, place FROM bus_pending)
        AND (b.topic, b.partition, b.place) NOT IN (SELECT topic, partition, place FROM bus_dead) END LIMIT ?"""
_FORGET_GONE = f"DELETE FROM bus_body WHERE name IN ({_GONE}) RETURNING name"
_IS_KNOWN = "SELECT 1 FROM bus_body WHERE name = ?"


def note_scheduled(connection: apsw.Connection, message: Message) -> None:
    """Put down the ticket of a message that waits for its time, if it has one."""
    if isinstance(message.body, Ticket):
        connection.execute(_NOTE, (message.body.name, message.body.size, message.id, None, None, None))


def note(
    connection: apsw.Connection, topic: int, partition: int, first: int, messages: Sequence[Message]
) -> None:
    """Put down the tickets of a segment that begins at the place `first`."""
    for place, message in enumerate(messages, first):
        body = message.body
        if isinstance(body, Ticket):
            connection.execute(_NOTE, (body.name, body.size, message.id, topic, partition, place))


def sweep_gone(connection: apsw.Connection, bodies: Bodies) -> None:
    """Remove files whose messages are gone.

    A row goes before its file, in a commit that is flushed: a power cut may bring back a message whose settlement was
    not, but never without its body.
    """
    if not connection.execute(_GONE, (1,)).get:
        return
    usual = connection.pragma("synchronous")
    connection.pragma("synchronous", "full")
    try:
        gone = [name for (name,) in fetch(connection, _FORGET_GONE, (_REMOVE_FILES_MAX,))]
    finally:
        connection.pragma("synchronous", usual)
    bodies.remove(gone)


def sweep_orphans(connection: apsw.Connection, bodies: Bodies) -> None:
    """Remove old files that no commit has ever named.

    With the write lock held; and whoever stores a ticket looks, with the lock held, whether its file is still there. So
    a publisher that was stopped for hours is refused, and promises nothing that it cannot keep.
    """
    unknown = [name for name in bodies.names() if not _is_known(connection, name)]
    old = bodies.older_than(unknown, ORPHAN_BODY_S)[:_REMOVE_FILES_MAX]
    if not old:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        bodies.remove([name for name in old if not _is_known(connection, name)])
    finally:
        connection.execute("ROLLBACK")  # nothing was written


def _is_known(connection: apsw.Connection, name: str) -> bool:
    return connection.execute(_IS_KNOWN, (name,)).get is not None
