"""Clocks for tests: one that stands still until it is moved, and one that runs faster than the world's."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

from .._core.errors import ConfigurationError
from .._core.ports import Clock, Timer

#: Turns of the event loop that tasks get after each thing that became due, to do what they do about it.
_TURNS_COUNT = 20

#: What comes due this little after the end of an advance is due, so that no rounding decides a test; in seconds.
_ROUNDING_S = 1e-6


class MovableClock(Clock, Protocol):
    """A clock that a test can move."""

    async def advance(self, delay_s: float) -> None:
        """Let time pass, and everything happen that is due by then."""


class VirtualTimer:
    """A call that was put off."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Do not call."""
        self._callback = None

    def fire(self) -> None:
        """Call, unless cancelled or called before."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class VirtualClock:
    """Time for tests: a second passes when, and only when, the test says so.

    Give it to whatever takes a `clock`: `Bus("memory://", clock=clock)`. Then

    ```python
    await clock.advance(60)
    ```

    runs all that is due in the next minute, in order and at its time, and lets tasks act on it.

    Args:
        now: Where it begins, in Unix seconds. `monotonic` shows the same number.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._timers: list[tuple[float, int, VirtualTimer]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        """Unix seconds."""
        return self._now

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return self._now

    async def sleep(self, delay_s: float) -> None:
        """Wait until the clock was advanced by `delay_s` seconds."""
        over = asyncio.Event()
        timer = self.call_later(delay_s, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> VirtualTimer:
        """Call when the clock was advanced by `delay_s` seconds; a delay of zero, in the loop's next turn."""
        timer = VirtualTimer(callback)
        if delay_s <= 0:
            asyncio.get_running_loop().call_soon(timer.fire)
        else:
            heapq.heappush(self._timers, (self._now + delay_s, next(self._numbers), timer))
        return timer

    async def advance(self, delay_s: float) -> None:
        """Let time pass. What becomes due happens in order, each at its own time."""
        end = self._now + delay_s
        await _let_others_run()
        while self._timers and self._timers[0][0] <= end + _ROUNDING_S:
            due, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            timer.fire()
            await _let_others_run()
        self._now = max(self._now, end)
        await _let_others_run()


class ScaledTimer:
    """A call that was put off."""

    def __init__(self, clock: ScaledClock, due: float, callback: Callable[[], object]) -> None:
        self._clock = clock
        self._due = due
        self._callback = callback
        self._timer = self._later()

    def cancel(self) -> None:
        """Do not call."""
        self._timer.cancel()

    def _later(self) -> Timer:
        delay_s = max(self._due - self._clock.monotonic(), 0) / self._clock.speed
        return asyncio.get_running_loop().call_later(delay_s, self._fire)

    def _fire(self) -> None:
        # An event loop may be early by what it rounds off; times the speed, a test would see that.
        if self._clock.monotonic() < self._due:
            self._timer = self._later()
        else:
            self._callback()


class ScaledClock:
    """Time for tests against something with a clock of its own, such as a broker: real time, faster.

    Give it to whatever takes a `clock`. `await clock.advance(60)` waits for a minute of this clock to pass, which is
    0.6 real seconds at a speed of 100. A gate to a broker tells the broker's timers the real delay.

    Args:
        speed: How many of its seconds pass in a real one.
        now: Where it begins, in Unix seconds: unless told otherwise, now.

    Raises:
        ConfigurationError: The speed is not over 0.
    """

    def __init__(self, speed: float = 100.0, now: float | None = None) -> None:
        if not speed > 0:
            raise ConfigurationError(f"speed={speed!r} must be over 0: 100 lets 100 s pass in one")
        self.speed = speed
        self._began = time.monotonic()
        self._now = time.time() if now is None else now

    def time(self) -> float:
        """Unix seconds."""
        return self._now + self.monotonic()

    def monotonic(self) -> float:
        """Seconds since it was made, which never jump."""
        return (time.monotonic() - self._began) * self.speed

    async def sleep(self, delay_s: float) -> None:
        """Wait until so many seconds of this clock have passed."""
        if delay_s <= 0:
            return await asyncio.sleep(0)
        over = asyncio.Event()
        timer = self.call_later(delay_s, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> ScaledTimer:
        """Call when so many seconds of this clock have passed."""
        return ScaledTimer(self, self.monotonic() + delay_s, callback)

    async def advance(self, delay_s: float) -> None:
        """Let time pass: wait."""
        await self.sleep(delay_s)


async def _let_others_run() -> None:
    for _ in range(_TURNS_COUNT):
        await asyncio.sleep(0)
