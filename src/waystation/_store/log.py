"""The append-only log: batches in, ranges out.

A message's *partition* is `crc32(key) mod 16`, among the sixteen of its priority: those from 16 x priority on. A run of
messages without a key goes to one partition, the next run to the next. Inside a partition messages have dense *places*
0, 1, 2 ..., which cursors count in; over a whole topic they have *offsets*, which people use. Every function here runs
inside a transaction that its caller opened.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import apsw

from .._core.limits import (
    DEDUPE_WINDOW_S,
    KEYLESS_RUN_MESSAGES_MAX,
    PARTITIONS_COUNT,
    REPLY_GRACE_S,
    REQUEST_TIMEOUT_S,
    ROW_BODY_BYTES_MAX,
)
from .._core.message import Message
from .._core.run import MessageRun
from .._core.topic import REPLY_WORD, matches
from .dedupe import mark
from .references import note, note_scheduled
from .rows import fetch
from .segment import decode_segment, encode_segment, pack, unpack
from .ticket import Ticket

logger = logging.getLogger("waystation.store")

#: Among the topics that a commit touched: replies or schedules, and perhaps a topic that nobody knew.
OTHERS: Final = 0
NEW_TOPIC: Final = -1

#: Bytes of a segment up to which a bell says where it is: so much is read while the write lock is held.
FRESH_BYTES_MAX: Final = 16 * 1024

_REPLY_PREFIX = REPLY_WORD + "."

#: When a scheduled message is due that nobody can read: at the end of the year 9999, the last that calendars show.
_NEVER: Final = 253_402_300_799.0

_ADVANCE_PARTITION = """
    INSERT INTO bus_partition (topic, number, ends) VALUES (?1, ?2, ?3)
    ON CONFLICT (topic, number) DO UPDATE SET ends = ends + ?3 RETURNING ends"""
_ADVANCE_TOPIC = "UPDATE bus_topic SET next_offset = next_offset + ?2 WHERE id = ?1 RETURNING next_offset"
_ADD_SEGMENT = """
    INSERT INTO bus_segment (topic, partition, first, count, "offset", time, checksum, messages)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_SEGMENTS = """
    SELECT id, first, count, "offset", checksum, messages FROM bus_segment
    WHERE topic = ?1 AND partition = ?2 AND first < ?4 AND first >= coalesce(
        (SELECT max(first) FROM bus_segment WHERE topic = ?1 AND partition = ?2 AND first <= ?3), 0)
    ORDER BY first"""


def is_reply_address(topic: str) -> bool:
    """Say whether a topic is an address that some process made for its replies."""
    return topic.startswith(_REPLY_PREFIX)


def partition_of(key: str) -> int:
    """Return the partition of a key, counted within its priority.

    The same in every process and version, so that order survives an upgrade.
    """
    return zlib.crc32(key.encode()) % PARTITIONS_COUNT


def priority_of(partition: int) -> int:
    """Return the priority of the messages in a partition."""
    return partition // PARTITIONS_COUNT


#: A segment to be: its topic, priority, partition within that (None: any), the number of its messages, and their bytes.
_Segment = tuple[str, int, int | None, int, bytes]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch worked out before the write lock is taken: what is left to do is to write it.

    Attributes:
        to_mark: The whole batch, if something in it has a `dedupe_key`.
        ticketed: Whether some bodies are tickets.
    """

    segments: list[_Segment]
    scheduled: list[Message]
    replies: list[Message]
    to_mark: Sequence[Message] = ()
    ticketed: bool = False

    @property
    def is_large(self) -> bool:
        """Whether a body may be too large for a row."""
        return any(len(segment[-1]) > ROW_BODY_BYTES_MAX for segment in self.segments) or any(
            len(message.body) > ROW_BODY_BYTES_MAX for message in self.scheduled
        )


class Fresh(NamedTuple):
    """Where a segment is that has just been written. A hint: it may be settled, or gone, when somebody looks."""

    topic: int
    partition: int
    segment_id: int


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch.

    Attributes:
        touched: The topics that have something new, with `OTHERS` and `NEW_TOPIC` among them.
        firsts: By its place in the batch, for each message that was not stored because its `dedupe_key` was known: the
            id of the message that has it.
        fresh: Where the new segment is, if one small one is all that is new.
    """

    touched: set[int] = field(default_factory=set)
    firsts: dict[int, str] = field(default_factory=dict)
    fresh: Fresh | None = None


def prepare(messages: Sequence[Message], now: float, *, ticketed: bool = False) -> Prepared:
    """Sort a batch into segments and encode them.

    Messages with a `deliver_at` in the future will wait for it; replies go to their address. The rest becomes one
    segment per topic and partition, in the order given; stretches without a key are cut.

    Args:
        ticketed: Whether some bodies are tickets (`Bodies`).
    """
    if isinstance(messages, MessageRun) and _is_plain(messages.shared, now):
        return Prepared(_run_segments(messages), [], [])
    keyed: dict[tuple[str, int, int], list[Message]] = {}
    keyless: dict[tuple[str, int], list[Message]] = {}
    scheduled: list[Message] = []
    to_mark: Sequence[Message] = ()
    for message in messages:
        if message.dedupe_key is not None:
            to_mark = messages
        if message.deliver_at is not None and message.deliver_at > now:
            scheduled.append(message)
        elif message.key is not None:
            place = (message.topic, message.priority, partition_of(message.key))
            keyed.setdefault(place, []).append(message)
        else:
            keyless.setdefault((message.topic, message.priority), []).append(message)
    segments = [_segment(*place, found) for place, found in keyed.items()]
    replies: list[Message] = []
    for (topic, priority), found in keyless.items():
        if is_reply_address(topic):
            replies += found
        else:
            segments += [_segment(topic, priority, None, part) for part in _parts(found)]
    return Prepared(segments, scheduled, replies, to_mark, ticketed)


def _is_plain(shared: Message, now: float) -> bool:
    """Say whether all of a run goes to the log at once."""
    return (shared.deliver_at is None or shared.deliver_at <= now) and not is_reply_address(shared.topic)


def _run_segments(run: MessageRun) -> list[_Segment]:
    topic, priority = run.shared.topic, run.shared.priority
    if run.keys is None:
        return [_segment(topic, priority, None, part) for part in _parts(run)]
    keyless: list[int] = []
    keyed: dict[int, list[int]] = {}
    for index, key in enumerate(run.keys):
        (keyless if key is None else keyed.setdefault(partition_of(key), [])).append(index)
    found = [_segment(topic, priority, number, run.pick(indexes)) for number, indexes in keyed.items()]
    return found + [_segment(topic, priority, None, part) for part in _parts(run.pick(keyless))]


def _segment(topic: str, priority: int, partition: int | None, messages: Sequence[Message]) -> _Segment:
    return topic, priority, partition, len(messages), encode_segment(messages)


def _parts(messages: Sequence[Message]) -> Iterable[Sequence[Message]]:
    """Cut messages without a key, so that several receivers find something to do."""
    size = KEYLESS_RUN_MESSAGES_MAX
    return (messages[i : i + size] for i in range(0, len(messages), size))


class Log:
    """Appends to, and reads from, the log of one file. One per connection: it remembers the ids of topics.

    After a rollback call `forget`, since topics that it remembers may never have been stored.
    """

    def __init__(self, connection: apsw.Connection, *, dedupe_window_s: float = DEDUPE_WINDOW_S) -> None:
        self._connection = connection
        self._dedupe_window_s = dedupe_window_s
        self._topic_ids: dict[str, int] = {}
        self._turn = itertools.count(secrets.randbelow(PARTITIONS_COUNT))

    def forget(self) -> None:
        """Forget the ids of topics."""
        self._topic_ids.clear()

    def append(self, messages: Sequence[Message], now: float) -> Written:
        """Prepare and write a batch in one go."""
        return self.write(prepare(messages, now), now)

    def write(self, prepared: Prepared, now: float) -> Written:
        """Write a batch, less the messages whose `dedupe_key` is known."""
        if not prepared.to_mark:
            return self._store(prepared, now)
        written = self._mark(prepared.to_mark, now)
        if written.firsts:  # rare: only then is something encoded under the lock
            left = [m for index, m in enumerate(prepared.to_mark) if index not in written.firsts]
            prepared = prepare(left, now, ticketed=prepared.ticketed)
        stored = self._store(prepared, now)
        fresh = None if written.touched else stored.fresh
        return Written(written.touched | stored.touched, written.firsts, fresh)

    def _store(self, prepared: Prepared, now: float) -> Written:
        touched: set[int] = set()
        fresh: Fresh | None = None
        if prepared.scheduled or prepared.replies:
            touched.add(OTHERS)
            for message in prepared.scheduled:
                self._schedule(message)
            self._add_replies(prepared.replies, now)
        for topic, priority, partition, count, data in prepared.segments:
            if topic not in self._topic_ids:
                touched.add(NEW_TOPIC)
            topic_id = self.topic_id(topic)
            touched.add(topic_id)
            within = next(self._turn) % PARTITIONS_COUNT if partition is None else partition
            number = priority * PARTITIONS_COUNT + within
            first = self._add_segment(topic_id, number, count, data, now)
            if len(touched) == len(prepared.segments) == 1 and len(data) <= FRESH_BYTES_MAX:
                fresh = Fresh(topic_id, number, self._connection.last_insert_rowid())
            if prepared.ticketed:
                messages = decode_segment(0, first, count, zlib.crc32(data), data)
                note(self._connection, topic_id, number, first, messages)
        return Written(touched, fresh=fresh)

    def topic_id(self, name: str) -> int:
        """Return a topic's id; a topic that is not there is made, and joined by the groups whose pattern it fits."""
        found = self._topic_ids.get(name)
        if found is None:
            found = self._topic_ids[name] = self._find_topic(name) or self._make_topic(name)
        return found

    def segments(self, topic: int, partition: int, lo: int, hi: int) -> list[tuple[int, Sequence[Message]]]:
        """Return the segments that have something of places [lo, hi), whole, each with the place that it begins at.

        Raises:
            DamagedSegment: A checksum does not fit.
        """
        return [
            (first, decode_segment(segment_id, first, count, checksum, data))
            for segment_id, first, count, _, checksum, data in fetch(
                self._connection, _SEGMENTS, (topic, partition, lo, hi)
            )
            if first + count > lo
        ]

    def read(self, topic: int, partition: int, lo: int, hi: int) -> list[Message]:
        """Return the messages at places [lo, hi) that are still kept, in order.

        Raises:
            DamagedSegment: A checksum does not fit.
        """
        found: list[Message] = []
        for first, messages in self.segments(topic, partition, lo, hi):
            found.extend(messages[max(0, lo - first) : hi - first])
        return found

    def first_kept(self, topic: int, partition: int, place: int, ends: int) -> int:
        """Return the first place at or after `place` that is still kept, or `ends`."""
        kept: int | None = self._connection.execute(
            "SELECT min(first) FROM bus_segment WHERE topic = ? AND partition = ? AND first >= ?",
            (topic, partition, place),
        ).get
        return ends if kept is None else kept

    def promote_due(self, now: float, limit: int) -> set[int]:
        """Move scheduled messages whose time has come into the log; return the topics."""
        rows = fetch(
            self._connection,
            "SELECT id, message FROM bus_scheduled WHERE due <= ? ORDER BY due LIMIT ?",
            (now, limit),
        )
        if not rows:
            return set()
        due: list[Message] = []
        for row_id, data in rows:
            message, damage = unpack(data)
            if damage is None:
                due.append(message)
                self._connection.execute("DELETE FROM bus_scheduled WHERE id = ?", (row_id,))
            else:
                logger.error("scheduled message %d was put aside: %s", row_id, damage)
                self._connection.execute("UPDATE bus_scheduled SET due = ? WHERE id = ?", (_NEVER, row_id))
        ticketed = any(isinstance(message.body, Ticket) for message in due)
        # Their keys were marked when they were scheduled.
        return self._store(prepare(due, now, ticketed=ticketed), now).touched

    def _add_segment(self, topic: int, partition: int, count: int, data: bytes, now: float) -> int:
        """Write a segment and return the place of its first message."""
        run = self._connection.execute
        ends: int = run(_ADVANCE_PARTITION, (topic, partition, count)).get
        offset = run(_ADVANCE_TOPIC, (topic, count)).get
        run(
            _ADD_SEGMENT, (topic, partition, ends - count, count, offset - count, now, zlib.crc32(data), data)
        )
        return ends - count

    def _mark(self, messages: Sequence[Message], now: float) -> Written:
        """Mark the keys of a batch; say which messages are duplicates, perhaps of others in the batch."""
        written = Written()
        for index, message in enumerate(messages):
            if message.dedupe_key is None or is_reply_address(message.topic):
                continue
            if message.topic not in self._topic_ids:
                written.touched.add(NEW_TOPIC)
            topic = self.topic_id(message.topic)
            first = mark(self._connection, topic, message, now=now, window_s=self._dedupe_window_s)
            if first is not None:
                written.firsts[index] = first
        return written

    def _schedule(self, message: Message) -> None:
        self._connection.execute(
            "INSERT INTO bus_scheduled (message_id, topic, due, message) VALUES (?, ?, ?, ?)",
            (message.id, message.topic, message.deliver_at, pack(message)),
        )
        note_scheduled(self._connection, message)

    def _add_replies(self, replies: list[Message], now: float) -> None:
        self._connection.executemany(
            "INSERT INTO bus_reply (address, expires, message) VALUES (?, ?, ?)",
            [(m.topic, (m.expires_at or now + REQUEST_TIMEOUT_S) + REPLY_GRACE_S, pack(m)) for m in replies],
        )

    def _find_topic(self, name: str) -> int | None:
        found: int | None = self._connection.execute("SELECT id FROM bus_topic WHERE name = ?", (name,)).get
        return found

    def _make_topic(self, name: str) -> int:
        run = self._connection.execute
        run("INSERT INTO bus_topic (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
        made = self._find_topic(name)
        assert made is not None, "the row was written by the statement before"
        for group_id, pattern in fetch(self._connection, "SELECT group_id, pattern FROM bus_subscription"):
            if matches(pattern, name):
                run(
                    "INSERT INTO bus_membership (group_id, topic) VALUES (?, ?) ON CONFLICT DO NOTHING",
                    (group_id, made),
                )
        return made
