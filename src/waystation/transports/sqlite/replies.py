"""Receiving replies from the embedded engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..._core.delivery import Delivery, Settlement
from ..._core.errors import Disconnected
from ..._core.limits import IDLE_POLL_S
from ..._core.ports import Clock
from ..._store.log import OTHERS, Fresh
from ..._store.rows import fetch
from ..._store.segment import unpack
from .waiting import Waiting

if TYPE_CHECKING:
    from .desk import Desk


class ReplyFeed:
    """The reader of one reply address. Replies are gone once they are read: nothing waits for them longer than that."""

    def __init__(self, desk: Desk, address: str, *, clock: Clock) -> None:
        self._desk, self._address = desk, address
        self._waiting = Waiting(clock)
        self._ready: list[Delivery] = []
        self._closed = False

    def wake(self, topics: set[int] | None, _fresh: Sequence[Fresh] = ()) -> None:
        """Look for replies, if the bell may have meant them."""
        if topics is None or OTHERS in topics:
            self._waiting.ring()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for at least one reply and return at most `limit`."""
        while not self._ready:
            if self._closed:
                raise Disconnected("this feed is closed")
            await self._desk.write(self._read, then=self._ready.extend)
            if not self._ready:
                await self._waiting.wait(IDLE_POLL_S)
        taken, self._ready = self._ready[:limit], self._ready[limit:]
        return taken

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Replies have no lease."""

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]]) -> None:
        """Replies need no settlement."""

    @property
    def closed(self) -> bool:
        """Whether it takes no more."""
        return self._closed

    async def close(self) -> None:
        """Stop. May be called twice."""
        self._closed = True
        self._waiting.ring()

    def _read(self) -> list[Delivery]:
        rows = fetch(
            self._desk.connection,
            "DELETE FROM bus_reply WHERE address = ? RETURNING id, message",
            (self._address,),
        )
        rows.sort()  # SQLite returns them in any order; the parts of a streamed reply have one
        replies = [unpack(row[1]) for row in rows]
        return [Delivery.of(reply, 1, None, damage) for reply, damage in replies]
