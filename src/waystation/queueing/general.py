"""Several servers, any arrivals, any handling time: G/G/c, approximately (Allen-Cunneen), and what bounds it."""

from __future__ import annotations

import math

from .delays import Delay
from .erlang import delayed, erlang_b, stable
from .markov import inputs
from .phases import service_tail, then_handled
from .result import Queue
from .steps import Step
from .tails import Exponentials, Nothing, Tail
from .trust import Trust, zero_or_more
from .units import beside, digits, show_time
from .whitt import waiting_share


def ggc(
    arrivals_per_s: float, service_s: float, servers: int, *, arrival_cv2: float, service_cv2: float
) -> Queue:
    """Return the queue with c servers, any arrivals and any handling time, G/G/c.

    Wait W ≈ g·C·S / (c − E) · (ca² + cs²) / 2: the wait of M/M/c times the mean of the two coefficients of variation
    (Allen and Cunneen; Allen, Probability, Statistics, and Queueing Theory, 1990, §5.3), and for arrivals that are
    steadier than Poisson times g = e^(−2·(1 − ρ)·(1 − ca²)² / (3·ρ·(ca² + cs²))) (Krämer and Langenbach-Belz, 1976).
    Exact for M/M/c and in the mean for M/G/1; elsewhere good at high utilisation and rough at low, where there is
    little to wait anyway. How many have to wait is Whitt's approximation; the tail is taken as exponential. With one
    server the mean is never above Daley's bound, S·((2 − ρ)·ca² + ρ·cs²) / (2·(1 − ρ)) (Daley 1977), which is
    `wait_bound_s`.

    Args:
        arrival_cv2: Squared coefficient of variation of the time between arrivals: 1 Poisson, 0 a clock; bursts more.
        service_cv2: The same of the handling time: 1 exponential, 0 constant.

    Raises:
        ModelError: A rate or a time that is not above zero, a negative coefficient, or a utilisation of one or more.
    """
    rate, service, count = inputs(arrivals_per_s, service_s, servers)
    arrivals = zero_or_more(arrival_cv2, "arrival_cv2", "1 for independent arrivals, 0 for a clock")
    handling = zero_or_more(service_cv2, "service_cv2", "1 for exponential times, 0 for constant ones")
    load = rate * service
    stable(load, count, f"G/G/{count}")
    erlang = delayed(erlang_b(load, count), load, count)
    steadier = _steadier(load / count, arrivals, handling)
    variation = steadier * (arrivals + handling) / 2
    mean = erlang * service / (count - load) * variation
    waits = waiting_share(erlang, load / count, count, arrivals, handling) if mean else 0.0
    wait, sojourn = _tails(waits, mean, service, handling)
    trust = Trust.EXACT if arrivals == handling == 1 or not variation else Trust.APPROXIMATION
    bound = service * ((2 - load) * arrivals + load * handling) / (2 * (1 - load)) if count == 1 else None
    return Queue(
        model=f"G/G/{count}",
        trust=trust,
        assumes="times between arrivals and handling times are independent; their means and variations count",
        source="Allen and Cunneen, in Allen, Probability, Statistics, and Queueing Theory, 1990",
        arrivals_per_s=rate,
        service_s=service,
        servers=count,
        arrival_cv2=arrivals,
        service_cv2=handling,
        has_to_wait=waits,
        wait=Delay(mean_s=mean, trust=trust, tail=wait, tail_trust=trust),
        sojourn=Delay(mean_s=mean + service, trust=trust, tail=sojourn, tail_trust=trust),
        derivation=_derivation(
            load, service, count, (erlang, waits), (arrivals, handling, steadier), mean, trust, bound
        ),
        wait_bound_s=bound,
    )


def _steadier(utilisation: float, arrivals: float, handling: float) -> float:
    """Return g, by which arrivals that are steadier than Poisson wait less."""
    if arrivals >= 1:
        return 1.0
    if arrivals + handling == 0:
        return 0.0
    exponent = 2 * (1 - utilisation) * (1 - arrivals) ** 2 / (3 * utilisation * (arrivals + handling))
    return math.exp(-exponent) if exponent < 700 else 0.0


def _tails(waits: float, mean: float, service: float, handling: float) -> tuple[Tail, Tail]:
    """Return wait and time in system, where those who wait do so for an exponential time."""
    if not mean:
        return Nothing(), service_tail(service, handling)
    return Exponentials(((waits, waits / mean),)), then_handled(waits, waits / mean, service, handling)


def _derivation(
    load: float,
    service: float,
    servers: int,
    shares: tuple[float, float],
    variations: tuple[float, float, float],
    mean: float,
    trust: Trust,
    bound: float | None,
) -> tuple[Step, ...]:
    arrivals, handling, steadier = variations
    erlang, waits = shares
    factor = ("", "") if steadier == 1 else ("g·", f"{digits(steadier)}·")
    steps = [
        Step(
            name="all consumers busy, in M/M/c",
            formula="C(c, E) (Erlang C)",
            numbers=f"C({servers:,}, {beside(load, servers, 4)})",
            value=erlang,
            unit="share",
        ),
        Step(
            name="has to wait",
            formula="C, corrected (Whitt 1993)",
            numbers=f"ca² = {digits(arrivals)}, cs² = {digits(handling)}",
            value=waits,
            unit="share",
            trust=trust,
        ),
        Step(
            name="mean wait",
            formula=f"W = {factor[0]}C·S / (c − E)·(ca² + cs²) / 2",
            numbers=f"{factor[1]}{digits(erlang)}·{show_time(service)} / ({servers:,} − {beside(load, servers, 4)})"
            f"·({digits(arrivals)} + {digits(handling)}) / 2",
            value=mean,
            unit="s",
            trust=trust,
        ),
    ]
    if bound is not None:
        rho = beside(load, 1, 4)
        steps.append(
            Step(
                name="mean wait at most",
                formula="S·((2 − ρ)·ca² + ρ·cs²) / (2·(1 − ρ)) (Daley)",
                numbers=f"{show_time(service)}·((2 − {rho})·{digits(arrivals)} + {rho}·{digits(handling)})"
                f" / (2·(1 − {rho}))",
                value=bound,
                unit="s",
                trust=Trust.BOUND,
            )
        )
    return tuple(steps)
