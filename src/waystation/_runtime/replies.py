"""What comes back: the feed of one reply address, and who waits for which of its messages.

A message is told by its correlation id. A request waits for one, as a future; a streamed reply is a conversation: the
caller hears parts, the responder hears how many were taken, each under an address of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeAlias

from .._core.delivery import Delivery, Receipt
from .._core.errors import Disconnected, SendRejected, WaystationError
from .._core.limits import REQUESTS_IN_FLIGHT_MAX, STREAM_SILENCE_S
from .._core.message import Message
from .._core.ports import Clock, Feed, Transport
from .._core.question import Reply, Told
from .._core.stream import PARTS, TAKEN, Taken, read_parts, write
from .._core.topic import is_reply_address
from .parts import Outcome
from .publisher import Publisher
from .reading import Reading
from .timeouts import Timeouts

Answer: TypeAlias = Message | Reply | WaystationError | None
"""What a request gets: a reply, as a message or straight away, or why there is none; None: none came in time."""

_log = logging.getLogger("waystation.requests")


class Conversation(Protocol):
    """Somebody to whom more than one message is addressed."""

    def heard(self, message: Message) -> None:
        """Take in a message. Must not raise."""

    def abandon(self, error: WaystationError) -> None:
        """Nothing more can come."""


class ReplyDesk:
    """One reply address on one transport: reads what arrives there and hands it out.

    Attributes:
        address: Where it is reached.
        pending: Who waits for one reply, by correlation id. Whoever enters (`expect`) leaves by himself, whatever
            happens.
        late: Messages for which nobody waited any more; dropped.
    """

    def __init__(
        self,
        feed: Feed,
        address: str,
        transport: Transport,
        *,
        reopen: Callable[[], Awaitable[Feed]],
        publisher: Publisher,
        clock: Clock,
    ) -> None:
        self.address = address
        self.pending: dict[str, asyncio.Future[Answer]] = {}
        self.late = 0
        self._conversations: dict[str, Conversation] = {}
        self._transport = transport
        self._publisher = publisher
        self._clock = clock
        self._timeouts = Timeouts(clock, self.pending, self._expire)
        self._reading = Reading(feed, reopen, self._hand_out, clock)

    def __len__(self) -> int:
        """How many wait."""
        return len(self.pending) + len(self._conversations)

    def expect(self, correlation_id: str, answer: asyncio.Future[Answer], until_s: float) -> None:
        """Enter somebody who waits for one reply until a time of the monotonic clock.

        Raises:
            SendRejected: Too many wait already.
        """
        self._check_room()
        self.pending[correlation_id] = answer
        self._timeouts.add(correlation_id, until_s)

    def told(self, answer: asyncio.Future[Answer], told: Told) -> None:
        """Take in what became of a question that took a shorter way; after a receipt its answer comes as a message."""
        if isinstance(told, Receipt):
            return
        if answer.done():
            self.late += 1
        else:
            answer.set_result(told)

    @contextmanager
    def conversation(self, correlation_id: str, listener: Conversation) -> Iterator[None]:
        """Let somebody hear all that comes under an id.

        Raises:
            SendRejected: Too many wait already.
        """
        self._check_room()
        self._conversations[correlation_id] = listener
        try:
            yield
        finally:
            del self._conversations[correlation_id]

    def send(self, message: Message) -> asyncio.Future[Outcome]:
        """Send without waiting for room: what a conversation sends is bounded by itself.

        Raises:
            Disconnected: The bus was closed.
        """
        return self._publisher.queue(message, via=self._transport)

    def tell(self, responder: str | None, stream: str, word: Taken) -> None:
        """Send a word to the responder of a stream, without caring for the outcome: it is repeated, or late."""
        if responder is None or not is_reply_address(responder):
            return  # a stranger could name any topic
        now = self._clock.time()
        message = Message(
            id=self._publisher.next_id(),
            topic=responder,
            body=write(word),
            content_type=TAKEN,
            time=now,
            correlation_id=stream,
            expires_at=now + STREAM_SILENCE_S,
        )
        try:
            self.send(message)
        except Disconnected:
            _log.debug("a stream's responder is not told: the bus was closed")

    def stop(self, message: Message) -> None:
        """Tell the responder that sent these parts that nobody wants more."""
        try:
            parts = read_parts(message.body)
        except WaystationError:
            return  # a stranger's
        if not parts.ended:
            self.tell(message.reply_to, parts.stream, Taken(0, stopped=True))

    async def close(self) -> None:
        """Stop reading; tell those who wait."""
        await self._reading.close()
        self._timeouts.close()
        closed = Disconnected("the bus was closed while a request waited for its answer")
        for answer in self.pending.values():
            if not answer.done():
                answer.set_result(closed)
        for listener in self._conversations.values():
            listener.abandon(closed)

    def _expire(self, correlation_id: str) -> None:
        answer = self.pending[correlation_id]
        if not answer.done():
            answer.set_result(None)

    def _check_room(self) -> None:
        if len(self.pending) + len(self._conversations) >= REQUESTS_IN_FLIGHT_MAX:
            raise too_many()

    def _hand_out(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            message = delivery.message
            correlation_id = message.correlation_id or ""
            answer = self.pending.get(correlation_id)
            if answer is not None and not answer.done():
                answer.set_result(message)
            elif (listener := self._conversations.get(correlation_id)) is not None:
                listener.heard(message)
            elif (
                message.content_type != TAKEN
            ):  # the word that a stream's last parts were taken is always too late
                self.late += 1
                if message.content_type == PARTS:
                    self.stop(message)


def too_many() -> SendRejected:
    """Return the error of who asks for more than may wait."""
    return SendRejected(
        f"{REQUESTS_IN_FLIGHT_MAX:,} requests wait for their answers already; nothing was sent"
    )
