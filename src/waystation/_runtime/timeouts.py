"""`Timeouts`: when many waits end, by one timer: nearly all of them end before their time.

A timer of the event loop for each wait, set and cancelled, costs more than all else that a request needs to wait.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Container, Sized
from typing import Protocol

from .._core.ports import Clock, Timer

#: Waits that have ended are forgotten when they are more than those that go on, and more than so many.
_FORGOTTEN_COUNT_MIN = 1000


class _Open(Container[str], Sized, Protocol):
    """The names of waits that have not ended."""


class Timeouts:
    """Tells which waits have taken too long.

    Args:
        waits: Those that have not ended, whoever ended the others.
        expire: Called with the name of one whose time is over.
    """

    def __init__(self, clock: Clock, waits: _Open, expire: Callable[[str], object]) -> None:
        self._clock = clock
        self._monotonic = clock.monotonic
        self._waits = waits
        self._expire = expire
        self._ends: list[tuple[float, str]] = []  # heap of (when, name), some of waits that have ended
        self._alarm: Timer | None = None
        self._alarm_at = math.inf

    def add(self, name: str, at_s: float) -> None:
        """Let a wait end at a time of the monotonic clock."""
        heapq.heappush(self._ends, (at_s, name))
        if at_s < self._alarm_at:
            self._ring_at(at_s)
        if len(self._ends) > 2 * len(self._waits) + _FORGOTTEN_COUNT_MIN:
            self._ends = [end for end in self._ends if end[1] in self._waits]
            heapq.heapify(self._ends)

    def close(self) -> None:
        """Tell nobody any more."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._ends.clear()

    def _ring_at(self, at_s: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at_s
        self._alarm = self._clock.call_later(max(0.0, at_s - self._monotonic()), self._look)

    def _look(self) -> None:
        """Tell who has waited too long; look again when the next one will have."""
        now = max(self._monotonic(), self._alarm_at)  # a timer may be a little early
        self._alarm, self._alarm_at = None, math.inf
        ends, waits = self._ends, self._waits
        while ends and (ends[0][0] <= now or ends[0][1] not in waits):
            _, name = heapq.heappop(ends)
            if name in waits:
                self._expire(name)
        if ends:
            self._ring_at(ends[0][0])
