"""The store's clock: wall time that never falls, so that a jump backwards cannot end or revive a lease."""

from __future__ import annotations

from collections.abc import Callable


class StoreClock:
    """Unix seconds, at least as late as anything this process has read or written.

    A jump forwards ends leases early, which costs duplicates and never a message.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._high = 0.0

    def now(self) -> float:
        """Return the time; equal to or later than every time returned before."""
        self._high = max(self._wall(), self._high)
        return self._high

    def raise_to(self, seen: float) -> None:
        """Never return less than `seen`, a time found in the file."""
        self._high = max(seen, self._high)
