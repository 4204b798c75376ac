"""Messages on their way: each to the joiner of its transport."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context
from typing import Any, TypeVar

from .._core.delivery import Durability, Receipt
from .._core.duration import Duration, Instant
from .._core.errors import MessageError, WaystationError
from .._core.limits import (
    BATCH_BYTES_MAX,
    BATCH_MESSAGES_MAX,
    KNOWN_TOPICS_COUNT_MAX,
    SEND_RUNS_COUNT_MAX,
    SEND_TURN_MESSAGES_MAX,
)
from .._core.message import Message
from .._core.ports import Clock, Subscription, Topology, Transport
from .._core.topic import Topic, check_name
from .composer import Composer
from .joiner import Joiner
from .parts import Outcome
from .resolve import Routes

T = TypeVar("T")

_log = logging.getLogger("waystation.publisher")


class Publisher(Composer):
    """Makes messages and sends them. One per connected bus, made on its event loop.

    Args:
        transports: Open, in the order of `routes.urls`.
        source: What its messages say they come from.
    """

    def __init__(self, routes: Routes, transports: Sequence[Transport], *, source: str, clock: Clock) -> None:
        super().__init__(lambda topic: self.transport_of(topic).capabilities, source=source, clock=clock)
        self._routes = routes
        self._transports = list(transports)
        self._joiners = [Joiner(transport) for transport in transports]
        # Both bounded by beginning anew: each entry can be worked out again.
        self._joiner_of: dict[str, Joiner] = {}
        self._declared: set[str] = set()
        self._sent_in_turn = 0
        self._declaring = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, message: Message, *, via: Transport | None = None) -> Receipt:
        """Send one message, joined with what is sent at the same time.

        Args:
            via: The transport, when it is not the one that the topic's name leads to: a reply goes back the way its
                request came.

        Raises:
            TransportError: The message was rejected, or what became of it is unknown. Cancelling leaves it unknown.
        """
        joiner = self.joiner(message.topic, via)
        if joiner.full:
            await joiner.room()
        if joiner.at_once:
            self._sent_in_turn += 1
            if self._sent_in_turn >= SEND_TURN_MESSAGES_MAX:
                self._sent_in_turn = 0
                await asyncio.sleep(0)  # nothing else here waits, and receivers must get a turn
        outcome = await joiner.put(message)
        if isinstance(outcome, Receipt):
            return outcome
        raise outcome.with_traceback(None)  # one error may be raised to each publisher of a batch

    def queue(self, message: Message, *, via: Transport) -> asyncio.Future[Outcome]:
        """Send one message without waiting for room; the future gets its outcome. For what is bounded elsewhere.

        Raises:
            Disconnected: The bus was closed.
        """
        return self.joiner(message.topic, via).put(message)

    async def send_all(self, messages: Sequence[Message], *, via: Transport | None = None) -> list[Outcome]:
        """Send messages in order, after those that already wait.

        Returns:
            What became of each: a receipt, or an error that was not raised. Cancelling leaves it unknown.
        """
        outcomes: list[Outcome | None] = [None] * len(messages)
        waiting: list[tuple[list[int], asyncio.Future[Sequence[Outcome]]]] = []
        for joiner, places in self._by_joiner(messages, via).items():
            for run in _runs(places, messages):
                if joiner.full:
                    await joiner.room()
                waiting.append((run, joiner.put_all([messages[place] for place in run])))
        for run, future in waiting:
            for place, outcome in zip(run, await future, strict=True):
                outcomes[place] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    async def publish_many(
        self,
        topic: Topic[T] | str,
        bodies: Iterable[T],
        *,
        key: str | Callable[[T], str | None] | None = None,
        headers: Mapping[str, str] | None = None,
        delay: Duration | None = None,
        at: Instant | None = None,
        expires: Duration | None = None,
        priority: int | None = None,
        require: Durability | None = None,
    ) -> list[Receipt]:
        """Send many bodies in order; see `Bus.publish_many`. A batch is encoded while the one before is being sent."""
        joiner = self.joiner(topic if isinstance(topic, str) else topic.name)
        runs = self.batches(
            topic, bodies, key=key, headers=headers, delay=delay, at=at, expires=expires,
            priority=priority, require=require,
        )  # fmt: skip
        waiting: deque[asyncio.Future[Sequence[Outcome]]] = deque()
        receipts: list[Receipt] = []
        error: WaystationError | None = None
        ready = 0
        try:
            for run in runs:
                if joiner.full:
                    await joiner.room()
                waiting.append(joiner.put_all(run))
                ready += len(run)
                # A turn for the sender once there is a whole batch; while one is on its way, for its end to be heard.
                if joiner.sending or ready >= BATCH_MESSAGES_MAX:
                    ready = 0
                    await asyncio.sleep(0)
                if len(waiting) == SEND_RUNS_COUNT_MAX:
                    error = _collect(await waiting.popleft(), receipts)
                    if error is not None:
                        break
        except MessageError as refused:
            error = refused
        for future in waiting:
            failed = _collect(await future, receipts)
            error = error or failed
        if error is None:
            return receipts
        error.add_note(f"of this call, {len(receipts):,} messages are stored")
        raise error.with_traceback(None)

    async def declare_command(self, topic: Topic[Any] | str) -> None:
        """Make the group of a command's topic exist, so that commands are kept until somebody takes them."""
        name = topic if isinstance(topic, str) else topic.name
        if name in self._declared:
            return
        async with self._declaring:
            if name not in self._declared:
                group = Subscription(pattern=check_name(name), group=name)
                await self.transport_of(name).declare(Topology((name,), (group,)))
                if len(self._declared) >= KNOWN_TOPICS_COUNT_MAX:
                    self._declared.clear()
                self._declared.add(name)

    def declare_commands_soon(self, topics: Iterable[str]) -> None:
        """As `declare_command`, without waiting: for what was sent in a transaction, which holds the write lock.

        Should it fail, it is logged; nothing is lost, since a new group begins with the earliest message still kept.
        """
        for topic in topics:
            task = asyncio.get_running_loop().create_task(self.declare_command(topic), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._declared_soon)

    def transport_of(self, topic: str) -> Transport:
        """Return the transport that carries a topic.

        Raises:
            ConfigurationError: No URL of the bus carries it.
        """
        return self.joiner(topic).transport

    async def close(self) -> None:
        """Send what waits, and take no more. May be called twice."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        for joiner in self._joiners:
            await joiner.close()

    def _declared_soon(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the group of a command could not be declared: %s", error)

    def joiner(self, topic: str, via: Transport | None = None) -> Joiner:
        """Return what takes the messages of a topic, or all that go by one transport.

        Raises:
            ConfigurationError: No URL of the bus carries it.
        """
        joiner = self._joiner_of.get(topic) if via is None else self._joiners[self._transports.index(via)]
        if joiner is None:
            if len(self._joiner_of) >= KNOWN_TOPICS_COUNT_MAX:
                self._joiner_of.clear()
            joiner = self._joiner_of[topic] = self._joiners[self._routes.of_topic(topic)]
        return joiner

    def _by_joiner(self, messages: Sequence[Message], via: Transport | None) -> dict[Joiner, list[int]]:
        places: dict[Joiner, list[int]] = {}
        for place, message in enumerate(messages):
            places.setdefault(self.joiner(message.topic, via), []).append(place)
        return places


def _runs(places: list[int], messages: Sequence[Message]) -> list[list[int]]:
    """Cut places of messages into runs that may each travel as one batch."""
    runs: list[list[int]] = [[]]
    size = 0
    for place in places:
        size += len(messages[place].body)
        if len(runs[-1]) == BATCH_MESSAGES_MAX or (size > BATCH_BYTES_MAX and runs[-1]):
            runs.append([])
            size = len(messages[place].body)
        runs[-1].append(place)
    return runs


def _collect(outcomes: Sequence[Outcome], receipts: list[Receipt]) -> WaystationError | None:
    """Add the receipts among outcomes; return the first error among them."""
    found = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    receipts += found
    if len(found) == len(outcomes):
        return None
    return next(outcome for outcome in outcomes if not isinstance(outcome, Receipt))
