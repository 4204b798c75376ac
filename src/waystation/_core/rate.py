"""How many may begin in a time: a token bucket. Pure; whoever asks brings the time.

Tokens come in evenly, up to what the bucket holds; each beginning takes one. A bucket may be in debt: what could not be
counted beforehand is paid for afterwards. In any time of t seconds at most `burst + t * rate` begin, debts apart.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from .duration import Duration, seconds
from .errors import ConfigurationError
from .limits import RATE_BURST_S

_TEXT = re.compile(r"\s*([0-9]{1,12})\s*/\s*((?:[0-9]{1,12}(?:\.[0-9]{1,9})?)?\s*(?:ms|s|m|h|d))\s*")

#: Rounding may leave a token this short of being whole.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many in so long: `Rate(100, "1s")`, or as text `"100/s"`, `"10/m"`, `"500/15m"`.

    Args:
        count: How many (1 or more).
        per: In how long.
        burst: How many may begin at once after a rest (1 or more); None: what comes in a tenth of a second.

    Raises:
        ConfigurationError: A number is out of range.
    """

    count: int
    per: Duration = 1
    burst: int | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or not seconds(self.per, name="per"):
            raise ConfigurationError(
                f"a rate of {self.count} in {self.per!r} lets nothing begin, or everything"
            )
        if self.burst is not None and self.burst < 1:
            raise ConfigurationError(f"burst={self.burst} must be 1 or more")

    @classmethod
    def of(cls, rate: Rate | str) -> Rate:
        """Return a rate that may be written as text.

        Raises:
            ConfigurationError: It is not one.
        """
        if isinstance(rate, Rate):
            return rate
        match = _TEXT.fullmatch(rate) if isinstance(rate, str) else None
        if match is None:
            raise ConfigurationError(f"rate={rate!r} is not a rate: write '100/s', '10/m' or '500/15m'")
        unit = match[2].replace(" ", "")
        return cls(int(match[1]), unit if unit[0].isdigit() else f"1{unit}")

    @property
    def per_s(self) -> float:
        """How many a second."""
        return self.count / seconds(self.per)

    @property
    def capacity(self) -> int:
        """What a full bucket holds."""
        return self.burst or max(1, int(self.per_s * RATE_BURST_S))


@dataclass(frozen=True, slots=True)
class Bucket:
    """What may begin.

    Attributes:
        per_s: Tokens that come in a second.
        capacity: Tokens it holds at most.
        tokens: How many it held; below zero: a debt.
        at_s: When, by the monotonic clock.
    """

    per_s: float
    capacity: float
    tokens: float
    at_s: float

    @classmethod
    def full(cls, rate: Rate, now_s: float) -> Bucket:
        """Return a bucket after a rest."""
        return cls(rate.per_s, rate.capacity, rate.capacity, now_s)

    def take(self, count: float, now_s: float) -> Bucket:
        """Take tokens, whether they are there or not; with a negative count give some back."""
        return replace(self, tokens=min(self.capacity, self._held(now_s) - count), at_s=now_s)

    def available(self, now_s: float) -> int:
        """Return how many tokens can be taken now without a debt."""
        return max(0, math.floor(self._held(now_s) + _ROUNDING))

    def soon(self, now_s: float, horizon_s: float) -> int:
        """Return how many can be taken from now until then: what is worth being held ready."""
        return max(0, math.floor(self._held(now_s) + self.per_s * horizon_s + _ROUNDING))

    def wait_s(self, count: float, now_s: float) -> float:
        """Return how long it is until so many tokens have come in, whether it can hold them or not."""
        return max(0.0, (count - self._held(now_s)) / self.per_s)

    def _held(self, now_s: float) -> float:
        return min(self.capacity, self.tokens + max(0.0, now_s - self.at_s) * self.per_s)
