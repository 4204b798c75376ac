"""Publishing once: within a window, a topic stores one message of each `dedupe_key`.

The key is marked in the transaction that stores its message, so that neither is ever without the other. Every function
runs inside its caller's transaction.
"""

from __future__ import annotations

from typing import Final

import apsw

from .._core.message import Message

_MARK: Final = """
    INSERT INTO bus_dedupe (topic, key, expires, message_id) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (topic, key) DO UPDATE SET expires = ?3, message_id = ?4 WHERE expires <= ?5 RETURNING 1"""
_FIRST: Final = "SELECT message_id FROM bus_dedupe WHERE topic = ? AND key = ?"
_UNMARK: Final = """
    DELETE FROM bus_dedupe WHERE topic = (SELECT id FROM bus_topic WHERE name = ?) AND key = ? AND message_id = ?"""


def mark(
    connection: apsw.Connection, topic: int, message: Message, *, now: float, window_s: float
) -> str | None:
    """Mark a message's key; if a message with it was stored within the window, return the id of that one instead."""
    row = (topic, message.dedupe_key, now + window_s, message.id, now)
    if connection.execute(_MARK, row).get:
        return None
    first: str = connection.execute(_FIRST, (topic, message.dedupe_key)).get
    return first


def unmark(connection: apsw.Connection, message: Message) -> None:
    """Forget the key of a message that will never be delivered."""
    if message.dedupe_key is not None:
        connection.execute(_UNMARK, (message.topic, message.dedupe_key, message.id))
