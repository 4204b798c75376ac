"""`Outbox`: messages on their way to the broker: which topic, which partition, and what became of each."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias
from zlib import crc32

from ..._core.delivery import Durability, Receipt, SendOutcome
from ..._core.errors import Disconnected, SendRejected, TransportError, WaystationError
from ..._core.message import Message
from ..._core.ports import Clock
from ..._core.run import ids_of
from ..._core.topic import check_name, is_reply_address
from .broker import Broker
from .driver import send_failure
from .ledger import CONFIG
from .limits import KEYLESS_RUN_MESSAGES_MAX, KEYLESS_RUN_S, REPLY_PARTITIONS_COUNT, REPLY_RETENTION_S
from .records import TOPIC_HEADER, milliseconds, records_of
from .schedule import row_of
from .sender import Entry, Outcome, Sender

Done: TypeAlias = Callable[[Sequence[SendOutcome]], None]


@dataclass(slots=True)
class _Turn:
    """Which partition gets messages without a key, how many more before it is looked at the time, and since when."""

    lane: int
    left: int = KEYLESS_RUN_MESSAGES_MAX
    since: float = 0.0


class Outbox:
    """Sends for one transport, in order.

    Args:
        made: Told the names of topics that are new to this process.
    """

    def __init__(
        self,
        broker: Broker,
        sender: Sender,
        *,
        clock: Clock,
        made: Callable[[], None],
        scheduled: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._sender = sender
        self._clock = clock
        self._made = made
        self._scheduled = scheduled
        self._loop = asyncio.get_running_loop()
        self._turns: dict[str, _Turn] = {}  # by topic
        self._waiting: deque[tuple[Sequence[Message], Done]] = deque()
        self._task: asyncio.Task[None] | None = None

    def post(self, messages: Sequence[Message], done: Done) -> None:
        """Begin to send, after what was posted before."""
        if self._waiting or self._unknown(messages):
            self._waiting.append((messages, done))
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._send_waiting())
            return
        self._write(messages, done)

    async def close(self) -> None:
        """Wait until what waits for its topic was sent."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def _unknown(self, messages: Sequence[Message]) -> set[str]:
        """Return the broker's names of topics that are not known yet."""
        known, names = self._broker.known, self._broker.names
        found = set()
        now = self._clock.time()
        for message in messages:
            topic = message.topic
            name = names.replies if is_reply_address(topic) else names.prefix + topic
            if name not in known:
                found.add(name)
            if message.deliver_at is not None and message.deliver_at > now and names.delay not in known:
                found.add(names.delay)
        return found

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                messages, done = self._waiting[0]
                try:
                    for name in self._unknown(messages):
                        await self._make(name)
                except WaystationError as error:
                    outcome = error if isinstance(error, TransportError) else SendRejected(str(error))
                    done([outcome] * len(messages))
                else:
                    self._write(messages, done)
                self._waiting.popleft()
        finally:
            self._task = None
            while self._waiting:  # only when this task was cancelled: the loop is ending
                messages, done = self._waiting.popleft()
                done([SendRejected("the event loop ended before this was sent")] * len(messages))

    async def _make(self, name: str) -> None:
        names = self._broker.names
        if name == names.replies:
            config = {"retention.ms": str(round(REPLY_RETENTION_S * 1000)), "segment.ms": "600000"}
            await self._broker.ensure(name, partitions=REPLY_PARTITIONS_COUNT, config=config)
        elif name == names.delay:
            await self._broker.ensure(name, partitions=1, config=CONFIG)
        else:
            check_name(name[len(names.prefix) :])
            names.topic(name[len(names.prefix) :])
            await self._broker.ensure(name)
            self._made()

    def _write(self, messages: Sequence[Message], done: Done) -> None:
        try:
            entries = self._entries(messages)
            self._sender.write(entries, partial(self._sent, messages, entries, done))
        except Disconnected as error:
            done([SendRejected(str(error))] * len(messages))

    def _entries(self, messages: Sequence[Message]) -> list[Entry]:
        entries = []
        now = self._clock.time()
        names, known = self._broker.names, self._broker.known
        is_scheduled = False
        for message, headers in zip(messages, records_of(messages), strict=True):
            when = milliseconds(message.time)
            if message.deliver_at is not None and message.deliver_at > now:
                entries.append(row_of(names.delay, message, headers))
                is_scheduled = True
            elif is_reply_address(message.topic):
                headers.append((TOPIC_HEADER, message.topic))
                lane = crc32(message.topic.encode()) % known[names.replies].partitions
                entries.append(Entry(names.replies, lane, message.key, message.body, headers, when))
            else:
                name = names.prefix + message.topic
                lane = -1 if message.key is not None else self._turn(name, known[name].partitions)
                entries.append(Entry(name, lane, message.key, message.body, headers, when))
        if is_scheduled:
            self._scheduled()
        return entries

    def _turn(self, name: str, partitions: int) -> int:
        """Return whose turn it is to get a message without a key. What comes together goes together."""
        turn = self._turns.get(name)
        if turn is None:
            turn = self._turns[name] = _Turn(random.randrange(partitions))
        if not turn.left:
            now = self._loop.time()
            if now - turn.since >= KEYLESS_RUN_S:
                turn.lane, turn.since = (turn.lane + 1) % partitions, now
            turn.left = KEYLESS_RUN_MESSAGES_MAX
        turn.left -= 1
        return turn.lane

    def _sent(
        self, messages: Sequence[Message], entries: Sequence[Entry], done: Done, outcome: Outcome
    ) -> None:
        known = self._broker.known
        levels = {entry.topic for entry in entries}
        durability = min(
            (known[name].durability for name in levels if name in known), default=Durability.WRITTEN
        )
        ids = ids_of(messages)
        outcomes: list[SendOutcome] = [Receipt(each, durability) for each in ids]
        for index, error in outcome.errors.items():
            outcomes[index] = send_failure(error, ids[index])
        done(outcomes)


def check_topics(messages: Sequence[Message]) -> None:
    """Refuse a batch with a topic that has no legal name.

    Raises:
        ConfigurationError: Nothing was sent.
    """
    for topic in {message.topic for message in messages}:
        if not is_reply_address(topic):
            check_name(topic)
