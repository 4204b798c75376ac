"""`BusyPoll`: keeps an event loop awake for the moment in which something is about to come.

To fall asleep, and to be woken by the other process, takes two or three times as long as a short answer needs: what was
in the processor's caches is gone, and the core may have to leave a state in which it saves power. So who has asked one
short question looks again and again instead, for a quarter of a millisecond at most. He does that only where what he
waited for last came as quickly, and lets every other thread that wants his core go first.

Measured on two cores, one request after another: 148 µs became 89 (`tcp.rtt.sequential`), and 45 where the server does
the same.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

#: How long to look for something, in seconds: about twice what an answer takes between processes that sleep.
_POLL_S = 250e-6

#: Lets other threads have this core first. Where a system cannot be asked that, nothing is polled for.
_let_others_go_first: Callable[[], None] | None = getattr(os, "sched_yield", None)


class BusyPoll:
    """That of one side of one or many connections, for one event loop.

    Args:
        monotonic: The time, in seconds. The event loop's own stands still within a turn.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._since = 0.0
        self._waiting = self._turning = False
        self._was_quick = False  # what was expected last came in time

    def expect(self) -> None:
        """Something is to come next: look for it, if it is likely to come at once."""
        self._since, self._waiting = self._monotonic(), True
        if self._was_quick and not self._turning and _let_others_go_first is not None:
            self._turning = True
            self._loop.call_soon(self._turn)

    def came(self) -> None:
        """It has come."""
        if self._waiting:
            self._waiting = False
            self._was_quick = self._monotonic() - self._since <= _POLL_S

    def _turn(self) -> None:
        """A loop that has something to call does not sleep: it looks at its sockets, and calls this again."""
        if self._waiting and self._monotonic() - self._since <= _POLL_S:
            assert _let_others_go_first is not None, "it does not begin without"
            _let_others_go_first()
            self._loop.call_soon(self._turn)
        else:
            self._turning = False
