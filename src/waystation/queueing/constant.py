"""M/D/1 exactly: Poisson arrivals, one server, handling times that are all the same.

Erlang's formula of 1909 for the wait alternates in sign and loses all its digits beyond a few services or at high
load. Here the number in the system comes first, by a recurrence of positive terms (Ramaswami, Stochastic Models 4,
1988), and the wait from it (Franx, Operations Research Letters 29, 2001): somebody who waits longer than t, with
(k − 1)·D ≤ t < k·D, sees in the k·D − t before the next service more arrivals than the queue may hold:

    P(W > t) = Σ_{j<k} Poisson(j; λ(kD − t))·P(N > k − j) + P(Poisson(λ(kD − t)) ≥ k)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from .roots import first_true

#: States that are computed one by one. The rest go on geometrically to 16 digits, at any utilisation: the second root
#: of the characteristic equation is far from the first.
_STATES: Final = 128


@dataclass(frozen=True, slots=True)
class ConstantService:
    """The wait in M/D/1.

    Attributes:
        rate: Arrivals per second.
        service_s: The time that each handling takes.
        longer: P(N > n) for n = 0, 1, …, where N is the number in the system.
        decay: ln of the quotient of neighbours beyond that list, as a positive number.
    """

    rate: float
    service_s: float
    longer: tuple[float, ...]
    decay: float

    def exceeds(self, seconds: float) -> float:
        """Return the probability that somebody waits longer than this."""
        services = math.floor(seconds / self.service_s) + 1
        until_next = max(0.0, services * self.service_s - seconds)
        arrivals = self.rate * until_next
        weight, terms, seen = math.exp(-arrivals), [], 0
        while seen < services and (weight > 0 or seen == 0):
            terms.append(weight * self._longer(services - seen))
            seen += 1
            weight *= arrivals / seen
        while weight > 0 and len(terms) < _STATES + services:
            terms.append(weight)
            seen += 1
            weight *= arrivals / seen
        return math.fsum(terms)

    def _longer(self, number: int) -> float:
        last = len(self.longer) - 1
        if number <= last:
            return self.longer[number]
        return self.longer[last] * math.exp(-self.decay * (number - last))


def constant_service(arrivals_per_s: float, service_s: float) -> ConstantService:
    """Return the wait in M/D/1; the utilisation must be below one."""
    load = arrivals_per_s * service_s
    decay = _decay(load)
    states = _states(load)
    beyond = states[-1] / math.expm1(decay)
    longer = [beyond]
    for state in reversed(states[1:]):
        longer.append(longer[-1] + state)
    return ConstantService(arrivals_per_s, service_s, tuple(reversed(longer)), decay)


def _decay(load: float) -> float:
    """Return u with e^u − 1 = u / ρ: beyond the first few, each state is e^(−u) times as likely as the one before."""
    return first_true(lambda u: u > 700 or math.expm1(u) / u >= 1 / load, min(1.0, 2 * (1 - load) / load))


def _states(load: float) -> list[float]:
    """Return P(N = n) for n = 0, 1, …, each from those before by adding and multiplying positive numbers only."""
    arriving = [math.exp(-load)]
    for number in range(1, 2 * _STATES):
        arriving.append(arriving[-1] * load / number)
    more = [0.0]
    for each in reversed(arriving[1:]):
        more.append(more[-1] + each)
    more.reverse()  # more[n]: the chance of more than n arrivals during a service
    states = [1 - load]
    for number in range(1, _STATES):
        inflow = states[0] * more[number - 1]
        inflow += math.fsum(states[earlier] * more[number - earlier] for earlier in range(1, number))
        states.append(inflow / arriving[0])
    return states
