"""`Room`: keeps what arrives and is not taken yet within bounds.

A partition that is paused loses what the driver has fetched ahead, and gets it again by a fetch of its own: some
hundredths of a second in which a quick handler has nothing to do. So a full partition first makes everything arrive one
record at a time. If that does not help soon, it is paused, and the others have to suffer for it no longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from ..._core.ports import Clock, Timer
from .limits import FULL_S
from .names import Spot
from .place import Place


class Tap(Protocol):
    """By which it arrives: the poller."""

    def trickle(self) -> None:
        """Let records arrive one at a time."""

    def flow(self) -> None:
        """Let them arrive as they come."""

    def pause(self, spot: Spot) -> None:
        """Let nothing more arrive of a partition."""

    def resume(self, spot: Spot) -> None:
        """Let it arrive again."""


class Room:
    """The room that the places of one member have.

    Args:
        places: The member's, which come and go.

    Attributes:
        tap: None: nothing arrives.
        paused: Partitions of which nothing arrives for now.
    """

    def __init__(self, places: Mapping[Spot, Place], *, clock: Clock) -> None:
        self.tap: Tap | None = None
        self.paused: set[Spot] = set()
        self._places = places
        self._clock = clock
        self._patience: Timer | None = None  # while records arrive one at a time

    def arrived(self, places: Iterable[Place]) -> None:
        """Something arrived for these places."""
        if self._patience is None and self.tap is not None and any(place.is_full for place in places):
            self._patience = self._clock.call_later(FULL_S, self._pause)
            self.tap.trickle()

    def taken(self) -> None:
        """Something was taken: let more arrive, if there is room."""
        if self._patience is not None and all(
            place.is_hungry for spot, place in self._places.items() if spot not in self.paused
        ):
            self._flow()
        for spot in [*self.paused]:
            place = self._places.get(spot)
            if self.tap is not None and place is not None and place.is_hungry:
                self.paused.discard(spot)
                self.tap.resume(spot)

    def given(self, spot: Spot) -> None:
        """A partition is ours anew. The driver would go on pausing one that it had to pause before."""
        if spot in self.paused:
            self.paused.discard(spot)
            if self.tap is not None:
                self.tap.resume(spot)

    def close(self) -> None:
        """Nothing arrives any more by this tap; the next one has nothing paused."""
        self.tap = None
        self.paused.clear()
        self._flow()

    def _pause(self) -> None:
        for spot, place in self._places.items():
            if self.tap is not None and spot not in self.paused and not place.is_hungry:
                self.paused.add(spot)
                self.tap.pause(spot)
        self._flow()

    def _flow(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self.tap is not None:
            self.tap.flow()
