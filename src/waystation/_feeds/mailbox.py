"""`Mailbox`: a reply address of a transport to which replies are brought."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from .._core.delivery import Delivery, Settlement
from .._core.errors import Disconnected
from .._core.message import Message
from .bell import Bell


class Mailbox:
    """What arrives is delivered once, to whoever has it open, and needs no settling. A `PromptFeed`.

    It has no bound of its own: requests in flight are bounded where they are made.

    Attributes:
        wake: To be called when something has arrived.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: deque[Message] = deque()
        self._bell = Bell()
        self.wake: Callable[[], None] = self._bell.ring
        self._closed = False

    def add(self, message: Message) -> None:
        """Put a reply in, without waking whoever waits for it."""
        self.messages.append(message)

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery.

        Raises:
            Disconnected: The feed was closed.
        """
        while not (deliveries := self.take(limit)):
            await self._bell.rung()
        return deliveries

    def listen(self, ready: Callable[[], None], /) -> None:
        """See `PromptFeed`."""
        self.wake = ready

    def take(self, limit: int, /) -> Sequence[Delivery]:
        """Return at most so many of the replies that are there.

        Raises:
            Disconnected: The feed was closed.
        """
        messages = self.messages
        if not messages and self._closed:
            raise Disconnected(f"the reply address {self.address!r} was closed")
        return [Delivery.of(messages.popleft()) for _ in range(min(limit, len(messages)))]

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        """Nothing: replies have no lease."""

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]], /) -> None:
        """Nothing: replies were removed when they were delivered."""

    async def close(self) -> None:
        """Drop what was not taken, and what arrives later. May be called twice."""
        if not self._closed:
            self._closed = True
            self.messages.clear()
            self.wake()
            await self.left()

    async def left(self) -> None:
        """Called once, when it was closed: to be overridden by whoever has more to do then."""
