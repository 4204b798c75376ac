"""The wait in M/G/1 where the handling time is made of exponential phases: exact for it, whatever it was fitted to."""

from __future__ import annotations

import math
from typing import Final

from .lattice import Events, Window
from .phases import ErlangMix, erlang_mix, two_exponentials
from .roots import first_true
from .tails import Exponentials, Then

#: A list ends when it has gone on geometrically, to 12 digits, for as many places as a service has phases.
_AGREES: Final = 1e-12

#: Or when what is left of it is too little to matter.
_NEGLIGIBLE: Final = 1e-40


def erlang_waits(arrivals_per_s: float, service_s: float, cv2: float) -> tuple[Events, Events]:
    """Return wait and time in system for a coefficient between 0 and 1.

    The wait of M/G/1 is a geometric number of residual services (Pollaczek and Khinchine), and residual services of
    an Erlang mixture are numbers of phases. So the wait is a number of phases too; P(more than n) comes from those
    before by the renewal equation T(n) = ρ·R(n) + ρ·Σ e(i)·T(n − i), where e is the residual service in phases and
    R(n) = P(it has more than n).
    """
    mix = erlang_mix(service_s, cv2)
    load = arrivals_per_s * service_s
    ratio = 1 / (1 + _growth(mix, load))
    more = _more_phases(mix, load, ratio)
    wait = Events(mix.rate, tuple(more), ((more[-1], ratio),))

    def before(number: int) -> float:
        return (
            1.0
            if number < 0
            else more[number]
            if number < len(more)
            else more[-1] * ratio ** (number - len(more) + 1)
        )

    both = tuple(
        mix.fewer * before(number - mix.phases + 1) + (1 - mix.fewer) * before(number - mix.phases)
        for number in range(len(more) + mix.phases)
    )
    return wait, Events(mix.rate, both, ((both[-1], ratio),))


def hyper_waits(arrivals_per_s: float, service_s: float, cv2: float) -> tuple[Exponentials, Then]:
    """Return wait and time in system for a coefficient above 1: sums of exponentials, from a quadratic equation."""
    service = two_exponentials(service_s, cv2)
    load = arrivals_per_s * service_s
    (_, first), (_, second) = service
    half = (first + second) * (1 - load / 2)
    product = first * second * (1 - load)
    fast = (half + math.sqrt(max(0.0, half * half - 4 * product))) / 2
    slow = product / fast
    mean_s = load * service_s * (1 + cv2) / (2 * (1 - load))
    slow_share = min(load, (mean_s - load / fast) / (1 / slow - 1 / fast))
    wait = Exponentials(((slow_share, slow), (load - slow_share, fast)))
    return wait, Then(wait, service)


def _growth(mix: ErlangMix, load: float) -> float:
    """Return z − 1 with ρ·Σ e(i)·zⁱ = 1: the wait's phases become rarer by 1/z each, in the end."""

    def reached(growth: float) -> bool:
        log = math.log1p(growth)
        if mix.phases * log > 600:
            return True
        whole = math.expm1((mix.phases - 1) * log) / growth * (1 + growth)
        last = (1 - mix.fewer) * math.exp(mix.phases * log)
        return load * (whole + last) >= mix.mean_phases

    return first_true(reached, 2 * (1 - load) / mix.phases)


def _more_phases(mix: ErlangMix, load: float, ratio: float) -> list[float]:
    """Return P(the wait has more than n phases) for n = 0, 1, … until it goes on geometrically."""
    share = load / mix.mean_phases
    full, last = Window(mix.phases - 1), (1 - mix.fewer) * share
    more = [load]
    recent, agreeing = full.push(load), 0
    while agreeing < mix.phases and more[-1] > _NEGLIGIBLE:
        number = len(more)
        residual = max(0.0, mix.phases - 1 - number) * share + (last if number < mix.phases else 0.0)
        older = more[number - mix.phases] * last if number >= mix.phases else 0.0
        more.append(residual + share * recent + older)
        recent = full.push(more[-1])
        agreeing = agreeing + 1 if abs(more[-1] / (more[-2] * ratio) - 1) < _AGREES else 0
    return more
