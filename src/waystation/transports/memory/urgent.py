"""Messages that overtake others on a group's place, because of their priority."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable

from ..._core.limits import PRIORITY_TURNS_COUNT
from ..._core.message import Message
from .placed import Entry


class Urgent:
    """What one place has beyond its cursor: messages with a priority, and those that were taken ahead of it.

    Used only for topics that have seen a priority.

    Args:
        start: The offset from which on the place reads.
    """

    def __init__(self, start: int) -> None:
        self._ahead: set[int] = set()  # offsets of what was taken, from the cursor on
        self._waiting: list[
            tuple[int, int]
        ] = []  # heap of (-priority, offset), some behind the cursor by now
        self._scanned = start
        self._turns = itertools.count(1)

    def __len__(self) -> int:
        """How many messages from the cursor on were taken already."""
        return len(self._ahead)

    def __contains__(self, offset: int) -> bool:
        """Say whether a message from the cursor on was taken already."""
        return offset in self._ahead

    def choose(self, entries: list[Entry], base: int, cursor: int, count: int) -> list[tuple[int, Entry]]:
        """Return at most `count` messages that go first, with their offsets: none when it is the turn of the oldest.

        Args:
            entries: The topic's, of which the first has the offset `base`. What is in a run has no priority.
        """
        first = max(self._scanned, base)
        for offset, entry in enumerate(entries[first - base :], first):
            if isinstance(entry, Message) and entry.priority:
                heapq.heappush(self._waiting, (-entry.priority, offset))
        self._scanned = base + len(entries)
        chosen: list[tuple[int, Entry]] = []
        if next(self._turns) % PRIORITY_TURNS_COUNT:
            while self._waiting and len(chosen) < count:
                _, offset = heapq.heappop(self._waiting)
                if offset >= cursor:  # else it was taken in its place
                    chosen.append((offset, entries[offset - base]))
                    self._ahead.add(offset)
        return chosen

    def left(self, fresh: Iterable[tuple[int, Entry]]) -> list[tuple[int, Entry]]:
        """Return what was not taken of some messages that the cursor passes."""
        left = []
        for offset, entry in fresh:
            if offset in self._ahead:
                self._ahead.remove(offset)
            else:
                left.append((offset, entry))
        return left

    def skip(self, cursor: int) -> int:
        """Return the next offset that was not taken."""
        while cursor in self._ahead:
            self._ahead.remove(cursor)
            cursor += 1
        return cursor
