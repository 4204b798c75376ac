"""Messages that wait for their time: a compacted topic, and whoever owns it moves what is due.

One process of all that share it owns the topic, by a group of the gate's own; when it dies, another does. What is due
is written to its topic first, and then deleted here: a crash in between lets it come twice, with one id.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..._broker.attributes import KAFKA, seconds, text
from ..._core.errors import TransportError
from ..._core.inspection import ScheduledInfo
from ..._core.message import Message
from ..._core.ports import Clock
from ..._core.topic import matches
from .broker import Broker
from .marks import Mark
from .names import Spot
from .poller import Given, Poller
from .records import TOPIC_HEADER, Fetched, message_of
from .sender import Entry
from .table import Table

_log = logging.getLogger("waystation.kafka")

_DUE = KAFKA.names["deliver_at"]
_KEY = KAFKA.names["key"]

Send = Callable[[Sequence[Message]], Any]


def row_of(topic: str, message: Message, headers: Mapping[str, str]) -> Entry:
    """Return a message that waits as a record. Its key is the message's id."""
    more = {TOPIC_HEADER: message.topic}
    if message.key is not None:
        more[_KEY] = message.key
    return Entry(topic, 0, message.id, message.body, {**headers, **more})


def message_in(row: Fetched) -> Message:
    """Return the message that waits."""
    headers = {name: text(value) for name, value in row.headers() or () if value is not None}
    return message_of(row, headers.get(TOPIC_HEADER, ""))


def due_of(row: Fetched) -> float:
    """Return when a message is due, in Unix seconds."""
    for name, value in row.headers() or ():
        if name == _DUE and value is not None:
            return seconds(text(value)) or 0.0
    return 0.0


def find(rows: Sequence[Fetched], pattern: str, before: float, limit: int) -> list[ScheduledInfo]:
    """Return what waits, the next one first: of topics that fit, due before a time."""
    fitting = [(due_of(row), row.offset(), row) for row in rows]
    found = []
    for due, _, row in sorted(fitting, key=lambda each: each[:2]):
        message = message_in(row)
        if due < before and matches(pattern, message.topic):
            found.append(ScheduledInfo(message=message, due=due))
            if len(found) >= limit:
                break
    return found


class Mover:
    """This process as one of those that may own the topic.

    Args:
        send: Sends messages; returns outcomes.
        ring_at: Calls `tick` at an instant of the monotonic clock, or earlier.
    """

    def __init__(
        self, broker: Broker, table: Table, *, clock: Clock, send: Send, ring_at: Callable[[float], None]
    ) -> None:
        self._broker = broker
        self._table = table
        self._clock = clock
        self._send = send
        self._ring_at = ring_at
        self._poller: Poller | None = None
        self._waiting: dict[bytes, Fetched] = {}
        self._due: list[
            tuple[float, int, bytes]
        ] = []  # heap of (due, offset, key); stale entries are passed over
        self._is_owner = False
        self._next_offset = 0
        self._end = 0
        self._task: asyncio.Task[None] | None = None

    def join(self) -> None:
        """Be one of those who may own it. May be called again."""
        if self._poller is None and self._table.topic in self._broker.known:
            names = self._broker.names
            config = self._broker.options.member(names.scheduler, self._broker.protocol)
            self._poller = Poller(self, config, [self._table.topic])
            self._poller.start()

    async def close(self) -> None:
        """Let another own it."""
        self._is_owner = False
        if self._task is not None:
            await asyncio.wait([self._task])
        poller, self._poller = self._poller, None
        if poller is not None:
            await poller.stop()

    # --- what the poller says --------------------------------------------------------------------------------

    def start_of(self, spot: Spot) -> int:
        """From the beginning."""
        return 0

    def arrived(self, records: list[Any]) -> None:
        """Take in rows, and what deletes them."""
        for record in records:
            if record.error() is not None:
                continue
            self._next_offset = record.offset() + 1
            key = record.key() or b""
            self._waiting.pop(key, None)
            if record.value() is not None:
                self._waiting[key] = record
                heapq.heappush(self._due, (due_of(record), record.offset(), key))
        self.tick()

    def given(self, partitions: Sequence[Given]) -> None:
        """It is ours; what is in it must be known first."""
        for each in partitions:
            self._waiting, self._due = {}, []
            self._next_offset, self._end = each.mark.floor, -1
            self._is_owner = True
            self._task = asyncio.get_running_loop().create_task(self._learn_end(each.spot))

    async def _learn_end(self, spot: Spot) -> None:
        try:
            self._end = (await self._broker.bounds([spot]))[spot][1]
        except TransportError as error:
            _log.warning("what waits for its time cannot be read yet: %s", error)
            self._end = 0  # it may come twice, rather than not at all
        self._task = None
        self.tick()

    async def surrender(self, spots: Sequence[Spot]) -> None:
        """Finish what is being moved."""
        self._is_owner = False
        if self._task is not None:
            await asyncio.wait([self._task])

    def lost(self, spots: Sequence[Spot]) -> None:
        """It is another's."""
        self._is_owner = False

    def ended(self, error: BaseException | None) -> None:
        """The poller is gone."""
        self._is_owner = False
        if error is not None:
            self._poller = None
            _log.warning("what waits for its time is left to other processes: %s", error)

    # --- moving ----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Move what is due, and be called when the next is."""
        if not self._is_owner or self._task is not None or not 0 <= self._end <= self._next_offset:
            return
        due = self._take_due(self._clock.time())
        if due:
            self._task = asyncio.get_running_loop().create_task(self._move(due))
        elif self._due:
            self._ring_at(self._clock.monotonic() + self._due[0][0] - self._clock.time())

    def _take_due(self, now: float) -> dict[bytes, Fetched]:
        found: dict[bytes, Fetched] = {}
        while self._due and (self._due[0][0] <= now or self._is_stale(self._due[0])) and len(found) < 1000:
            entry = heapq.heappop(self._due)
            if not self._is_stale(entry):
                found[entry[2]] = self._waiting.pop(entry[2])
        return found

    def _is_stale(self, entry: tuple[float, int, bytes]) -> bool:
        row = self._waiting.get(entry[2])
        return row is None or row.offset() != entry[1]

    async def _move(self, rows: Mapping[bytes, Fetched]) -> None:
        try:
            outcomes = await self._send([message_in(row) for row in rows.values()])
            moved = [
                key for key, outcome in zip(rows, outcomes, strict=True) if not isinstance(outcome, Exception)
            ]
            if moved:
                await self._table.put(dict.fromkeys(moved))
            left = {key: row for key, row in rows.items() if key not in moved}
        except TransportError as error:
            _log.warning("what is due cannot be moved yet: %s", error)
            left = dict(rows)
        for key, row in left.items():
            self._waiting.setdefault(key, row)
            heapq.heappush(self._due, (due_of(row), row.offset(), key))
        if left:
            await asyncio.sleep(1.0)  # the broker's pace
        self._task = None
        self._put_down()
        self.tick()

    def _put_down(self) -> None:
        """Let whoever comes next begin where something waits."""
        if self._poller is None or not self._is_owner:
            return
        floor = min((row.offset() for row in self._waiting.values()), default=self._next_offset)
        # Nothing depends on the answer: whoever comes next reads a little more.
        self._poller.commit({(self._table.topic, 0): Mark(floor=floor)}, lambda _: None)

    @property
    def next_due(self) -> float:
        """When the next one is due, in Unix seconds; infinity if none is known."""
        return self._due[0][0] if self._due and self._is_owner else math.inf
