"""What a move has found, and what of it is there already: a file that outlives the process that writes it.

Everything that a step needs is committed here before the step begins, and that it is done, after it has ended. So
whoever goes on after a crash repeats one step at most; and each step can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import apsw
import msgspec

from .._core.errors import ConfigurationError
from .._core.message import Message

Verdict: TypeAlias = Literal["owed", "later", "dead"]
"""What a message is to a group: still to be handled, not before some time, or given up."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS topic (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reader (             -- a group on a topic
    name     TEXT NOT NULL,
    topic    TEXT NOT NULL,
    declared INTEGER NOT NULL DEFAULT 0,        -- there is such a group at the target
    PRIMARY KEY (topic, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS message (
    number  INTEGER PRIMARY KEY,
    topic   TEXT NOT NULL,
    id      TEXT NOT NULL,
    class   INTEGER NOT NULL,                   -- sent by class, rank and tie: see Rank
    rank    INTEGER NOT NULL,
    tie     TEXT NOT NULL,
    due     REAL,                               -- scheduled: sent after all others
    sent    INTEGER NOT NULL DEFAULT 0,
    message BLOB NOT NULL,
    UNIQUE (topic, id)
) STRICT;
CREATE INDEX IF NOT EXISTS message_unsent ON message (topic, class, rank, tie) WHERE NOT sent;
CREATE TABLE IF NOT EXISTS verdict (
    number INTEGER NOT NULL,                    -- of the message
    name   TEXT NOT NULL,                       -- of the group
    what   TEXT NOT NULL,
    due    REAL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (number, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS exception (          -- a group gets this message, and must not handle it now
    topic  TEXT NOT NULL,
    name   TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (topic, name, number)
) STRICT, WITHOUT ROWID;
"""

_decode = msgspec.msgpack.Decoder(Message).decode
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Rank:
    """Where in its topic a message is sent. What no group owes, dead letters alone, goes first.

    Attributes:
        group: 0: before everything else; 1: in order.
        rank: Its position at the source, or its time in microseconds.
        tie: Tells apart what has the same rank.
    """

    group: int
    rank: int
    tie: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message in the journal."""

    number: int
    message: Message
    due: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What a message is to a group that does not simply owe it; `what` is None where it has nothing to do with it."""

    what: Verdict | None
    due: float | None
    reason: str
    detail: str


class Journal:
    """A move's file. One process has it at a time.

    Args:
        path: Made if it is not there.

    Raises:
        ConfigurationError: Another process has it, or it is no journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = apsw.Connection(str(path))
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(_SCHEMA)
            self._connection.execute("COMMIT")
        except apsw.BusyError as error:
            raise ConfigurationError(f"another process moves with {path}: wait for it, or stop it") from error
        except apsw.Error as error:
            raise ConfigurationError(f"{path} is not the journal of a move: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Write all or nothing of what is put down inside, to the disk."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    # --- facts -----------------------------------------------------------------------------------------------

    def fact(self, name: str) -> str | None:
        """Return what was put down under a name."""
        found: str | None = self._connection.execute("SELECT value FROM fact WHERE name = ?", (name,)).get
        return found

    def put(self, name: str, value: str) -> None:
        """Put something down under a name."""
        self._connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    # --- what was found --------------------------------------------------------------------------------------

    def add_topic(self, name: str, groups: Iterable[str]) -> None:
        """Put down a topic and who reads it."""
        self._connection.execute("INSERT OR IGNORE INTO topic VALUES (?)", (name,))
        self._connection.executemany(
            "INSERT OR IGNORE INTO reader (name, topic) VALUES (?, ?)", [(group, name) for group in groups]
        )

    def add(self, message: Message, rank: Rank, *, due: float | None = None) -> int:
        """Put down a message; return its number. One that is there stays as it is, but for a better rank."""
        row = (message.topic, message.id, rank.group, rank.rank, rank.tie, due, _encode(message))
        number: int = (
            self._connection.execute(
                """INSERT INTO message (topic, id, class, rank, tie, due, message) VALUES (?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT DO UPDATE SET class = excluded.class, rank = excluded.rank, tie = excluded.tie
                   WHERE class < excluded.class
               RETURNING number""",
                row,
            ).get
            or self._connection.execute(
                "SELECT number FROM message WHERE topic = ? AND id = ?", (message.topic, message.id)
            ).get
        )
        return number

    def judge(
        self,
        number: int,
        group: str,
        what: Verdict,
        *,
        due: float | None = None,
        reason: str = "",
        detail: str = "",
    ) -> None:
        """Put down what a message is to a group; what was put down first counts."""
        self._connection.execute(
            "INSERT OR IGNORE INTO verdict VALUES (?, ?, ?, ?, ?, ?)",
            (number, group, what, due, reason, detail),
        )

    # --- what is to be done ----------------------------------------------------------------------------------

    def topics(self) -> list[str]:
        """Return the topics, by name."""
        return [row[0] for row in self._connection.execute("SELECT name FROM topic ORDER BY name")]

    def readers(self, topic: str, *, declared: bool | None = None) -> list[str]:
        """Return the groups of a topic, by name; only those that are, or are not, at the target yet."""
        rows = self._connection.execute(
            "SELECT name FROM reader WHERE topic = ?1 AND (?2 IS NULL OR declared = ?2) ORDER BY name",
            (topic, declared),
        )
        return [row[0] for row in rows]

    def declared(self, topic: str, groups: Iterable[str]) -> None:
        """Put down that groups are at the target."""
        self._connection.executemany(
            "UPDATE reader SET declared = 1 WHERE topic = ? AND name = ?", [(topic, name) for name in groups]
        )

    def unsent(self, topic: str, *, limit: int, bytes_max: int) -> list[Kept]:
        """Return what is to be sent next, in order; not what is scheduled."""
        found: list[Kept] = []
        room = bytes_max
        for number, data in self._connection.execute(
            """SELECT number, message FROM message WHERE topic = ? AND NOT sent AND due IS NULL
               ORDER BY class, rank, tie LIMIT ?""",
            (topic, limit),
        ):
            found.append(Kept(number, _decode(data)))
            room -= len(data)
            if room <= 0:
                break
        return found

    def unsent_scheduled(self, *, limit: int) -> list[Kept]:
        """Return what is scheduled and not at the target yet, the next one first."""
        rows = self._connection.execute(
            "SELECT number, message, due FROM message WHERE NOT sent AND due IS NOT NULL ORDER BY due, number LIMIT ?",
            (limit,),
        )
        return [Kept(number, _decode(data), due) for number, data, due in rows]

    def wanted_by(self, number: int) -> set[str]:
        """Return the groups to which a message is something."""
        rows = self._connection.execute("SELECT name FROM verdict WHERE number = ?", (number,))
        return {row[0] for row in rows}

    def owed(self, number: int, groups: Iterable[str]) -> set[str]:
        """Return those of these groups that simply owe a message."""
        rows = self._connection.execute(
            "SELECT name FROM verdict WHERE number = ? AND what = 'owed'", (number,)
        )
        return {row[0] for row in rows} & {*groups}

    def sent(self, kept: Sequence[Kept], exceptions: Iterable[tuple[str, str, int]]) -> None:
        """Put down that messages are at the target; and which groups (topic, group, number) must not handle them."""
        self._connection.executemany(
            "UPDATE message SET sent = 1 WHERE number = ?", [(each.number,) for each in kept]
        )
        self._connection.executemany("INSERT OR IGNORE INTO exception VALUES (?, ?, ?)", exceptions)

    def exceptions(self, topic: str, group: str) -> dict[str, Judged]:
        """Return what a group has got and must not handle, by the messages' ids."""
        rows = self._connection.execute(
            """SELECT m.id, v.what, v.due, coalesce(v.reason, ''), coalesce(v.detail, '') FROM exception e
               JOIN message m ON m.number = e.number LEFT JOIN verdict v ON v.number = e.number AND v.name = e.name
               WHERE e.topic = ? AND e.name = ?""",
            (topic, group),
        )
        return {message_id: Judged(*judged) for message_id, *judged in rows}

    def forget_exceptions(self, topic: str, group: str) -> None:
        """Put down that a group has settled what it must not handle."""
        self._connection.execute("DELETE FROM exception WHERE topic = ? AND name = ?", (topic, group))

    def expected(self, topic: str, group: str) -> tuple[int, int]:
        """Return how many messages of a topic a group owes, now or later, and how many are its dead letters."""
        (row,) = self._connection.execute(
            """SELECT coalesce(sum(v.what <> 'dead'), 0), coalesce(sum(v.what = 'dead'), 0) FROM verdict v
               JOIN message m ON m.number = v.number WHERE m.topic = ? AND v.name = ? AND m.due IS NULL""",
            (topic, group),
        )
        return row[0], row[1]

    # --- sums ------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Return how much of each kind there is, and how many messages are at the target."""
        (row,) = self._connection.execute(
            """SELECT (SELECT count(*) FROM topic), (SELECT count(DISTINCT name) FROM reader),
                      (SELECT count(*) FROM message WHERE due IS NULL),
                      (SELECT count(*) FROM message WHERE due IS NOT NULL),
                      (SELECT count(*) FROM message WHERE sent), (SELECT count(*) FROM verdict WHERE what = 'owed'),
                      (SELECT count(*) FROM verdict WHERE what = 'later'),
                      (SELECT count(*) FROM verdict WHERE what = 'dead'), (SELECT count(*) FROM exception)"""
        )
        names = ("topics", "groups", "messages", "scheduled", "sent", "owed", "later", "dead", "exceptions")
        return dict(zip(names, row, strict=True))

    def scheduled_ids(self) -> list[str]:
        """Return the ids of what is scheduled."""
        return [row[0] for row in self._connection.execute("SELECT id FROM message WHERE due IS NOT NULL")]
