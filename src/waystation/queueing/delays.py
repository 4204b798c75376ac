"""How long something takes, as far as a model knows: the mean, the percentiles, and how far to trust each."""

from __future__ import annotations

from dataclasses import dataclass, field

from .roots import first_true
from .tails import Tail
from .trust import Trust, percent, zero_or_more


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """The time that messages wait, or spend, in a queue.

    Attributes:
        mean_s: The mean, in seconds.
        trust: How far to trust the mean.
        tail: P(T > t), which `exceeds` and `percentile_s` ask.
        tail_trust: How far to trust those two: a mean may be exact where the shape is fitted.
    """

    mean_s: float
    trust: Trust
    tail: Tail = field(repr=False)
    tail_trust: Trust

    def exceeds(self, seconds: float) -> float:
        """Return the share of messages for which it takes longer than this, from 0 to 1.

        Raises:
            ModelError: A negative or infinite time.
        """
        return min(1.0, self.tail.exceeds(zero_or_more(seconds, "a time", "0.2 for 200 ms")))

    def percentile_s(self, percentile: float) -> float:
        """Return the time, in seconds, that is kept by so many messages of a hundred: 99 for the p99.

        Raises:
            ModelError: It is not from 1 to below 100: what all messages stay under is not bounded.
        """
        missed = (100 - percent(percentile)) / 100
        if self.tail.exceeds(0.0) <= missed:
            return 0.0
        return first_true(lambda seconds: self.tail.exceeds(seconds) <= missed, self.mean_s or 1.0)
