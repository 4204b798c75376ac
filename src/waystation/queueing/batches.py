"""Messages that arrive several at a time: M^X/M/c, exactly."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Final, Literal

from .delays import Delay
from .erlang import stable
from .lattice import Events, Window
from .markov import after_handling, inputs
from .result import Queue
from .roots import first_true
from .steps import Step
from .trust import ModelError, Trust, above_zero
from .units import digits, show_rate

#: Messages that a batch has at most, in the mean. A state of the queue costs a microsecond, and there are a few dozen
#: batches of them before the queue's tail is a straight line.
BATCH_MESSAGES_MAX: Final = 10_000

#: A list of states ends when it has gone on geometrically, to 12 digits, for as many states as a batch has messages.
_AGREES: Final = 1e-12

#: Or when what is left of it is too little to matter.
_NEGLIGIBLE: Final = 1e-40

#: Weights are kept below this by scaling all of them down; floats end at 1e308.
_LARGE: Final = 1e200

BatchLaw = Literal["fixed", "geometric"]


def mxmc(
    arrivals_per_s: float,
    service_s: float,
    servers: int,
    *,
    batch: float,
    law: BatchLaw = "fixed",
) -> Queue:
    """Return the queue with c servers to which messages come in batches, M^X/M/c.

    From the flow across each state: β·Σ p(i)·P(X > n − i) = min(n + 1, c)·μ·p(n + 1), with β batches per second, so
    each state follows from those before by positive terms. What a message finds in front of it, its own batch
    included, has the law of what one leaves in front: min(n + 1, c)·p(n + 1) / E.
    Exact. Source: Kabak, Operations Research 16 (1968), for fixed batches; Gross and Harris, §3.1.

    Args:
        arrivals_per_s: Messages, not batches.
        batch: Mean number of messages in a batch; whole, for batches that are all alike.
        law: Whether batches are all alike, or geometric: most of them small, some large.

    Raises:
        ModelError: A rate or a time that is not above zero, a batch below one, or a utilisation of one or more.
    """
    rate, service, count = inputs(arrivals_per_s, service_s, servers)
    size = _batch(batch, law)
    load = rate * service
    name = f"M[{'~' if law == 'geometric' else ''}{size:g}]/M/{count}"
    stable(load, count, name)
    ratio = _ratio(load / count, size, law)
    in_front, after = _in_front(load, count, size, law, ratio)
    more = list(accumulate(reversed(in_front), initial=after))
    more.reverse()  # P(a message waits for more than i departures), and the last entry beyond the list
    wait_tail = Events(count / service, tuple(more[:-1]), ((more[-2], ratio),))
    mean = (math.fsum(more[:-1]) + more[-2] * ratio / (1 - ratio)) * service / count
    return Queue(
        model=name,
        trust=Trust.EXACT,
        assumes="batches arrive independently of each other (Poisson), handling times are exponential",
        source="Kabak, Operations Research 16, 1968; Gross and Harris, 1998",
        arrivals_per_s=rate,
        service_s=service,
        servers=count,
        arrival_cv2=size if law == "fixed" else 2 * size - 1,
        has_to_wait=min(1.0, more[0]),
        wait=Delay(mean_s=mean, trust=Trust.EXACT, tail=wait_tail, tail_trust=Trust.EXACT),
        sojourn=Delay(
            mean_s=mean + service,
            trust=Trust.EXACT,
            tail=after_handling(wait_tail, count),
            tail_trust=Trust.EXACT,
        ),
        derivation=_derivation(rate, size, count, more[0], mean),
    )


def _derivation(rate: float, size: float, servers: int, waits: float, mean: float) -> tuple[Step, ...]:
    return (
        Step(
            name="batches",
            formula="β = λ / b",
            numbers=f"{show_rate(rate)} / {digits(size)}",
            value=rate / size,
            unit="1/s",
        ),
        Step(
            name="has to wait",
            formula="Σ q(n), n ≥ c (q: in front of a message)",
            numbers=f"q({servers:,}) + q({servers + 1:,}) + …",
            value=waits,
            unit="share",
        ),
        Step(
            name="mean wait",
            formula="W = Σ q(n)·(n − c + 1)·S / c",
            numbers="summed over the states",
            value=mean,
            unit="s",
        ),
    )


def _batch(batch: float, law: BatchLaw) -> float:
    """Return the mean batch, checked."""
    size = above_zero(batch, "batch", "the messages in a batch, such as 10")
    if not 1 <= size <= BATCH_MESSAGES_MAX:
        raise ModelError(
            f"a batch has from 1 to {BATCH_MESSAGES_MAX:,} messages",
            found=f"{batch!r} was given",
            instead="give one of these, or describe bursts by arrival_cv2",
        )
    if law == "fixed" and size != int(size):
        raise ModelError(
            "batches that are all alike have a whole number of messages",
            found=f"{batch!r} was given",
            instead="give a whole number, or law='geometric'",
        )
    return size


def _ratio(utilisation: float, size: float, law: BatchLaw) -> float:
    """Return the quotient of neighbouring states, in the end: 1/z with z·Σ P(X > k)·z^k = b / ρ."""
    if law == "geometric":
        return 1 - (1 - utilisation) / size
    if size == 1:
        return utilisation

    def reached(growth: float) -> bool:
        log = math.log1p(growth)
        return size * log > 600 or utilisation * math.expm1(size * log) / growth * (1 + growth) >= size

    return 1 / (1 + first_true(reached, 2 * (1 - utilisation) / size))


class _Alike:
    """Σ p(i)·P(X > n − i) for batches of one size: the last so many states."""

    def __init__(self, size: float) -> None:
        self._window = Window(int(size))

    def push(self, weight: float) -> float:
        """Take in the next state, and return the sum."""
        return self._window.push(weight)

    def scale(self, factor: float) -> None:
        """Multiply all states so far."""
        self._window.scale(factor)


class _Geometric:
    """The same sum for geometric batches, which shrinks by a factor from state to state."""

    def __init__(self, size: float) -> None:
        self._goes_on = 1 - 1 / size
        self._sum = 0.0

    def push(self, weight: float) -> float:
        """Take in the next state, and return the sum."""
        self._sum = self._sum * self._goes_on + weight
        return self._sum

    def scale(self, factor: float) -> None:
        """Multiply all states so far."""
        self._sum *= factor


def _in_front(
    load: float, servers: int, size: float, law: BatchLaw, ratio: float
) -> tuple[list[float], float]:
    """Return q(n) for n = c, c + 1, …, and the sum of those beyond the list, of which each is `ratio` times the last.

    States are weights until all are there; those below c are only added up.
    """
    flow = _Alike(size) if law == "fixed" else _Geometric(size)
    weight = total = 1.0
    kept: list[float] = []
    state = agreeing = 0
    while len(kept) < 2 or (agreeing < size and weight > _NEGLIGIBLE * total):
        state += 1
        following = flow.push(weight) * load / (size * min(state, servers))
        if state > servers and weight > 0:
            agreeing = agreeing + 1 if abs(following / (weight * ratio) - 1) < _AGREES else 0
        if following > _LARGE:
            flow.scale(1 / _LARGE)
            kept = [each / _LARGE for each in kept]
            following, total = following / _LARGE, total / _LARGE
        total += following
        weight = following
        if state >= servers:
            kept.append(weight)
    beyond = weight * ratio / (1 - ratio)
    scale = servers / (load * (total + beyond))
    return [each * scale for each in kept[1:]], beyond * scale
