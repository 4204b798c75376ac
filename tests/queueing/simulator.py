"""Queues played by ciw, a simulator that others wrote, with confidence intervals for what it measures.

A run is cut into batches of arrivals, after a tenth of it for the queue to fill, and their means are taken as
independent: with few batches that are long beside the queue's memory they nearly are (Law, Simulation Modeling and
Analysis, §9.5.3).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import ciw

from waystation.queueing import Queue

BATCHES = 10

#: Student's t for ten batches, two-sided, at 99.9 %: a suite with a hundred intervals is to be right in all of them.
STUDENT_T = 4.781


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured mean, and how far it may be off."""

    mean: float
    half: float

    def holds(self, value: float) -> bool:
        """Whether a value lies within the interval."""
        return abs(value - self.mean) <= self.half

    @property
    def relative(self) -> float:
        """Half of the width, as a share of the mean."""
        return self.half / self.mean if self.mean else math.inf


@dataclass(frozen=True, slots=True)
class Customer:
    """One message: how long it waited, how long it stayed, and whether it was turned away."""

    waited_s: float
    stayed_s: float
    lost: bool


def arriving(cv2: float) -> Callable[[float], Any]:
    """Return what makes a distribution of this squared coefficient, given its mean."""

    def made(mean: float) -> Any:
        if cv2 == 0:
            return ciw.dists.Deterministic(mean)
        if cv2 == 1:
            return ciw.dists.Exponential(1 / mean)
        if cv2 < 1:
            phases = round(1 / cv2)
            assert math.isclose(phases * cv2, 1), "an Erlang distribution has a whole number of phases"
            return ciw.dists.Erlang(phases / mean, phases)
        first = (1 + math.sqrt((cv2 - 1) / (cv2 + 1))) / 2
        shares = [first, 1 - first]
        return ciw.dists.HyperExponential([2 * share / mean for share in shares], shares)

    return made


def batches_of(found: Queue) -> Any:
    """Return ciw's distribution of the batches that a model's name tells: `M[4]/M/2`, `M[~4]/M/2`."""
    if "[" not in found.model:
        return None
    size = found.model.partition("[")[2].partition("]")[0]
    if size.startswith("~"):
        return ciw.dists.Geometric(1 / float(size[1:]))
    return ciw.dists.Deterministic(int(size))


def played(found: Queue, customers: int, seed: int) -> list[Customer]:
    """Return the customers of a run, in the order of their arrival, without the first tenth."""
    batches = batches_of(found)
    size = float(found.model.partition("[")[2].partition("]")[0].lstrip("~")) if batches else 1.0
    between = arriving(1.0 if batches else found.arrival_cv2)
    options: dict[str, Any] = {} if batches is None else {"batching_distributions": [batches]}
    if found.places is not None:
        options["queue_capacities"] = [found.places - found.servers]
    network = ciw.create_network(
        arrival_distributions=[between(size / found.arrivals_per_s)],
        service_distributions=[arriving(found.service_cv2)(found.service_s)],
        number_of_servers=[found.servers],
        **options,
    )
    ciw.seed(seed)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(customers, method="Finish")
    records = sorted(simulation.get_all_records(), key=lambda record: (record.arrival_date, record.id_number))
    return [
        Customer(record.waiting_time, record.waiting_time + record.service_time, lost=False)
        if record.record_type == "service"
        else Customer(0.0, 0.0, lost=True)
        for record in records[len(records) // 10 :]
    ]


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of a run's values, and its confidence interval by batch means."""
    length = len(values) // BATCHES
    means = [fmean(values[start : start + length]) for start in range(0, length * BATCHES, length)]
    return Interval(fmean(means), STUDENT_T * stdev(means) / math.sqrt(BATCHES))


def measured(customers: Sequence[Customer], found: Queue) -> dict[str, tuple[float, Interval]]:
    """Return (what the model says, what was measured) of each quantity that a run can tell."""
    taken = [each for each in customers if not each.lost]
    pairs = {
        "mean wait": (found.wait.mean_s, interval([each.waited_s for each in taken])),
        "mean time": (found.sojourn.mean_s, interval([each.stayed_s for each in taken])),
        "has to wait": (found.has_to_wait, interval([float(each.waited_s > 0) for each in taken])),
    }
    if found.places is not None:
        pairs["turned away"] = (found.lost, interval([float(each.lost) for each in customers]))
    for percentile in (50, 90, 99):
        for name, delay, of in (("wait", found.wait, "waited_s"), ("time", found.sojourn, "stayed_s")):
            limit = delay.percentile_s(percentile)
            longer = limit * (1 + 1e-9)  # a constant time is simulated as a difference of two large ones
            over = interval([float(getattr(each, of) > longer) for each in taken])
            pairs[f"over p{percentile} of {name}"] = (delay.exceeds(limit), over)
    return pairs
