"""One server and any handling time: M/G/1 (Pollaczek-Khinchine) and M/D/1."""

from __future__ import annotations

from .constant import constant_service
from .delays import Delay
from .erlang import stable
from .markov import inputs, mm1
from .phased import erlang_waits, hyper_waits
from .phases import is_constant
from .result import Queue
from .steps import Step
from .tails import Later, Tail
from .trust import Trust, zero_or_more
from .units import beside, digits, show_time


def mg1(arrivals_per_s: float, service_s: float, *, service_cv2: float) -> Queue:
    """Return the queue with one server and any distribution of the handling time, M/G/1.

    Wait W = ρ·S·(1 + cv²) / (2·(1 − ρ)), with ρ = λ·S (Pollaczek 1930, Khinchine 1932): exact in the mean, for
    every distribution. Percentiles are those of a handling time that is fitted to mean and coefficient, and so an
    approximation, except at 0 (constant) and 1 (exponential).

    Args:
        service_cv2: Variance of the handling time over its squared mean: 0 constant, 1 exponential, above that some
            take much longer than others. `variation` computes it from measured times.

    Raises:
        ModelError: A rate or a time that is not above zero, a negative coefficient, or a utilisation of one or more.
    """
    variation = zero_or_more(service_cv2, "service_cv2", "1 for exponential times, 0 for constant ones")
    rate, service, _ = inputs(arrivals_per_s, service_s, 1)
    stable(rate * service, 1, "M/G/1")
    wait, sojourn, tail_trust = _tails(rate, service, variation)
    load = rate * service
    shown = beside(load, 1, 4)
    mean = load * service * (1 + variation) / (2 * (1 - load))
    return Queue(
        model="M/D/1" if variation == 0 else "M/G/1",
        trust=Trust.EXACT,
        assumes="messages arrive independently of each other (Poisson), handling times are "
        + ("all the same" if variation == 0 else "independent; only their mean and variation count"),
        source="Pollaczek 1930 and Khinchine 1932; Kleinrock, Queueing Systems I, 1975",
        arrivals_per_s=rate,
        service_s=service,
        servers=1,
        service_cv2=variation,
        has_to_wait=load,
        wait=Delay(mean_s=mean, trust=Trust.EXACT, tail=wait, tail_trust=tail_trust),
        sojourn=Delay(mean_s=mean + service, trust=Trust.EXACT, tail=sojourn, tail_trust=tail_trust),
        derivation=(
            Step(name="has to wait", formula="ρ", numbers=shown, value=load, unit="share"),
            Step(
                name="mean wait",
                formula="W = ρ·S·(1 + cv²) / (2·(1 − ρ))",
                numbers=f"{shown}·{show_time(service)}·(1 + {digits(variation)}) / (2·(1 − {shown}))",
                value=mean,
                unit="s",
            ),
        ),
    )


def md1(arrivals_per_s: float, service_s: float) -> Queue:
    """Return the queue with one server whose handling times are all the same, M/D/1.

    Wait W = ρ·S / (2·(1 − ρ)): half that of M/M/1. Exact, percentiles too (Erlang 1909; Franx 2001).

    Raises:
        ModelError: A rate or a time that is not above zero, or a utilisation of one or more.
    """
    return mg1(arrivals_per_s, service_s, service_cv2=0.0)


def _tails(rate: float, service: float, variation: float) -> tuple[Tail, Tail, Trust]:
    """Return wait, time in system, and how far to trust the two."""
    if variation == 1:
        exponential = mm1(rate, service)
        return exponential.wait.tail, exponential.sojourn.tail, Trust.EXACT
    if variation > 1:
        return *hyper_waits(rate, service, variation), Trust.APPROXIMATION
    if is_constant(variation):
        constant = constant_service(rate, service)
        trust = Trust.EXACT if variation == 0 else Trust.APPROXIMATION
        return constant, Later(constant, service), trust
    return *erlang_waits(rate, service, variation), Trust.APPROXIMATION
