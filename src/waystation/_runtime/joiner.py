"""Joining: what is sent to one transport at the same time travels, and is committed, together.

There is no timer. When nothing is being sent, the next turn of the event loop sends, so that everything published in
this turn goes together; while a batch is on its way, what arrives becomes the next one. The slower the medium, the
larger the batches: a flush that takes a millisecond is shared by all that were published meanwhile.

Where messages stay in this process there is neither a flush nor a system call to share: they are handed over at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from typing import TypeAlias

from .._core.delivery import Receipt
from .._core.errors import Disconnected, SendRejected, SendUnconfirmed, WaystationError
from .._core.limits import (
    BATCH_BYTES_MAX,
    BATCH_MESSAGES_MAX,
    SEND_QUEUE_MESSAGES_MAX,
    SEND_TIMEOUT_S,
    SEND_TURN_MESSAGES_MAX,
)
from .._core.message import Message
from .._core.ports import Transport
from .._core.run import MessageRun, bytes_of, ids_of

Outcome: TypeAlias = Receipt | WaystationError
"""What became of one message: a receipt, or why there is none."""


#: Batches that may wait to be sent. It bounds their bytes too.
_QUEUE_PARTS_MAX = SEND_QUEUE_MESSAGES_MAX // BATCH_MESSAGES_MAX


class _Part:
    """One batch to be: its messages, and who waits for how many of their outcomes, in the same order."""

    __slots__ = ("bytes_free", "messages", "messages_free", "waiters")

    def __init__(self) -> None:
        self.messages: Sequence[Message] = []
        self.waiters: list[asyncio.Future[Outcome] | tuple[asyncio.Future[list[Outcome]], int]] = []
        self.messages_free = BATCH_MESSAGES_MAX
        self.bytes_free = BATCH_BYTES_MAX

    def add(self, messages: Sequence[Message]) -> None:
        """Add to the end. What is one run stays a run; joined with others, its messages are like theirs."""
        before = self.messages
        if isinstance(before, list):
            if before or not isinstance(messages, MessageRun):
                before += messages
            else:
                self.messages = messages
        elif isinstance(messages, MessageRun) and isinstance(before, MessageRun) and before.joins(messages):
            self.messages = before + messages
        else:
            self.messages = [*before, *messages]

    def hand_out(self, outcomes: Sequence[Outcome]) -> None:
        """Tell everybody who still waits."""
        index = 0
        for waiter in self.waiters:
            if isinstance(waiter, tuple):
                future, count = waiter
                if not future.done():
                    future.set_result(list(outcomes[index : index + count]))
                index += count
            else:
                if not waiter.done():
                    waiter.set_result(outcomes[index])
                index += 1


class Joiner:
    """The one way to a transport's `send`: keeps the order of what it is given, one send at a time.

    Must be made on the event loop that uses it. A waiter that is cancelled changes nothing for the others, and its
    message may or may not be stored.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        facts = transport.capabilities
        self._stays_here = not facts.persistent and not facts.multi_process
        self._sent_in_turn = 0
        #: Whether so much waits to be sent that publishers must wait too (`room`).
        self.full = False
        #: Whether a batch is on its way.
        self.sending = False
        self._loop = asyncio.get_running_loop()
        self._parts: deque[_Part] = deque()
        self._last: _Part | None = None  # the end of the queue, if anything waits
        self._room = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def at_once(self) -> bool:
        """Whether a message may be handed over in this turn, before others that wait."""
        return self._stays_here and self._sender is None and not self._closed

    async def send_at_once(self, message: Message) -> Outcome:
        """Hand one message over and return what became of it. Only `at_once`."""
        self._sent_in_turn += 1
        if self._sent_in_turn >= SEND_TURN_MESSAGES_MAX:
            self._sent_in_turn = 0
            await asyncio.sleep(0)
        return (await self._deliver((message,)))[0]

    async def room(self) -> None:
        """Wait until there is room in the queue: the back-pressure of publishing."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    def put(self, message: Message) -> asyncio.Future[Outcome]:
        """Queue one message; the future gets its outcome.

        Raises:
            Disconnected: The bus was closed.
        """
        size = len(message.body)
        part = self._last
        if part is None or not part.messages_free or part.bytes_free < size:
            part = self._begin()
        future: asyncio.Future[Outcome] = self._loop.create_future()
        if isinstance(part.messages, list):
            part.messages.append(message)
        else:
            part.add((message,))
        part.waiters.append(future)
        part.messages_free -= 1
        part.bytes_free -= size
        return future

    def put_all(self, messages: Sequence[Message]) -> asyncio.Future[list[Outcome]]:
        """Queue messages that travel together, at most a batch; the future gets their outcomes, in order.

        Raises:
            Disconnected: The bus was closed.
        """
        assert len(messages) <= BATCH_MESSAGES_MAX, "the caller cuts what is larger than a batch"
        count, size = len(messages), bytes_of(messages)
        part = self._last
        if part is None or part.messages_free < count or part.bytes_free < size:
            part = self._begin()
        future: asyncio.Future[list[Outcome]] = self._loop.create_future()
        part.add(messages)
        part.waiters.append((future, count))
        part.messages_free -= count
        part.bytes_free -= size
        return future

    async def close(self) -> None:
        """Send what waits, and take no more. May be called twice."""
        self._closed, self._last = True, None
        if self._sender is not None:
            await asyncio.wait([self._sender])

    def _begin(self) -> _Part:
        """Begin a new part at the end of the queue. A message of the maximum size fits into an empty one."""
        if self._closed:
            raise Disconnected("the bus was closed: nothing was sent")
        part = self._last = _Part()
        self._parts.append(part)
        self.full = len(self._parts) >= _QUEUE_PARTS_MAX
        if self._sender is None:
            # An empty context: the sender works for everybody, not for the handler that happened to be first.
            self._sender = self._loop.create_task(self._send_parts(), context=Context())
        return part

    def _take(self) -> _Part:
        """Take the part at the front of the queue: nothing is added to it any more."""
        part = self._parts.popleft()
        if part is self._last:
            self._last = None
        self.full = False
        self._room.set()
        return part

    async def _send_parts(self) -> None:
        """Send until nothing waits. A task for each burst, not for each message."""
        try:
            while self._parts:
                part = self._take()
                self.sending = True
                try:
                    part.hand_out(await self._deliver(part.messages))
                except asyncio.CancelledError:
                    part.hand_out(_unknown(part.messages, "the event loop ended while this was being sent"))
                    raise
        finally:
            self._sender = None
            self.sending = False
            while self._parts:  # only when this task was cancelled: the loop is ending
                part = self._take()
                error = SendRejected("the event loop ended before this was sent")
                part.hand_out([error] * len(part.messages))

    async def _deliver(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """Send one batch. Whatever happens, there is an outcome for each of its messages."""
        try:
            if self._stays_here:
                outcomes = await self.transport.send(messages)
            else:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    outcomes = await self.transport.send(messages)
        except TimeoutError as error:
            return _unknown(messages, f"no confirmation within {SEND_TIMEOUT_S:g} s", error)
        except WaystationError as error:
            return [error] * len(messages)
        except Exception as error:  # noqa: BLE001 - a driver's own error reaches the publisher as what it means
            return _unknown(messages, f"{type(error).__name__}: {error}", error)
        if len(outcomes) != len(messages):
            return _unknown(messages, f"{len(outcomes)} outcomes came back for {len(messages)} messages")
        return outcomes


def _unknown(messages: Sequence[Message], text: str, cause: BaseException | None = None) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for message_id in ids_of(messages):
        error = SendUnconfirmed(f"{text}: the message may have been stored", message_id=message_id)
        error.__cause__ = cause
        outcomes.append(error)
    return outcomes
