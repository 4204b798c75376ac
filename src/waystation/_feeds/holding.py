"""`Holding`: what of a topic or partition must come again, or waits behind an earlier message of its key.

Deliveries of a key that are in flight belong to one receiver, which handles them in order. While another receiver has
the key, or an earlier message of it must come again, its messages are parked and let out one at a time, the earliest
first.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Generic, Protocol, TypeVar

import msgspec

from .._core.message import Message

#: Fresh deliveries are numbered by their offset, held messages from here upwards, so that the two never meet.
_HELD_FROM = -(2**62)


class Held(Protocol):
    """A message that is held."""

    @property
    def offset(self) -> int:
        """Its place among others; lower comes first."""

    @property
    def message(self) -> Message:
        """It, with its key."""

    @property
    def due(self) -> float:
        """When it may be taken, by the monotonic clock."""


H = TypeVar("H", bound=Held)


class _Key(msgspec.Struct):
    """A key with `out` messages let out or in flight, at `owner`; the others are parked, a heap of (offset, number).

    A Struct because there is one for each key in flight, and msgspec builds it several times faster than Python would.
    """

    owner: object
    out: int
    parked: list[tuple[int, int]] = []


class Holding(Generic[H]):
    """Held messages: each is ready, or waits for its time, or is parked, or is in somebody's hands.

    Args:
        ordered: Whether messages of one key keep their order.
    """

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self._held: dict[int, H] = {}
        self._ready: list[tuple[int, int]] = []  # heap of (offset, number)
        self._waiting: list[tuple[float, int]] = []  # heap of (due, number)
        self._keys: dict[str, _Key] = {}
        self._numbers = itertools.count(_HELD_FROM)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def all(self) -> list[H]:
        """All of them."""
        return list(self._held.values())

    @property
    def ready(self) -> int:
        """How many could be taken now."""
        return len(self._ready)

    @property
    def waiting(self) -> int:
        """How many wait for their time, or behind an earlier one of their key."""
        return len(self._waiting) + sum(len(key.parked) for key in self._keys.values())

    @property
    def next_due(self) -> float:
        """When the next waiting message is due, by the monotonic clock; infinity if none waits."""
        return self._waiting[0][0] if self._waiting else math.inf

    # --- coming and going ------------------------------------------------------------------------------------

    def enter(self, held: H, now: float) -> None:
        """Hold a message, which gets a number."""
        number = next(self._numbers)
        self._held[number] = held
        name = held.message.key
        if name is None or not self.ordered:
            self._let_out(number, held, now)
            return
        key = self._keys.setdefault(name, _Key(None, 0))
        heapq.heappush(key.parked, (held.offset, number))
        if not key.out:
            self._let_out_first(name, key, now)

    def take(self, owner: object) -> tuple[int, H] | None:
        """Return the ready message that is next, with its number; None: none is ready."""
        if not self._ready:
            return None
        _, number = heapq.heappop(self._ready)
        held = self._held[number]
        if held.message.key is not None and self.ordered:
            self._keys[held.message.key].owner = owner
        return number, held

    def __getitem__(self, number: int) -> H:
        return self._held[number]

    def remove(self, number: int) -> None:
        """Hold a message no more, which was taken."""
        del self._held[number]

    def clear(self) -> None:
        """Hold nothing."""
        self._held, self._ready, self._waiting, self._keys = {}, [], [], {}

    def tick(self, now: float) -> None:
        """Make ready what is due."""
        while self._waiting and self._waiting[0][0] <= now:
            _, number = heapq.heappop(self._waiting)
            heapq.heappush(self._ready, (self._held[number].offset, number))

    @property
    def has_keys(self) -> bool:
        """Whether anything of any key is in flight, or held."""
        return bool(self._keys)

    def has_key(self, name: str) -> bool:
        """Say whether anything of a key is."""
        return name in self._keys

    # --- keys ------------------------------------------------------------------------------------------------

    def lets_out(self, name: str, owner: object) -> bool:
        """Say whether a fresh message of a key may go to a receiver, and count it; False: it must be held."""
        key = self._keys.get(name)
        if key is None:
            self._keys[name] = _Key(owner, 1)
        elif key.owner is owner and not key.parked:
            key.out += 1
        else:
            return False
        return True

    def leave(self, name: str, now: float) -> None:
        """A delivery of a key has ended; after the last one in flight, its first parked message is let out."""
        key = self._keys[name]
        key.out -= 1
        if not key.out:
            self._let_out_first(name, key, now)

    def _let_out_first(self, name: str, key: _Key, now: float) -> None:
        if not key.parked:
            del self._keys[name]
            return
        _, number = heapq.heappop(key.parked)
        key.owner, key.out = None, 1
        self._let_out(number, self._held[number], now)

    def _let_out(self, number: int, held: H, now: float) -> None:
        if held.due > now:
            heapq.heappush(self._waiting, (held.due, number))
        else:
            heapq.heappush(self._ready, (held.offset, number))
