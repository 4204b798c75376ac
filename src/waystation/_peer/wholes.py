"""`Wholes`: what all peers have under way in large frames, which a server keeps until they are complete.

There is a budget. Beyond it nothing is read for now from those who began last, and they go on when others are done: a
client that sends something large is slowed down, not sent away. One of them is always read from, however large.
"""

from __future__ import annotations

import asyncio

from .._core.limits import STALL_BYTES_MAX
from .line import Line


class Wholes:
    """For all lines of one server.

    Args:
        bytes_max: The budget, in bytes as they were announced.
        stall_s: How long one that is read from may have something under way without moving on, in seconds.
    """

    def __init__(self, bytes_max: int, stall_s: float) -> None:
        self._bytes_max, self._stall_s = bytes_max, stall_s
        self._loop = asyncio.get_running_loop()
        self._moving: dict[Line, _Load] = {}
        self._held: dict[Line, _Load] = {}
        self._bytes = 0  # of those that are read from

    def weigh(self, line: Line) -> None:
        """Take in that something large has begun on a line, or is complete."""
        load = self._held.get(line)
        if load is not None:
            load.size = line.whole_bytes  # what had been read already
            return
        load = self._moving.get(line)
        if load is None:
            load = self._moving[line] = _Load(line, self._loop.time())
        grown = line.whole_bytes - load.size
        load.size += grown
        self._bytes += grown
        if not load.size:
            del self._moving[line]
        elif grown > 0 and self._bytes > self._bytes_max and len(self._moving) > 1:
            self._held[line] = self._moving.pop(line)
            self._bytes -= load.size
            line.hold()
        self._let_go()

    def forget(self, line: Line) -> None:
        """A line has ended, and with it what was under way on it."""
        self._held.pop(line, None)
        load = self._moving.pop(line, None)
        if load is not None:
            self._bytes -= load.size
            self._let_go()

    def stalled(self) -> list[Line]:
        """Return lines on which something large does not move on. To be asked often."""
        now = self._loop.time()
        return [line for line, load in self._moving.items() if load.rests_s(line, now) > self._stall_s]

    def _let_go(self) -> None:
        """Read again from those for whom there is room now."""
        while self._held:
            line, load = next(iter(self._held.items()))
            if self._moving and self._bytes + load.size > self._bytes_max:
                return
            self._moving[line] = self._held.pop(line)
            self._bytes += load.size
            load.moved(line, self._loop.time())
            line.go_on()


class _Load:
    """What is under way on one line, and when it moved on last."""

    __slots__ = ("_at", "_heard_bytes", "size")

    def __init__(self, line: Line, now: float) -> None:
        self.size = 0
        self._at, self._heard_bytes = now, line.heard_bytes

    def moved(self, line: Line, now: float) -> None:
        """It has moved on."""
        self._at, self._heard_bytes = now, line.heard_bytes

    def rests_s(self, line: Line, now: float) -> float:
        """Return since when too little has come, in seconds."""
        if line.heard_bytes >= self._heard_bytes + STALL_BYTES_MAX:
            self.moved(line, now)
        return now - self._at
