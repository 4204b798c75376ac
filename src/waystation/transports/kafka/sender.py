"""`Sender`: the producer. What is given to it together is confirmed together, by the event loop's own hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from ..._core.errors import Disconnected
from .driver import load
from .limits import ASK_S, CONFIRMATIONS_S
from .options import Options
from .records import Header

#: What the driver calls a queue that is full (`KafkaError._QUEUE_FULL`).
_QUEUE_FULL = -184


class Entry:
    """A record to be written. `partition` -1: by its key, as Kafka's own clients place it."""

    __slots__ = ("headers", "key", "milliseconds", "partition", "topic", "value")

    def __init__(
        self,
        topic: str,
        partition: int,
        key: str | bytes | None,
        value: bytes | None,
        headers: list[Header] | None = None,
        milliseconds: int = 0,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.key = key
        self.value = value
        self.headers = headers
        self.milliseconds = milliseconds


class Outcome:
    """What became of a batch: an error for each record that has one, by its place, and the offset of the last.

    Attributes:
        left: Of how many records nothing is known yet.
        done: Called when that is none.
        errors: The driver's.
        last: The offset of the record that was confirmed last.
    """

    __slots__ = ("done", "errors", "last", "left")

    def __init__(self, count: int, done: Callable[[Outcome], None]) -> None:
        self.errors: dict[int, Any] = {}
        self.last = -1
        self.left = count
        self.done = done

    def told(self, index: int, error: Any, record: Any) -> None:
        """The broker has it, or it is known that it has not, or nothing is known."""
        if error is not None:
            self.errors[index] = error
        elif record is not None:
            self.last = record.offset()
        self.left -= 1
        if not self.left:
            self.done(self)


class Sender:
    """Writes records. For one event loop, on which its callbacks run.

    Args:
        in_thread: Calls what blocks.
    """

    def __init__(
        self, options: Options, in_thread: Callable[[Callable[[], object]], Awaitable[object]]
    ) -> None:
        self._options = options
        self._in_thread = in_thread
        self._producer: Any = None
        self._retired: list[Any] = []  # those that cannot go on, and still have something to tell
        self._loop = asyncio.get_running_loop()
        self._under_way = 0
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._is_closed = False

    async def open(self) -> None:
        """Connect before the first record is there, for which that would take half a second.

        Raises:
            TransportError: Nobody answers.
        """
        producer = self._producer = self._make()
        await self._in_thread(lambda: producer.list_topics(timeout=ASK_S))

    def _make(self) -> Any:
        return load().Producer(self._options.producer() | {"error_cb": self._complained})

    def write(self, entries: Sequence[Entry], done: Callable[[Outcome], None]) -> None:
        """Begin to write records, after those before. `done` is called once, from the event loop or before this ends.

        It always is: what is not confirmed in time has an error.

        Raises:
            Disconnected: It is closed; nothing is written.
        """
        if self._is_closed:
            raise Disconnected("kafka:// is not open")
        if self._producer is None:
            self._producer = self._make()
        outcome = Outcome(len(entries), done)
        self._under_way += 1
        produce, told = self._producer.produce, outcome.told
        for index, entry in enumerate(entries):
            try:
                produce(
                    entry.topic,
                    entry.value,
                    entry.key,
                    entry.partition,
                    partial(told, index),
                    None,  # the same under another name
                    entry.milliseconds,
                    entry.headers,
                )
            except (BufferError, load().KafkaException) as error:
                told(index, error.args[0] if not isinstance(error, BufferError) else _queue_full(), None)
        self._under_way -= 1
        if outcome.left:
            self._under_way += 1
            outcome.done = partial(self._finished, done)
            self._watch()

    async def put(self, entries: Sequence[Entry]) -> Outcome:
        """Write records, and wait until it is known what became of them. Cancelled, they may be written."""
        future: asyncio.Future[Outcome] = self._loop.create_future()

        def done(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        self.write(entries, done)
        return await future

    async def close(self) -> None:
        """Take no more, and wait until it is known what became of everything. May be called twice."""
        self._is_closed = True
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        producers, self._retired = [*self._retired, self._producer], []
        self._producer = None
        for producer in producers:
            if producer is not None:
                await self._in_thread(producer.close)

    def _finished(self, done: Callable[[Outcome], None], outcome: Outcome) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()
        done(outcome)

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(CONFIRMATIONS_S, self._look)

    def _look(self) -> None:
        self._timer = None
        try:
            for producer in self._retired:
                producer.purge(blocking=False)
                producer.poll(0)
            if self._producer is not None:
                self._producer.poll(0)
        finally:
            if self._under_way:
                self._watch()

    def _complained(self, error: Any) -> None:
        """The producer cannot go on; what is under way is reported by itself, the next record gets a new one."""
        if error.fatal() and self._producer is not None:
            self._retired.append(self._producer)
            self._producer = None


def _queue_full() -> Any:
    return load().KafkaError(_QUEUE_FULL)
