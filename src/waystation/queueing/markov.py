"""Poisson arrivals, exponential handling times: M/M/1, M/M/c, M/M/c/K, and the loss system M/G/c/c."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Final

from .delays import Delay
from .erlang import SERVERS_MAX, delayed, erlang_b, stable
from .lattice import Events, geometric_sums
from .phases import service_tail
from .result import Queue
from .steps import Step
from .tails import Exponentials, Nothing, Tail, Then
from .trust import Trust, above_zero, whole, zero_or_more
from .units import beside, digits, show_time

RATE = "how many arrive per second"
SERVICE = "the seconds that one takes, such as 0.035"

#: Places to wait in that a finite queue has at most. Its distribution is a list with an entry for each, and beyond a
#: million a limit is no limit: M/M/c says the same.
WAITING_PLACES_MAX: Final = 1_000_000

_MARKOV = "messages arrive independently of each other (Poisson), handling times are exponential"


def mm1(arrivals_per_s: float, service_s: float) -> Queue:
    """Return the queue with one server, M/M/1.

    Wait W = ρ·S / (1 − ρ), time in system T = S / (1 − ρ), P(T > t) = e^(−(1 − ρ)·t / S), with ρ = λ·S.
    Exact. Source: Kleinrock, Queueing Systems I, §3.2.

    Raises:
        ModelError: A rate or a time that is not above zero, or a utilisation of one or more.
    """
    return mmc(arrivals_per_s, service_s, 1)


def mmc(arrivals_per_s: float, service_s: float, servers: int) -> Queue:
    """Return the queue with c servers and no limit, M/M/c (Erlang C).

    With E = λ·S and C = C(c, E): wait W = C·S / (c − E), P(W > t) = C·e^(−(c − E)·t / S), T = W + S.
    Exact. Source: Erlang (1917); Kleinrock, Queueing Systems I, §3.5.

    Raises:
        ModelError: A rate or a time that is not above zero, or a utilisation of one or more.
    """
    rate, service, count = inputs(arrivals_per_s, service_s, servers)
    load, spare = rate * service, count - rate * service
    stable(load, count, f"M/M/{count}")
    waits = delayed(erlang_b(load, count), load, count)
    wait = Exponentials(((waits, spare / service),))
    mean = waits * service / spare
    shown = beside(load, count, 4)
    if count == 1:
        sojourn: Tail = Exponentials(((1.0, spare / service),))
        formulas = ("ρ", shown, "W = ρ·S / (1 − ρ)", f"{shown}·{show_time(service)} / (1 − {shown})")
    else:
        sojourn = Then(wait, ((1.0, 1 / service),))
        formulas = (
            "C(c, E) (Erlang C)",
            f"C({count:,}, {shown})",
            "W = C·S / (c − E)",
            f"{digits(waits)}·{show_time(service)} / ({count:,} − {shown})",
        )
    return Queue(
        model=f"M/M/{count}",
        trust=Trust.EXACT,
        assumes=f"{_MARKOV}, there is room for all",
        source="Erlang 1917; Kleinrock, Queueing Systems I, 1975",
        arrivals_per_s=rate,
        service_s=service,
        servers=count,
        has_to_wait=waits,
        wait=Delay(mean_s=mean, trust=Trust.EXACT, tail=wait, tail_trust=Trust.EXACT),
        sojourn=Delay(
            mean_s=mean + service,
            trust=Trust.EXACT,
            tail=sojourn,
            tail_trust=Trust.EXACT,
        ),
        derivation=(
            Step(name="has to wait", formula=formulas[0], numbers=formulas[1], value=waits, unit="share"),
            Step(name="mean wait", formula=formulas[2], numbers=formulas[3], value=mean, unit="s"),
        ),
    )


def mmck(arrivals_per_s: float, service_s: float, servers: int, places: int) -> Queue:
    """Return the queue with c servers that takes in K messages at most and turns the others away, M/M/c/K.

    State n has weight Eⁿ/n! up to c and a factor E/c for each place beyond; what arrives in state K is lost. Any load
    is allowed, since a full queue does not grow. Times are those of the messages that are taken in.
    Exact. Source: Gross and Harris, Fundamentals of Queueing Theory, §2.5.

    Args:
        places: K, those being handled included; at least `servers`.

    Raises:
        ModelError: A rate or a time that is not above zero, or fewer places than servers.
    """
    rate, service, count = inputs(arrivals_per_s, service_s, servers)
    limit = whole(places, "places", at_least=count, at_most=count + WAITING_PLACES_MAX)
    load, room = rate * service, limit - count
    taken, lost, waiting_on_arrival, queue = _states(load, count, room)
    waits = min(1.0, math.fsum(waiting_on_arrival) / taken)
    more = tuple(reversed(list(accumulate(reversed(waiting_on_arrival)))))
    wait_tail = Events(count / service, tuple(each / taken for each in more) or (0.0,))
    mean = queue * service / (load * taken)
    return Queue(
        model=f"M/M/{count}/{limit}",
        trust=Trust.EXACT,
        assumes=f"{_MARKOV}, what finds {limit:,} in the system is turned away",
        source="Gross and Harris, Fundamentals of Queueing Theory, 1998",
        arrivals_per_s=rate,
        service_s=service,
        servers=count,
        places=limit,
        has_to_wait=waits,
        lost=lost,
        wait=Delay(mean_s=mean, trust=Trust.EXACT, tail=wait_tail, tail_trust=Trust.EXACT),
        sojourn=Delay(
            mean_s=mean + service,
            trust=Trust.EXACT,
            tail=after_handling(wait_tail, count),
            tail_trust=Trust.EXACT,
        ),
        derivation=_finite(load, count, limit, lost, waits, mean),
    )


def _finite(
    load: float, servers: int, places: int, lost: float, waits: float, mean: float
) -> tuple[Step, ...]:
    return (
        Step(
            name="turned away",
            formula="p(K)",
            numbers=f"p({places:,}) at {digits(load, 4)} Erlang",
            value=lost,
            unit="share",
        ),
        Step(
            name="has to wait",
            formula="p(c) + … + p(K − 1), of those taken in",
            numbers=f"p({servers:,}) + … + p({places - 1:,})",
            value=waits,
            unit="share",
        ),
        Step(
            name="mean wait",
            formula="W = Σ (n − c)·p(n) / (λ·(1 − p(K)))",
            numbers="summed over the states",
            value=mean,
            unit="s",
        ),
    )


def loss(arrivals_per_s: float, service_s: float, servers: int, *, service_cv2: float = 1.0) -> Queue:
    """Return the system without room to wait, M/G/c/c (Erlang B): what finds all servers busy is turned away.

    Lost is B(c, E), exact for any distribution of the handling time. Percentiles of the handling time itself are
    fitted from its coefficient of variation, unless that is 0 or 1. Source: Erlang (1917); Sevastyanov (1957).

    Raises:
        ModelError: A rate or a time that is not above zero, or a negative coefficient.
    """
    rate, service, count = inputs(arrivals_per_s, service_s, servers)
    variation = zero_or_more(service_cv2, "service_cv2", "1 for exponential times, 0 for constant ones")
    load = rate * service
    lost = erlang_b(load, count)
    tail_trust = Trust.EXACT if variation in (0, 1) else Trust.APPROXIMATION
    return Queue(
        model=f"M/G/{count}/{count}",
        trust=Trust.EXACT,
        assumes="messages arrive independently of each other (Poisson), what finds no server free is turned away",
        source="Erlang 1917; for any handling time Sevastyanov 1957",
        arrivals_per_s=rate,
        service_s=service,
        servers=count,
        places=count,
        service_cv2=variation,
        has_to_wait=0.0,
        lost=lost,
        wait=Delay(mean_s=0.0, trust=Trust.EXACT, tail=Nothing(), tail_trust=Trust.EXACT),
        sojourn=Delay(
            mean_s=service,
            trust=Trust.EXACT,
            tail=service_tail(service, variation),
            tail_trust=tail_trust,
        ),
        derivation=(
            Step(
                name="turned away",
                formula="B(c, E) (Erlang B)",
                numbers=f"B({count:,}, {digits(load, 4)})",
                value=lost,
                unit="share",
            ),
        ),
    )


def inputs(arrivals_per_s: float, service_s: float, servers: int) -> tuple[float, float, int]:
    """Return what all these models take, checked.

    Raises:
        ModelError: A rate or a time that is not above zero, or a number of servers that is none.
    """
    return (
        above_zero(arrivals_per_s, "arrivals_per_s", RATE),
        above_zero(service_s, "service_s", SERVICE),
        whole(servers, "servers", at_most=SERVERS_MAX),
    )


def after_handling(wait: Events, servers: int) -> Events:
    """Return the time in the system, given the wait, both counted in events of c exponential servers.

    Of c busy servers each finishes next with the same chance, so that whoever is being handled stays for another event
    with probability θ = 1 − 1/c. Idle servers are thought to finish too, which changes nothing for him.
    """
    stays = 1 - 1 / servers
    more = wait.more_than
    handled = 1 - more[0]  # the share that is being handled after so many events, and has not left
    both = []
    for events, waiting in enumerate(more):
        both.append(waiting + handled)
        after = more[events + 1] if events + 1 < len(more) else _next(wait)
        handled = handled * stays + (waiting - after)
    if stays == 0 and not wait.onward:  # one server: whoever is being handled leaves at the next event
        return Events(wait.rate, (*both, handled))
    return Events(wait.rate, tuple(both), _onward(wait, handled, stays))


def _next(wait: Events) -> float:
    return sum(amount * ratio for amount, ratio in wait.onward)


def _onward(wait: Events, handled: float, stays: float) -> tuple[tuple[float, float], ...]:
    """Return how the time in system goes on where the wait's list ends and `handled` are at the next event.

    Those who wait become fewer by y each time, so that what is being handled is a sum of powers of y and of θ:
    h(j) = h(1)·θ^(j−1) + u·(1 − y)·(θ^(j−1)·y + … + y^(j-1)·θ⁰), j events after the end.
    """
    if not wait.onward:
        return ((handled / stays, stays),)
    ((waiting, ratio),) = wait.onward
    if stays == 0:  # one server: who stops waiting now leaves at the next event
        return ((waiting / ratio, ratio),)
    if abs(ratio - stays) < 1e-7 * (1 - ratio):
        stays *= 1 - 1e-6 * (
            1 - ratio
        )  # equal rates would divide by zero; so near, nobody sees the difference
    turned = waiting * ratio * (1 - ratio) / (stays - ratio)
    return ((waiting - turned / ratio, ratio), ((handled + turned) / stays, stays))


def _states(load: float, servers: int, room: int) -> tuple[float, float, list[float], float]:
    """Return the share taken in, the share lost, the shares that find n − c waiting (n < K), and the mean queue.

    Weights are counted from the state with the largest one, so that none overflows: from state c if the load is below
    the number of servers, from state K if it is above.
    """
    lost_at_once, quotient = erlang_b(load, servers), load / servers
    if quotient <= 1:
        plain, weighted = geometric_sums(quotient, room + 1)
        norm = 1 - lost_at_once + lost_at_once * plain
        weight = lost_at_once / norm
        waiting = (
            list(accumulate(range(room - 1), lambda each, _: each * quotient, initial=weight)) if room else []
        )
        lost = weight * quotient**room
        return 1 - lost, lost, waiting, weight * weighted
    inverse = 1 / quotient
    plain, weighted = geometric_sums(inverse, room + 1)
    below = (1 - lost_at_once) * inverse**room
    norm = below + lost_at_once * plain
    weight = lost_at_once / norm
    waiting = list(accumulate(range(room), lambda each, _: each * inverse, initial=weight))[:0:-1]
    return (below + lost_at_once * (plain - 1)) / norm, weight, waiting, weight * (room * plain - weighted)
