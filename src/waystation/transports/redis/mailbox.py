"""`Mailbox`: the reader of one reply address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ..._core.delivery import Delivery, Settlement
from ..._core.errors import Disconnected, TransportError
from ..._core.limits import IDLE_POLL_S
from ..._core.ports import Clock, Timer
from .ear import Ear
from .entries import message_of
from .limits import REPLIES_COUNT_MAX
from .line import Lost
from .link import Link

_COUNT = b"%d" % REPLIES_COUNT_MAX


class Mailbox:
    """What arrives is delivered once, to whoever has the address, and needs no settling. See `PromptFeed`, too."""

    def __init__(
        self, link: Link, ear: Ear, address: str, *, clock: Clock, on_closed: Callable[[Mailbox], object]
    ) -> None:
        self.address = address
        self._link, self._ear, self._clock = link, ear, clock
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._ready: list[Delivery] = []
        self._last = b"0-0"
        self._look, self._asking = True, False
        self._timer: Timer | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._ring: Callable[[], None] = self._wake
        self._error: TransportError | None = None

    async def open(self) -> None:
        """Begin to listen."""
        await self._ear.listen(self.address, None, self._heard)
        self._link.on_back.append(self._heard)
        self._link.on_gone.append(self.end)

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one reply and return at most `limit`.

        Raises:
            Disconnected: The address was closed, or the server is away.
        """
        while not (found := self.take(limit)):
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return found

    def listen(self, ready: Callable[[], None], /) -> None:
        """See `PromptFeed`."""
        self._ring = ready

    def take(self, limit: int, /) -> Sequence[Delivery]:
        """Return at most `limit` of the replies that have come.

        Raises:
            Disconnected: As `receive`.
        """
        found, self._ready = self._ready[:limit], self._ready[limit:]
        if not found and self._error is not None:
            raise self._error
        if not self._ready:
            self._ask()
        return found

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _heard(self) -> None:
        self._look = True
        if not self._ready:
            self._ask()

    def _ask(self) -> None:
        if self._asking or not self._look or self._error is not None or not self._link.is_up:
            return
        self._asking, self._look = True, False
        self._link.begin("replies", (self.address.encode(), self._last, _COUNT), self._took)

    def _took(self, reply: Any) -> None:
        self._asking = False
        if isinstance(reply, Lost):
            self._look = True
            return
        if isinstance(reply, Exception):
            try:
                self._link.read(reply)
            except TransportError as error:
                self.end(error)
            return
        if reply:
            self._last = reply[-1][0]
            self._ready += [
                Delivery.of(message_of(self.address, entry_id, fields)) for entry_id, fields in reply
            ]
            self._look = True
            self._ring()
        elif self._look:
            self._ask()
        else:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._clock.call_later(IDLE_POLL_S, self._heard)

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        """Nothing: replies have no lease."""

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]], /) -> None:
        """Nothing: replies are read once."""

    def end(self, error: TransportError) -> None:
        """Nothing more comes, because of that."""
        if self._error is None:
            self._error = error
            self._ring()

    async def close(self) -> None:
        """Stop. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
        if self._heard in self._link.on_back:
            self._link.on_back.remove(self._heard)
            self._link.on_gone.remove(self.end)
            self._ear.forget(self.address, self._heard)
            self._on_closed(self)
        self._ready = []
        self.end(Disconnected(f"the reply address {self.address!r} was closed"))
