"""Joining: what is sent to one transport at the same time travels, and is committed, together.

Messages gather in parts (`parts`), which leave as their transport sends (`carriers`). Where messages stay in this
process there is neither a flush nor a system call to share: they are posted at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from .._core.message import Message
from .._core.ports import Posting, Transport
from .carriers import ByPost, ByTask, Carrier
from .parts import Outcome, Parts, Told


class Joiner:
    """The one way to a transport: keeps the order of what it is given.

    Must be made on the event loop that uses it. A waiter that is cancelled changes nothing for the others, and its
    message may or may not be stored.

    Attributes:
        at_once: Whether what is given is sent before `give` returns.
        give: Sends messages that travel together, at most a batch, after those that wait. It tells their outcomes,
            perhaps before it returns, and raises `Disconnected` if the bus was closed.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._loop = asyncio.get_running_loop()
        self._parts = Parts()
        self._carrier: Carrier
        self.at_once = False
        self.give: Callable[[Sequence[Message], Told], None] = self._queue
        if isinstance(transport, Posting):
            self._carrier = ByPost(transport, self._parts)
            if transport.posts_here:
                self.at_once, self.give = True, transport.post
        else:
            self._carrier = ByTask(transport, self._parts)

    @property
    def full(self) -> bool:
        """Whether so much waits to be sent that publishers must wait too (`room`)."""
        return self._parts.full

    @property
    def sending(self) -> bool:
        """Whether a batch is on its way."""
        return self._carrier.sending

    async def room(self) -> None:
        """Wait until there is room in the queue: the back-pressure of publishing."""
        await self._parts.room()

    def put(self, message: Message) -> asyncio.Future[Outcome]:
        """As `give`, for one message; the future gets its outcome."""
        future: asyncio.Future[Outcome] = self._loop.create_future()
        if self.at_once:
            self.give((message,), partial(_tell_one, future))
        else:
            self._parts.add_one(message, future)
            self._carrier.start()
        return future

    def put_all(self, messages: Sequence[Message]) -> asyncio.Future[Sequence[Outcome]]:
        """As `give`; the future gets the outcomes, in order."""
        future: asyncio.Future[Sequence[Outcome]] = self._loop.create_future()
        self.give(messages, partial(_tell, future))
        return future

    async def close(self) -> None:
        """Send what waits, and take no more. May be called twice."""
        self.at_once, self.give = False, self._queue
        self._parts.close()
        await self._carrier.finish()

    def _queue(self, messages: Sequence[Message], told: Told) -> None:
        self._parts.add(messages, told)
        self._carrier.start()


def _tell_one(future: asyncio.Future[Outcome], outcomes: Sequence[Outcome]) -> None:
    if not future.done():
        future.set_result(outcomes[0])


def _tell(future: asyncio.Future[Sequence[Outcome]], outcomes: Sequence[Outcome]) -> None:
    if not future.done():
        future.set_result(outcomes)
