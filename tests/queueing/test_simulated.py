"""The models beside the simulator ciw: what is exact lies within its confidence intervals, what is not lies near.

`make faults` plays five times as many messages.
"""

import os
from typing import Any, Final

import pytest

from tests.queueing.experiments import APPROXIMATE, EXACT, UTILISATIONS, Experiment
from tests.queueing.simulator import Customer, Interval, interval, measured, played
from waystation.queueing import Queue, mm1

LONG: Final = os.environ.get("WAYSTATION_TIER", "pr") != "pr"

#: Messages of a run, by utilisation: a queue that is nearly always busy remembers for thousands of them.
CUSTOMERS: Final = {
    load: count * (5 if LONG else 1) for load, count in ((0.5, 10_000), (0.8, 16_000), (0.95, 100_000))
}

#: Half of the width that an interval for the mean time may have, as a share of it: a wide one proves nothing.
WIDEST: Final = {load: width / (1.5 if LONG else 1) for load, width in ((0.5, 0.4), (0.8, 0.7), (0.95, 0.8))}

#: How far an approximation may be off the simulated mean time in the system, as a share of it.
OFF: Final = {0.5: 0.05, 0.8: 0.15, 0.95: 0.35}


def cases(experiments: tuple[Experiment, ...]) -> list[Any]:
    """Each queue at each utilisation, less the long ones when there is little time."""
    return [
        pytest.param(experiment, load, id=f"{experiment.name}-{load}")
        for experiment in experiments
        for load in UTILISATIONS
        if load < 0.9 or experiment.quick or LONG
    ]


def run(experiment: Experiment, load: float) -> tuple[Queue, dict[str, tuple[float, Interval]]]:
    found = experiment.at(load)
    return found, measured(played(found, int(experiment.share * CUSTOMERS[load]), seed=1), found)


@pytest.mark.timeout(1200 if LONG else 60)
@pytest.mark.parametrize(("experiment", "load"), cases(EXACT))
def test_an_exact_model_lies_within_the_simulators_intervals(experiment: Experiment, load: float) -> None:
    _, pairs = run(experiment, load)
    assert pairs["mean time"][1].relative < WIDEST[load]
    rare = "p99" if load > 0.6 else "nothing"  # a few dozen rushes in a run have no distribution
    outside = {name: (value, seen) for name, (value, seen) in pairs.items() if not seen.holds(value)}
    assert not [name for name in outside if rare not in name], outside


@pytest.mark.timeout(1200 if LONG else 60)
@pytest.mark.parametrize(("experiment", "load"), cases(APPROXIMATE))
def test_an_approximation_is_as_near_as_the_documentation_says(experiment: Experiment, load: float) -> None:
    found, pairs = run(experiment, load)
    modelled, seen = pairs["mean time"]
    assert abs(modelled - seen.mean) < OFF[load] * seen.mean + seen.half
    assert abs(found.has_to_wait - pairs["has to wait"][1].mean) < 0.15 + pairs["has to wait"][1].half


def test_a_wrong_model_is_noticed() -> None:
    """Constant handling times are played, and held against the model of exponential ones."""
    played_one = EXACT[4].at(0.8)
    assert played_one.model == "M/D/1"
    pairs = measured(played(played_one, 15_000, 7), mm1(0.8, 1.0))
    assert {"mean wait", "mean time"} <= {
        name for name, (value, seen) in pairs.items() if not seen.holds(value)
    }


def test_an_interval_is_that_of_batch_means() -> None:
    found = interval([float(number % 2) for number in range(2000)])
    assert (found.mean, found.half) == (0.5, 0.0)
    assert interval([0.0] * 1000 + [1.0] * 1000).half == pytest.approx(4.781 * 0.527 / 10**0.5, rel=1e-3)
    assert Customer(1.0, 2.0, lost=False).stayed_s == 2.0
