"""The append-only log: batches in, ranges out.

A message's *partition* is `crc32(key) mod 16`; a run of messages without a key goes to one partition, the next run to
the next. Inside a partition messages have dense *places* 0, 1, 2 ..., which cursors count in; over a whole topic they
have *offsets*, which people use. Every function here runs inside a transaction that its caller opened.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import apsw
import msgspec

from .._core.limits import KEYLESS_RUN_MESSAGES_MAX, PARTITIONS_COUNT, REPLY_GRACE_S, REQUEST_TIMEOUT_S
from .._core.message import BYTES, Message
from .._core.topic import REPLY_WORD, matches
from .rows import fetch

logger = logging.getLogger("waystation.store")

_encode = msgspec.msgpack.Encoder().encode
_decode_many = msgspec.msgpack.Decoder(list[Message]).decode
_decode_one = msgspec.msgpack.Decoder(Message).decode

#: Among the topics that a commit touched: replies or schedules, and perhaps a topic that nobody knew.
OTHERS: Final = 0
NEW_TOPIC: Final = -1

_REPLY_PREFIX = REPLY_WORD + "."

#: Bytes of the checksum before a message that has a row of its own.
_CHECKSUM_BYTES: Final = 4

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
    """Return the partition of a key; the same in every process and version, so that order survives an upgrade."""
    return zlib.crc32(key.encode()) % PARTITIONS_COUNT


def pack(message: Message) -> bytes:
    """Return one message as bytes, for a row of its own: a checksum, then the message."""
    data = _encode(message)
    return zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "big") + data


def unpack(data: bytes) -> tuple[Message, str | None]:
    """Read what `pack` wrote: the message, or what is left of it and what is wrong."""
    packed = data[_CHECKSUM_BYTES:]
    if zlib.crc32(packed) == int.from_bytes(data[:_CHECKSUM_BYTES], "big"):
        return _decode_one(packed), None
    remains = Message("damaged", "damaged", data, content_type=BYTES)
    return remains, "its bytes do not match their checksum"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch worked out before the write lock is taken: what is left to do is to write it."""

    segments: list[tuple[str, int | None, int, bytes]]  # topic, partition (None: any), count, messages
    scheduled: list[Message]
    replies: list[Message]


def prepare(messages: Sequence[Message], now: float) -> Prepared:
    """Sort a batch into segments and encode them.

    Messages with a `deliver_at` in the future will wait for it; replies go to their address. The rest becomes one
    segment per topic and partition, in the order given; runs without a key are cut.
    """
    keyed: dict[tuple[str, int], list[Message]] = {}
    keyless: dict[str, list[Message]] = {}
    scheduled: list[Message] = []
    for message in messages:
        if message.deliver_at is not None and message.deliver_at > now:
            scheduled.append(message)
        elif message.key is not None:
            keyed.setdefault((message.topic, partition_of(message.key)), []).append(message)
        else:
            keyless.setdefault(message.topic, []).append(message)
    replies = [reply for topic in keyless if is_reply_address(topic) for reply in keyless[topic]]
    segments: list[tuple[str, int | None, int, bytes]] = [
        (topic, partition, len(run), _encode(run)) for (topic, partition), run in keyed.items()
    ]
    for topic, run in keyless.items():
        if not is_reply_address(topic):
            segments += [
                (topic, None, len(part), _encode(part)) for part in _chunks(run, KEYLESS_RUN_MESSAGES_MAX)
            ]
    return Prepared(segments, scheduled, replies)


class DamagedSegment(Exception):
    """A segment whose checksum does not fit its bytes."""

    def __init__(self, segment_id: int, first: int, count: int, data: bytes) -> None:
        super().__init__(f"segment {segment_id} does not match its checksum")
        self.segment_id, self.first, self.count, self.data = segment_id, first, count, data


class Log:
    """Appends to, and reads from, the log of one file. One per connection: it remembers the ids of topics.

    After a rollback call `forget`, since topics that it remembers may never have been stored.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._topic_ids: dict[str, int] = {}
        self._turn = itertools.count(secrets.randbelow(PARTITIONS_COUNT))

    def forget(self) -> None:
        """Forget the ids of topics."""
        self._topic_ids.clear()

    def append(self, messages: Sequence[Message], now: float) -> set[int]:
        """Prepare and write a batch in one go."""
        return self.write(prepare(messages, now), now)

    def write(self, prepared: Prepared, now: float) -> set[int]:
        """Write a batch; return the topics that have something new, with `OTHERS` and `NEW_TOPIC` among them."""
        touched: set[int] = set()
        if prepared.scheduled or prepared.replies:
            touched.add(OTHERS)
            for message in prepared.scheduled:
                self._schedule(message)
            self._add_replies(prepared.replies, now)
        for topic, partition, count, data in prepared.segments:
            if topic not in self._topic_ids:
                touched.add(NEW_TOPIC)
            topic_id = self.topic_id(topic)
            touched.add(topic_id)
            number = next(self._turn) % PARTITIONS_COUNT if partition is None else partition
            self._add_segment(topic_id, number, count, data, now)
        return touched

    def topic_id(self, name: str) -> int:
        """Return a topic's id; a topic that is not there is made, and joined by the groups whose pattern it fits."""
        found = self._topic_ids.get(name)
        if found is None:
            found = self._topic_ids[name] = self._find_topic(name) or self._make_topic(name)
        return found

    def read(self, topic: int, partition: int, lo: int, hi: int) -> list[Message]:
        """Return the messages at places [lo, hi) that are still kept, in order.

        Raises:
            DamagedSegment: A checksum does not fit.
        """
        found: list[Message] = []
        for segment_id, first, count, _, checksum, data in fetch(
            self._connection, _SEGMENTS, (topic, partition, lo, hi)
        ):
            if first + count <= lo:
                continue
            messages = decode_segment(segment_id, first, count, checksum, data)
            found.extend(
                messages if lo <= first and first + count <= hi else messages[max(0, lo - first) : hi - first]
            )
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
        return self.append(due, now)

    def _add_segment(self, topic: int, partition: int, count: int, data: bytes, now: float) -> None:
        run = self._connection.execute
        ends = run(_ADVANCE_PARTITION, (topic, partition, count)).get
        offset = run(_ADVANCE_TOPIC, (topic, count)).get
        run(
            _ADD_SEGMENT, (topic, partition, ends - count, count, offset - count, now, zlib.crc32(data), data)
        )

    def _schedule(self, message: Message) -> None:
        self._connection.execute(
            "INSERT INTO bus_scheduled (message_id, due, message) VALUES (?, ?, ?)",
            (message.id, message.deliver_at, pack(message)),
        )

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


def decode_segment(segment_id: int, first: int, count: int, checksum: int, data: bytes) -> list[Message]:
    """Return a segment's messages.

    Raises:
        DamagedSegment: The checksum does not fit, so that no wrong body is ever delivered.
    """
    if zlib.crc32(data) != checksum:
        raise DamagedSegment(segment_id, first, count, data)
    return _decode_many(data)


def _chunks(run: list[Message], size: int) -> Iterable[list[Message]]:
    return (run[i : i + size] for i in range(0, len(run), size)) if len(run) > size else (run,)
