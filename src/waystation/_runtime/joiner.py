"""Joining: what is sent to one transport at the same time travels, and is committed, together.

There is no timer. When nothing is being sent, the next turn of the event loop sends, so that everything published in
this turn goes together; while a batch is on its way, what arrives becomes the next one. The slower the medium, the
larger the batches: a flush that takes a millisecond is shared by all that were published meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from typing import TypeAlias

from .._core.delivery import Receipt
from .._core.errors import Disconnected, SendRejected, SendUnconfirmed, WaystationError
from .._core.limits import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, SEND_QUEUE_MESSAGES_MAX, SEND_TIMEOUT_S
from .._core.message import Message
from .._core.ports import Transport

Outcome: TypeAlias = Receipt | WaystationError
"""What became of one message: a receipt, or why there is none."""


class _Part:
    """One batch to be: its messages, and who waits for how many of their outcomes, in the same order."""

    __slots__ = ("messages", "size_bytes", "waiters")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.size_bytes = 0
        self.waiters: list[asyncio.Future[Outcome] | tuple[asyncio.Future[list[Outcome]], int]] = []

    def takes(self, count: int, size_bytes: int) -> bool:
        """Whether so much more fits. A message of the maximum size fits into an empty part."""
        return not self.messages or (
            len(self.messages) + count <= BATCH_MESSAGES_MAX
            and self.size_bytes + size_bytes <= BATCH_BYTES_MAX
        )

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
        self._loop = asyncio.get_running_loop()
        self._parts: deque[_Part] = deque()
        self._queued = 0
        self._room = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether so much waits to be sent that publishers must wait too (`room`)."""
        return self._queued >= SEND_QUEUE_MESSAGES_MAX

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
        future: asyncio.Future[Outcome] = self._loop.create_future()
        size = len(message.body)
        part = self._part_for(1, size)
        part.messages.append(message)
        part.waiters.append(future)
        part.size_bytes += size
        return future

    def put_all(self, messages: Sequence[Message]) -> asyncio.Future[list[Outcome]]:
        """Queue messages that travel together, at most a batch; the future gets their outcomes, in order.

        Raises:
            Disconnected: The bus was closed.
        """
        assert len(messages) <= BATCH_MESSAGES_MAX, "the caller cuts what is larger than a batch"
        future: asyncio.Future[list[Outcome]] = self._loop.create_future()
        size = sum([len(message.body) for message in messages])
        part = self._part_for(len(messages), size)
        part.messages += messages
        part.waiters.append((future, len(messages)))
        part.size_bytes += size
        return future

    async def close(self) -> None:
        """Send what waits, and take no more. May be called twice."""
        self._closed = True
        if self._sender is not None:
            await asyncio.wait([self._sender])

    def _part_for(self, count: int, size_bytes: int) -> _Part:
        """Return the part at the end of the queue in which there is room for this much."""
        if self._closed:
            raise Disconnected("the bus was closed: nothing was sent")
        self._queued += count
        if self._sender is None:
            # An empty context: the sender works for everybody, not for the handler that happened to be first.
            self._sender = self._loop.create_task(self._send_parts(), context=Context())
        if not self._parts or not self._parts[-1].takes(count, size_bytes):
            self._parts.append(_Part())
        return self._parts[-1]

    async def _send_parts(self) -> None:
        """Send until nothing waits. A task for each burst, not for each message."""
        try:
            while self._parts:
                part = self._parts.popleft()
                part.hand_out(await self._send(part))
                self._queued -= len(part.messages)
                self._room.set()
        finally:
            self._sender = None
            while self._parts:  # only when this task was cancelled: the loop is ending
                part = self._parts.popleft()
                part.hand_out(
                    [SendRejected("the event loop ended before this was sent")] * len(part.messages)
                )

    async def _send(self, part: _Part) -> Sequence[Outcome]:
        """Send one batch. Whatever happens, there is an outcome for each of its messages."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                outcomes = await self.transport.send(part.messages)
        except asyncio.CancelledError:
            part.hand_out(_unknown(part, "the event loop ended while this was being sent"))
            raise
        except TimeoutError as error:
            return _unknown(part, f"no confirmation within {SEND_TIMEOUT_S:g} s", error)
        except WaystationError as error:
            return [error] * len(part.messages)
        except Exception as error:  # noqa: BLE001 - a driver's own error reaches the publisher as what it means
            return _unknown(part, f"{type(error).__name__}: {error}", error)
        if len(outcomes) != len(part.messages):
            return _unknown(part, f"{len(outcomes)} outcomes came back for {len(part.messages)} messages")
        return outcomes


def _unknown(part: _Part, text: str, cause: BaseException | None = None) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for message in part.messages:
        error = SendUnconfirmed(f"{text}: the message may have been stored", message_id=message.id)
        error.__cause__ = cause
        outcomes.append(error)
    return outcomes
