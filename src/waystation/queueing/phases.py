"""Handling times of which mean and variation are known, as sums and choices of exponential phases.

Two moments do not make a distribution; these are the fits that the field uses (Tijms, A First Course in Stochastic
Models, 2003, appendix B): a mixture of two Erlang distributions below a coefficient of one, two exponentials with
balanced means above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from .lattice import Events
from .tails import Exponentials, Later, Nothing, Tail, Then

#: Phases that a fit has at most. Ten thousand are a standard deviation of 1 % of the mean; what varies less than that
#: is taken as constant, which makes its p99 too small by 2 % at most.
PHASES_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class ErlangMix:
    """With probability `fewer` the sum of k − 1 exponential phases of this rate, else of k."""

    phases: int
    fewer: float
    rate: float

    @property
    def mean_phases(self) -> float:
        """Mean number of phases."""
        return self.phases - self.fewer


def erlang_mix(mean_s: float, cv2: float) -> ErlangMix:
    """Return the mixture with this mean and squared coefficient of variation, which is above 0 and below 1."""
    phases = max(2, math.ceil(1 / cv2 - 1e-9))
    inside = max(0.0, phases * (1 + cv2) - phases * phases * cv2)
    fewer = min(1.0, max(0.0, (phases * cv2 - math.sqrt(inside)) / (1 + cv2)))
    return ErlangMix(phases, fewer, (phases - fewer) / mean_s)


def two_exponentials(mean_s: float, cv2: float) -> tuple[tuple[float, float], ...]:
    """Return (share, rate) of two exponentials with this mean and squared coefficient, which is 1 or more.

    Balanced: each of the two makes up half of the mean.
    """
    first = (1 + math.sqrt((cv2 - 1) / (cv2 + 1))) / 2
    second = 1 / (2 * (cv2 + 1) * first)  # 1 − first, without losing digits
    return ((first, 2 * first / mean_s), (second, 2 * second / mean_s))


def is_constant(cv2: float) -> bool:
    """Whether a squared coefficient is so small that the time is taken as constant."""
    return cv2 < 1 / PHASES_MAX


def exponential_phases(mean_s: float, cv2: float) -> tuple[tuple[float, float], ...]:
    """Return (share, rate) for a squared coefficient of 1 or more."""
    return ((1.0, 1 / mean_s),) if cv2 == 1 else two_exponentials(mean_s, cv2)


def service_tail(mean_s: float, cv2: float) -> Tail:
    """Return P(S > t) for a handling time of this mean and squared coefficient of variation."""
    if is_constant(cv2):
        return Later(Nothing(), mean_s)
    if cv2 >= 1:
        return Exponentials(exponential_phases(mean_s, cv2))
    mix = erlang_mix(mean_s, cv2)
    return Events(mix.rate, _phase_counts(mix))


def then_handled(share: float, rate: float, mean_s: float, cv2: float) -> Tail:
    """Return P(W + S > t), where a share waits, exponentially with this rate, and S is as in `service_tail`."""
    wait = Exponentials(((share, rate),))
    if is_constant(cv2):
        return Later(wait, mean_s)
    if cv2 >= 1:
        return Then(wait, exponential_phases(mean_s, cv2))
    mix = erlang_mix(mean_s, cv2)
    if rate >= mix.rate:
        return _ShortWait(share, rate, mix)
    # A wait of rate r is a geometric number of phases of the faster rate ν, each the last one with probability r/ν.
    ratio = 1 - rate / mix.rate
    waits = (1.0,) * mix.phases + (1 - mix.fewer + mix.fewer * ratio,)
    at_once = (*_phase_counts(mix), 0.0)
    both = tuple((1 - share) * none + share * some for none, some in zip(at_once, waits, strict=True))
    return Events(mix.rate, both, ((both[-1], ratio),))


def _phase_counts(mix: ErlangMix) -> tuple[float, ...]:
    """Return P(the handling has more than n phases) for n = 0 … k − 1."""
    return (1.0,) * (mix.phases - 1) + (1 - mix.fewer,)


@dataclass(frozen=True, slots=True)
class _ShortWait:
    """A wait that is short beside one phase of the handling: P(S > t) + share·∫ f(s)·e^(−r·(t − s)) ds.

    With ν the rate of a phase, J(k) the integral for k of them and f(k) their density at t, integrating by parts gives
    (r − ν)·J(k) = f(k) − ν·J(k − 1): upward a contraction where r ≥ 2ν, downward where r ≤ 2ν.
    """

    share: float
    rate: float
    mix: ErlangMix

    def exceeds(self, seconds: float) -> float:
        """Return the probability that both together are longer than this."""
        handled = Events(self.mix.rate, _phase_counts(self.mix)).exceeds(seconds)
        if seconds <= 0:
            return handled
        one_less, all_phases = self._integrals(seconds)
        return handled + self.share * (self.mix.fewer * one_less + (1 - self.mix.fewer) * all_phases)

    def _integrals(self, seconds: float) -> tuple[float, float]:
        """Return J(k − 1) and J(k)."""
        phase_rate, phases = self.mix.rate, self.mix.phases
        mean, apart = phase_rate * seconds, self.rate - phase_rate
        before = after = 0.0
        if self.rate >= 2 * phase_rate:
            after = math.exp(-self.rate * seconds)  # J(0): no phase at all
            for number in range(1, phases + 1):
                before, after = after, (phase_rate * _poisson(number - 1, mean) - phase_rate * after) / apart
            return max(0.0, before), max(0.0, after)
        last = phases + math.ceil(mean + 12 * math.sqrt(mean) + 60)
        for number in range(last, phases - 2, -1):  # down to J(k − 1)
            before, after = _poisson(number, mean) - apart / phase_rate * before, before
        return max(0.0, before), max(0.0, after)


def _poisson(number: int, mean: float) -> float:
    """Return the probability of exactly so many where so many are expected in the mean."""
    return math.exp(number * math.log(mean) - mean - math.lgamma(number + 1))
