"""`max_duration`: the most that one call of a handler may take.

One timer for each lane, not for each call: it looks when the call that runs began. A call that has taken too long is
cancelled where it waits. What cannot be cancelled goes on to its end, its lane with it, and has failed all the same: a
plain function in a thread, and a handler that catches its cancellation.
"""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import Any

from .._core.delivery import Delivery
from .._core.errors import HandlerTimeout
from .._core.ports import Clock, Handler, Timer
from .lane import LANE, Lane

_log = logging.getLogger("waystation.consumer")


class Deadline:
    """Watches the lanes of one subscription.

    Args:
        limit_s: The most that a call may take, in seconds.
        name: The subscription, for the log.
    """

    def __init__(self, limit_s: float, clock: Clock, name: str) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._name = name
        self._timers: dict[Lane, Timer] = {}

    def around(self, handler: Handler) -> Handler:
        """Wrap a handler and its middleware: the outermost middleware of all."""

        async def call(delivery: Delivery, body: Any) -> Any:
            lane = LANE.get()
            lane.began = began = self._clock.monotonic()
            try:
                result = await handler(delivery, body)
            finally:
                lane.began = math.inf
            self._check(began)
            return result

        return call

    def watch(self, lane: Lane) -> None:
        """Watch a lane until it is found idle. Called before each of its runs, on the event loop."""
        if lane not in self._timers:
            self._look_after(lane, self._limit_s)

    def close(self) -> None:
        """Watch no more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _look(self, lane: Lane) -> None:
        """Interrupt a call that has taken too long; look again when the one that runs now will have."""
        if not lane.taken:
            del self._timers[lane]
            return
        left_s = self._limit_s - (self._clock.monotonic() - lane.began)
        if left_s <= 0:
            _log.warning("%s: %s", self._name, self._error(), extra={"subscription": self._name})
            lane.interrupt(self._error())
            lane.began = math.inf
            left_s = self._limit_s
        self._look_after(lane, min(left_s, self._limit_s))

    def _look_after(self, lane: Lane, delay_s: float) -> None:
        self._timers[lane] = self._clock.call_later(delay_s, partial(self._look, lane))

    def _check(self, began: float) -> None:
        """Refuse the result of a call that came too late: others may have been told that it failed."""
        if self._clock.monotonic() - began >= self._limit_s:
            raise self._error()

    def _error(self) -> HandlerTimeout:
        return HandlerTimeout(f"it ran longer than max_duration={self._limit_s:g} s", limit_s=self._limit_s)
