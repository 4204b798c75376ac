"""`Outbox`: messages on their way to the broker: which topic, which partition, and what became of each."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import TypeAlias

from ..._core.delivery import Durability, Receipt, SendOutcome
from ..._core.errors import Disconnected, SendRejected, TransportError, WaystationError
from ..._core.message import Message
from ..._core.ports import Clock
from ..._core.run import MessageRun, ids_of
from ..._core.topic import check_name, is_reply_address
from .broker import Broker
from .driver import send_failure
from .ledger import CONFIG
from .limits import KEYLESS_RUN_MESSAGES_MIN, KEYLESS_RUN_S
from .records import TOPIC_HEADER, milliseconds, records_of
from .replies import ensure_topic, lane_of
from .schedule import row_of
from .sender import Entry, Outcome, Sender

Done: TypeAlias = Callable[[Sequence[SendOutcome]], None]


@dataclass(slots=True)
class _Turn:
    """Which partition gets messages without a key, since when, and how many it has got."""

    lane: int
    since: float
    count: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Messages that were posted together. `names`: the broker's, of the topics to which they go."""

    messages: Sequence[Message]
    names: set[str]
    done: Done

    def failed(self, error: TransportError) -> None:
        """Nothing of it was sent."""
        self.done([error] * len(self.messages))


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
        self._waiting: deque[_Batch] = deque()
        self._task: asyncio.Task[None] | None = None

    def post(self, messages: Sequence[Message], done: Done) -> None:
        """Begin to send, after what was posted before.

        Raises:
            ConfigurationError: A topic has no legal name. Nothing is sent.
        """
        batch = _Batch(messages, self._names_of(messages), done)
        if self._waiting or not batch.names <= self._broker.known.keys():
            self._waiting.append(batch)
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._send_waiting())
            return
        self._write(batch)

    async def close(self) -> None:
        """Wait until what waits for its topic was sent."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def _names_of(self, messages: Sequence[Message]) -> set[str]:
        """Return the broker's names of the topics to which messages go."""
        names = self._broker.names
        found = {self._name_of(topic) for topic in _topics_of(messages)}
        if self._is_any_later(messages):
            found.add(names.delay)
        return found

    def _name_of(self, topic: str) -> str:
        names = self._broker.names
        return names.replies if is_reply_address(topic) else names.prefix + check_name(topic)

    def _is_any_later(self, messages: Sequence[Message]) -> bool:
        """Say whether a message waits for its time."""
        now = self._clock.time()
        some = [messages.shared] if isinstance(messages, MessageRun) else messages
        return any(due is not None and due > now for due in {each.deliver_at for each in some})

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[0]
                try:
                    for name in batch.names - self._broker.known.keys():
                        await self._make(name)
                except WaystationError as error:
                    batch.failed(error if isinstance(error, TransportError) else SendRejected(str(error)))
                else:
                    self._write(batch)
                self._waiting.popleft()
        finally:
            self._task = None
            while self._waiting:  # only when this task was cancelled: the loop is ending
                self._waiting.popleft().failed(SendRejected("the event loop ended before this was sent"))

    async def _make(self, name: str) -> None:
        names = self._broker.names
        if name == names.replies:
            await ensure_topic(self._broker)
        elif name == names.delay:
            await self._broker.ensure(name, partitions=1, config=CONFIG)
        else:
            names.topic(name[len(names.prefix) :])
            await self._broker.ensure(name)
            self._made()

    def _write(self, batch: _Batch) -> None:
        messages = batch.messages
        try:
            self._sender.write(self._entries(messages), partial(self._sent, batch), count=len(messages))
        except Disconnected as error:
            batch.failed(SendRejected(str(error)))

    def _entries(self, messages: Sequence[Message]) -> Iterable[Entry]:
        """Return the records for a batch, each made when its turn comes: a thousand at once would be much memory."""
        written = records_of(messages)
        if not isinstance(messages, MessageRun) or is_reply_address(messages.shared.topic):
            return self._each(messages, written)
        shared, keys = messages.shared, messages.keys
        if self._is_any_later(messages):
            return self._each(messages, written)
        name, when = self._broker.names.prefix + shared.topic, self._when()
        lane = self._turn(name, len(messages))
        if keys is None:
            return map(
                Entry, repeat(name), repeat(lane), repeat(None), messages.bodies, written, repeat(when)
            )
        return (
            Entry(name, lane if key is None else -1, key, body, headers, when)
            for headers, body, key in zip(written, messages.bodies, keys, strict=True)
        )

    def _each(self, messages: Sequence[Message], written: Iterable[dict[str, str]]) -> Iterator[Entry]:
        now, when, replies = self._clock.time(), self._when(), self._broker.names.replies
        ways = dict[str, tuple[str, int]]()  # by topic: where to, and to which partition without a key
        for message, headers in zip(messages, written, strict=True):
            topic, key, lane = message.topic, message.key, -1
            if message.deliver_at is not None and message.deliver_at > now:
                self._scheduled()
                yield row_of(self._broker.names.delay, message, headers)
                continue
            way = ways.get(topic)
            if way is None:
                way = ways[topic] = self._way_of(topic, len(messages))
            name = way[0]
            if name == replies:
                lane, headers[TOPIC_HEADER] = way[1], topic
            elif key is None:
                lane = way[1]
            yield Entry(name, lane, key, message.body, headers, when)

    def _way_of(self, topic: str, count: int) -> tuple[str, int]:
        """Return where messages of a topic go that are so many, and to which partition those without a key."""
        name = self._name_of(topic)
        if is_reply_address(topic):
            return name, lane_of(topic, self._broker.known[name].partitions)
        return name, self._turn(name, count)

    def _when(self) -> int:
        """Return the time of records that are written now: their broker keeps them for as long from then as it is told.

        Not that of the message, which is in its headers: one that was on its way for long, or comes from another
        medium, would be deleted at once.
        """
        return milliseconds(self._clock.time())

    def _turn(self, name: str, count: int) -> int:
        """Return which partition gets the messages without a key of a batch: what comes together goes together."""
        partitions, now = self._broker.known[name].partitions, self._loop.time()
        turn = self._turns.get(name)
        if turn is None:
            turn = self._turns[name] = _Turn(random.randrange(partitions), now)
        elif turn.count >= KEYLESS_RUN_MESSAGES_MIN and now - turn.since >= KEYLESS_RUN_S:
            turn.lane, turn.since, turn.count = (turn.lane + 1) % partitions, now, 0
        turn.count += count
        return turn.lane % partitions

    def _sent(self, batch: _Batch, outcome: Outcome) -> None:
        known = self._broker.known
        levels = [known[name].durability for name in batch.names if name in known]
        durability = min(levels, default=Durability.WRITTEN)
        ids = ids_of(batch.messages)
        outcomes: list[SendOutcome] = [Receipt(each, durability) for each in ids]
        for index, error in outcome.errors.items():
            outcomes[index] = send_failure(error, ids[index])
        batch.done(outcomes)


def _topics_of(messages: Sequence[Message]) -> set[str]:
    if isinstance(messages, MessageRun):
        return {messages.shared.topic}
    return {message.topic for message in messages}
