"""Messages that recur: a row each, with the time that is next. Every function runs inside its caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from .._core.inspection import RecurringInfo
from .._core.message import Message
from .._core.ports import Recurrence
from .log import Log
from .rows import fetch, fetch_one

_BEGIN = """
    INSERT INTO bus_recurring (name, topic, rule, due) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (name) DO UPDATE SET topic = ?2, rule = ?3, due = ?4 WHERE topic <> ?2 OR rule <> ?3"""
_GO_ON = """
    UPDATE bus_recurring SET due = ?5 WHERE name = ?1 AND topic = ?2 AND rule = ?3 AND due = ?4
    RETURNING paused"""


def recur(
    connection: apsw.Connection,
    log: Log,
    recurrence: Recurrence,
    due: float | None,
    next_due: float,
    messages: Sequence[Message],
    now: float,
) -> tuple[float | None, set[int]]:
    """Append what is due and move the row on, if it is where it is expected; see `Recurring.recur`.

    Returns:
        When it is due now, and the topics that have something new.
    """
    this = (recurrence.name, recurrence.topic, recurrence.rule)
    touched: set[int] = set()
    if due is None:
        connection.execute(_BEGIN, (*this, next_due))
    else:
        row = fetch_one(connection, _GO_ON, (*this, due, next_due))
        if row == (0,):
            touched = log.append(messages, now).touched
    found: float | None = connection.execute(
        "SELECT due FROM bus_recurring WHERE name = ? AND topic = ? AND rule = ?", this
    ).get
    return found, touched


def recurring(connection: apsw.Connection) -> list[RecurringInfo]:
    """Return what recurs, the next one first."""
    rows = fetch(connection, "SELECT name, topic, rule, due, paused FROM bus_recurring ORDER BY due, name")
    return [
        RecurringInfo(name=name, topic=topic, rule=rule, due=due, paused=bool(paused))
        for name, topic, rule, due, paused in rows
    ]


def pause(connection: apsw.Connection, name: str, *, paused: bool) -> bool:
    """Hold back what would be published, or no longer; say whether there is such a name."""
    connection.execute("UPDATE bus_recurring SET paused = ? WHERE name = ?", (paused, name))
    return connection.changes() > 0


def remove(connection: apsw.Connection, name: str) -> bool:
    """Forget what recurs by this name; say whether there was something."""
    connection.execute("DELETE FROM bus_recurring WHERE name = ?", (name,))
    return connection.changes() > 0
