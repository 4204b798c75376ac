"""`Sender`: the producer. What is given to it together is confirmed together, by the event loop's own hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from ..._core.errors import Disconnected, Refused, TransportError
from .doorstep import in_parts
from .driver import load
from .limits import ASK_S, CONFIRMATIONS_S, LINGER_MESSAGES_MIN, LINGER_MS
from .options import Options
from .records import Header

#: What the driver calls a queue that is full (`KafkaError._QUEUE_FULL`).
_QUEUE_FULL = -184


class Entry(msgspec.Struct, gc=False):
    """A record to be written. `partition` -1: by its key, as Kafka's own clients place it."""

    topic: str
    partition: int
    key: str | bytes | None
    value: bytes | None
    headers: dict[str, str] | list[Header] | None = None
    milliseconds: int = 0


class Outcome:
    """What became of a batch: an error for each record that has one, by its place, and the offset of the last.

    Attributes:
        left: Of how many records nothing is known yet.
        done: Called when that is none.
        errors: The driver's.
        last: The offset of the record that was heard of last; -1 if it has an error.
    """

    __slots__ = ("done", "errors", "last", "left")

    def __init__(self, count: int, done: Callable[[Outcome], None]) -> None:
        self.errors: dict[int, Any] = {}
        self.last = -1
        self.left = count
        self.done = done


class _Reports:
    """Takes the driver's reports on a batch: a callback for each place, made once for all batches to come."""

    __slots__ = ("callbacks", "outcome")

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.callbacks: list[Callable[[Any, Any], None]] = []

    def begin(self, outcome: Outcome) -> Sequence[Callable[[Any, Any], None]]:
        """Report to an outcome; return a callback for each record, at least."""
        self.outcome = outcome
        for index in range(len(self.callbacks), outcome.left):
            self.callbacks.append(partial(self.told, index))
        return self.callbacks

    def told(self, index: int, error: Any, record: Any) -> None:
        """The broker has it, or it is known that it has not, or nothing is known."""
        outcome = self.outcome
        assert outcome is not None, "a report for each record, and no more"
        if error is not None:
            outcome.errors[index] = error
        outcome.left -= 1
        if not outcome.left:
            if error is None:
                outcome.last = record.offset()
            outcome.done(outcome)


class Sender:
    """Writes records. For one event loop, on which its callbacks run.

    There are two producers: one that sends at once what it is given, and one that waits for the rest of a batch first,
    from the first large batch on. While something is under way, what follows goes the same way and overtakes nothing.

    Args:
        in_thread: Calls what blocks.
    """

    def __init__(
        self, options: Options, in_thread: Callable[[Callable[[], object]], Awaitable[object]]
    ) -> None:
        self._options = options
        self._in_thread = in_thread
        self._producers: dict[float, Any] = {}  # by how long they wait
        self._retired: list[Any] = []  # those that cannot go on, and still have something to tell
        self._linger_ms = 0.0  # of the producer that is in use
        self._preparing: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._under_way = 0
        self._idle_reports: list[_Reports] = []
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._is_closed = False

    async def open(self, refusal: Callable[[], Refused | None]) -> None:
        """Connect before the first record is there, for which that would take half a second.

        Args:
            refusal: Says why it is in vain, as soon as somebody knows.

        Raises:
            TransportError: Nobody answers, or it is in vain.
        """
        producer = self._producers[0.0] = self._make(0.0)
        await self._in_thread(
            lambda: in_parts(lambda patience_s: producer.list_topics(timeout=patience_s), refusal)
        )

    def _make(self, linger_ms: float) -> Any:
        return load().Producer(
            self._options.producer(linger_ms) | {"error_cb": partial(self._complained, linger_ms)}
        )

    def _producer_for(self, count: int) -> Any:
        if not self._under_way:
            self._linger_ms = LINGER_MS if count >= LINGER_MESSAGES_MIN else 0.0
            if self._linger_ms and self._linger_ms not in self._producers:
                self._linger_ms = 0.0
                if self._preparing is None:
                    self._preparing = self._loop.create_task(self._prepare(LINGER_MS))
        producer = self._producers.get(self._linger_ms)
        if producer is None:
            producer = self._producers[self._linger_ms] = self._make(self._linger_ms)
        return producer

    async def _prepare(self, linger_ms: float) -> None:
        """Connect another producer, meanwhile the one that is there does the work."""
        producer = self._make(linger_ms)
        try:
            await self._in_thread(lambda: producer.list_topics(timeout=ASK_S))
        except TransportError:
            await self._in_thread(producer.close)  # the next large batch tries again
        else:
            self._producers[linger_ms] = producer
        finally:
            self._preparing = None

    def write(self, entries: Iterable[Entry], done: Callable[[Outcome], None], *, count: int) -> None:
        """Begin to write so many records, after those before.

        `done` is called once, from the event loop or before this ends: what is not confirmed in time has an error.

        Raises:
            Disconnected: It is closed; nothing is written.
        """
        if self._is_closed:
            raise Disconnected("kafka:// is not open")
        if not count:
            done(Outcome(0, done))
            return
        produce = self._producer_for(count).produce
        reports = self._idle_reports.pop() if self._idle_reports else _Reports()
        outcome = Outcome(count, partial(self._finished, done, reports))
        self._under_way += 1
        for entry, told in zip(entries, reports.begin(outcome), strict=False):
            try:
                produce(
                    entry.topic,
                    entry.value,
                    entry.key,
                    entry.partition,
                    told,
                    None,  # the same under another name
                    entry.milliseconds,
                    entry.headers,
                )
            except (BufferError, load().KafkaException) as error:
                told(error.args[0] if not isinstance(error, BufferError) else _queue_full(), None)
        if outcome.left:
            self._watch()

    async def put(self, entries: Sequence[Entry]) -> Outcome:
        """Write records, and wait until it is known what became of them. Cancelled, they may be written."""
        future: asyncio.Future[Outcome] = self._loop.create_future()

        def done(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        self.write(entries, done, count=len(entries))
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
        if self._preparing is not None:
            await asyncio.wait([self._preparing])
        producers = [*self._retired, *self._producers.values()]
        self._retired.clear()
        self._producers.clear()
        for producer in producers:
            await self._in_thread(producer.close)

    def _finished(self, done: Callable[[Outcome], None], reports: _Reports, outcome: Outcome) -> None:
        self._under_way -= 1
        self._idle_reports.append(reports)
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
            if (producer := self._producers.get(self._linger_ms)) is not None:
                producer.poll(0)
        finally:
            if self._under_way:
                self._watch()

    def _complained(self, linger_ms: float, error: Any) -> None:
        """The producer cannot go on; what is under way is reported by itself, the next record gets a new one."""
        if error.fatal() and linger_ms in self._producers:
            self._retired.append(self._producers.pop(linger_ms))


def _queue_full() -> Any:
    return load().KafkaError(_QUEUE_FULL)
