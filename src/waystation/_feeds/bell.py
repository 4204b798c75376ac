"""`Bell`: wakes the one task that waits for something to do.

An `asyncio.Event` remembers that it was set, serves any number of tasks, and is as slow as that takes. Here one task
waits, and looks before it does whether there is something to do, so there is nothing to remember.
"""

from __future__ import annotations

import asyncio


class Bell:
    """Rung for one task. A ring that nobody waits for is lost."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: asyncio.Future[None] | None = None

    @property
    def has_waiter(self) -> bool:
        """Whether somebody waits and has not been woken."""
        return self._waiting is not None and not self._waiting.done()

    def ring(self) -> None:
        """Wake whoever waits."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def rung(self) -> asyncio.Future[None]:
        """Return what ends with the next ring. Nothing may be awaited between the look and this."""
        waiting = self._waiting = asyncio.get_running_loop().create_future()
        return waiting
