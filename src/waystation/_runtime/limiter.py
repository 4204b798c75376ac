"""`rate`: how often the handlers of one subscription begin, in this process. One timer, however many lanes wait."""

from __future__ import annotations

from typing import Final

from .._core.limits import PREFETCH_WORK_S, RATE_SLICE_S
from .._core.ports import Clock, Timer
from .._core.rate import Bucket, Rate
from .lane import Lane

#: Timers are no finer than this, in seconds; a shorter one could find that its time has not come.
_LEAST_S: Final = 0.001


class Limiter:
    """Grants beginnings to lanes, first come, first served."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._clock = clock
        self._bucket = Bucket.full(rate, clock.monotonic())
        self._waiting: dict[Lane, int] = {}  # in the order of their asking, with how much each asked for
        self._least = max(1, int(rate.per_s * PREFETCH_WORK_S / 2))
        self._timer: Timer | None = None

    def take(self, lane: Lane, wanted: int) -> int:
        """Grant up to so many beginnings; if none, the lane is woken when it may ask again."""
        now = self._clock.monotonic()
        granted = min(wanted, self._bucket.available(now))
        if granted:
            self._waiting.pop(lane, None)
            self._bucket = self._bucket.take(granted, now)
        else:
            self._waiting.setdefault(lane, wanted)
            self._wake_later()
        return granted

    def settle(self, unused: int) -> None:
        """Give back what was granted and not used; negative: more was used."""
        self._bucket = self._bucket.take(-unused, self._clock.monotonic())

    def room(self, waiting: int) -> int:
        """Return how many more are worth fetching, besides those that wait: what can begin soon, if that is some."""
        room = self._bucket.soon(self._clock.monotonic(), PREFETCH_WORK_S) - waiting
        return room if room >= self._least else 0

    def wait_s(self, waiting: int) -> float:
        """Return how long it is until there is room."""
        wait_s = self._bucket.wait_s(waiting + self._least, self._clock.monotonic())
        return max(_LEAST_S, wait_s - PREFETCH_WORK_S)

    def close(self) -> None:
        """Wake nobody any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _wake_later(self) -> None:
        """Wake when there is one token, or a little later when there are some: not a timer for each."""
        if self._timer is not None or not self._waiting:
            return
        now = self._clock.monotonic()
        full_s = self._bucket.wait_s(self._bucket.capacity, now)
        delay_s = max(_LEAST_S, self._bucket.wait_s(1, now), min(full_s, RATE_SLICE_S))
        self._timer = self._clock.call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        tokens = self._bucket.available(self._clock.monotonic())
        for lane, wanted in list(self._waiting.items()):
            if tokens <= 0:
                break
            del self._waiting[lane]
            lane.awake.ring()
            tokens -= wanted
        self._wake_later()
