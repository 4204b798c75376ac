"""How likely a time is to be longer than t: sums of exponentials, and of one more service after them.

All terms are positive and nothing is subtracted, so a probability of 1e-12 has as many right digits as one of a half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Tail(Protocol):
    """P(T > t), as a function of t."""

    def exceeds(self, seconds: float) -> float:
        """Return the probability that the time is longer than this."""
        ...


@dataclass(frozen=True, slots=True)
class Nothing:
    """A time that is always zero."""

    def exceeds(self, seconds: float) -> float:
        """Return 0."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Exponentials:
    """P(T > t) = Σ shareᵢ·e^(−rateᵢ·t). Shares that add up to less than one leave the rest at zero.

    Attributes:
        phases: (share, rate per second) of each term.
    """

    phases: tuple[tuple[float, float], ...]

    def exceeds(self, seconds: float) -> float:
        """Return the probability that the time is longer than this."""
        return math.fsum(share * math.exp(-rate * seconds) for share, rate in self.phases)


@dataclass(frozen=True, slots=True)
class Then:
    """One time after another, independent of it: a wait, then one of the phases of `service`.

    Attributes:
        wait: Exponentials, with what is missing from their shares at zero.
        service: (share, rate) of each phase; their shares add up to one.
    """

    wait: Exponentials
    service: tuple[tuple[float, float], ...]

    def exceeds(self, seconds: float) -> float:
        """Return the probability that both together are longer than this."""
        at_once = 1.0 - math.fsum(share for share, _ in self.wait.phases)
        terms = [at_once * share * math.exp(-rate * seconds) for share, rate in self.service]
        for wait_share, wait_rate in self.wait.phases:
            terms += [
                wait_share * share * _two_exponentials(wait_rate, rate, seconds)
                for share, rate in self.service
            ]
        return math.fsum(terms)


@dataclass(frozen=True, slots=True)
class Later:
    """A time that is a constant longer than another."""

    tail: Tail
    shift_s: float

    def exceeds(self, seconds: float) -> float:
        """Return the probability that the time is longer than this."""
        return 1.0 if seconds < self.shift_s else self.tail.exceeds(seconds - self.shift_s)


def _two_exponentials(first: float, second: float, seconds: float) -> float:
    """Return P(A + B > t) for exponential A and B; the usual quotient, written so that equal rates are no exception."""
    slow, apart = min(first, second), abs(first - second)
    both = seconds if apart == 0 else -math.expm1(-apart * seconds) / apart
    return math.exp(-first * seconds) + first * math.exp(-slow * seconds) * both
