"""Times that are counted in events: how long until the n-th of events that come at random.

Many waits are of this kind: so many customers are in front, and one leaves every now and then, at rate r. The number of
events in t is Poisson, so

    P(T > t) = Σ Poisson(i; r·t) · P(T takes more than i events),

a sum of positive terms ("uniformisation"; Jensen, Skandinavisk Aktuarietidskrift 36, 1953). What is needed of the
second factor is a list, and how it goes on after its end: geometrically, in all the queues here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Standard deviations of a Poisson count below its mean under which next to nothing of it lies: less than 1e-30.
_DEVIATIONS: Final = 12.0

#: What a sum may miss, as a share of it.
_NEGLIGIBLE: Final = 1e-17


@dataclass(frozen=True, slots=True)
class Events:
    """A time of a random number of events.

    Attributes:
        rate: Events per second.
        more_than: P(more than i events), for i = 0, 1, … to the end of the list.
        onward: (amount, ratio) of each geometric term by which it goes on: i places after the last entry of the list
            the probability is the sum of amount·ratio^i. Empty: nothing comes after the list.
    """

    rate: float
    more_than: tuple[float, ...]
    onward: tuple[tuple[float, float], ...] = ()

    def exceeds(self, seconds: float) -> float:
        """Return the probability that the time is longer than this."""
        mean, last = self.rate * seconds, len(self.more_than) - 1
        if mean <= 0:
            return self.more_than[0]
        slowest = min([ratio for _, ratio in self.onward if ratio > 0], default=0.0)
        if slowest and mean * slowest - _DEVIATIONS * math.sqrt(mean * slowest) - 30 > last:
            return math.fsum(_far(mean, last, amount, ratio) for amount, ratio in self.onward)
        return self._near(mean, last)

    def _near(self, mean: float, last: int) -> float:
        """Sum term by term, from the middle of the Poisson distribution to both sides, until no more can matter.

        What is left out on a side is at most the Poisson weights there, which shrink faster than geometrically, times
        the largest of the other factors there, which is the first.
        """
        middle = int(mean) if self.onward else min(int(mean), last)
        start = math.exp(middle * math.log(mean) - mean - math.lgamma(middle + 1))
        total, weight, events = 0.0, start, middle
        while self.onward or events <= last:
            more = self._more(events, last)
            total += weight * more
            events += 1
            weight *= mean / events
            if weight * more <= _NEGLIGIBLE * total * (1 - mean / (events + 1)):
                break
        weight, largest = start, self.more_than[0]
        for events in range(middle, 0, -1):
            weight *= events / mean
            total += weight * self._more(events - 1, last)
            if weight * largest * events <= _NEGLIGIBLE * total * (mean - events + 1):
                break
        return total

    def _more(self, events: int, last: int) -> float:
        if events <= last:
            return self.more_than[events]
        return math.fsum(amount * ratio ** (events - last) for amount, ratio in self.onward)


def geometric_sums(ratio: float, count: int) -> tuple[float, float]:
    """Return Σ x^j and Σ j·x^j for j from 0 to below `count`, for 0 ≤ x ≤ 1, by doubling.

    The closed forms divide by 1 − x and lose all their digits near one; here every term is positive.
    """
    plain, weighted, power, terms = 0.0, 0.0, 1.0, 0
    for bit in f"{count:b}":
        plain, weighted = plain * (1 + power), weighted * (1 + power) + terms * power * plain
        power, terms = power * power, 2 * terms
        if bit == "1":
            plain, weighted = plain + power, weighted + terms * power
            power, terms = power * ratio, terms + 1
    return plain, weighted


class Window:
    """The sum of the last so many numbers, made by adding only: a running sum that subtracts loses small numbers."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._older: Sequence[float] = ()
        self._newer: list[float] = []
        self._sum_newer = 0.0

    def push(self, value: float) -> float:
        """Take in a number, forget the oldest, and return the sum."""
        if len(self._newer) == self._length:
            sums, total = [], 0.0
            for each in reversed(self._newer):
                total += each
                sums.append(total)
            self._older = sums  # of the newest, the two newest, …
            self._newer, self._sum_newer = [], 0.0
        self._newer.append(value)
        self._sum_newer += value
        left = self._length - len(self._newer)
        return self._sum_newer + (self._older[left - 1] if self._older and left > 0 else 0.0)

    def scale(self, factor: float) -> None:
        """Multiply every number in it, and the sum."""
        self._older = [each * factor for each in self._older]
        self._newer = [each * factor for each in self._newer]
        self._sum_newer *= factor


def _far(mean: float, last: int, amount: float, ratio: float) -> float:
    """Return Σ Poisson(i; m)·amount·ratio^(i − last), over all i, where the list's part of it is nothing."""
    if ratio == 0 or amount == 0:
        return 0.0
    exponent = -mean * (1 - ratio) - last * math.log(ratio)
    return amount * math.exp(exponent) if exponent > -745 else 0.0
