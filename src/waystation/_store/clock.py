"""The store's clock: wall time that never falls, so that a jump backwards cannot end or revive a lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: How fast time passes while the store's clock is ahead of the wall's: delays and leases take twice as long then, and
#: an hour by which the wall's clock was set back is made up for in two.
_PACE_WHEN_AHEAD: Final = 0.5


class StoreClock:
    """Unix seconds, at least as late as anything this process has read or written, and never standing still.

    A jump of the wall's clock forwards ends leases early, which costs duplicates and never a message. After a jump
    backwards time goes on from where it was, at half the pace, until the wall's clock has caught up.

    Args:
        wall: The time of day in Unix seconds, which may jump.
        monotonic: Seconds that never jump.
    """

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._mark = (0.0, monotonic())  # a time that was returned, and when

    def now(self) -> float:
        """Return the time; equal to or later than every time returned before."""
        wall, moment = self._wall(), self._monotonic()
        high, since = self._mark
        at_least = high + (moment - since) * _PACE_WHEN_AHEAD
        if wall < at_least:
            return at_least
        self._mark = (wall, moment)
        return wall

    def raise_to(self, seen: float) -> None:
        """Never return less than `seen`, a time found in the file."""
        if seen > self.now():
            self._mark = (seen, self._monotonic())
