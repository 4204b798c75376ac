"""`Spending`: the retry budget of one subscription at work, where handlers fail on the event loop and in threads."""

from __future__ import annotations

import threading

from .._core.budget import RetryBudget
from .._core.delivery import Retry
from .._core.ports import Clock


class Spending:
    """Delays retries for which there is no budget."""

    def __init__(self, share: float, clock: Clock) -> None:
        self._clock = clock
        self._budget = RetryBudget.full(share, clock.monotonic())
        self._lock = threading.Lock()

    def handled(self, count: int) -> None:
        """Take in that messages were handled."""
        with self._lock:
            self._budget = self._budget.handled(count, self._clock.monotonic())

    def retry(self, planned: Retry) -> Retry:
        """Return a retry as it is, or put off until there is budget for it."""
        with self._lock:
            self._budget, extra_s = self._budget.retry(self._clock.monotonic())
        if not extra_s:
            return planned
        reason = f"{planned.reason}; {extra_s:.3g} s later than planned, since the retry budget is used up"
        return Retry(planned.delay_s + extra_s, reason)
