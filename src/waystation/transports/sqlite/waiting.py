"""How a feed waits."""

from __future__ import annotations

import asyncio

from ..._core.ports import Clock


class Waiting:
    """A feed's wait: ended by a bell, by time, or by closing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._future: asyncio.Future[None] | None = None
        self._rung = False

    def ring(self) -> None:
        """End the wait that is on, or the next one."""
        self._rung = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a ring, at most so long; say whether there was one."""
        if not self._rung:
            self._future = asyncio.get_running_loop().create_future()
            timer = self._clock.call_later(timeout_s, self._time_is_up)
            try:
                await self._future
            finally:
                timer.cancel()
                self._future = None
        rung, self._rung = self._rung, False
        return rung

    def _time_is_up(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)
