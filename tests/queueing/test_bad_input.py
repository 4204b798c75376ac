"""What no model covers is refused in a sentence: the assumption that fails, what was found, what to give instead."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from waystation.queueing import (
    ModelError,
    Queue,
    erlang_b,
    erlang_c,
    fit_scalability,
    ggc,
    load_for_loss,
    loss,
    md1,
    mg1,
    mm1,
    mmc,
    mmck,
    mxmc,
    queue,
    retried,
    servers_for_loss,
)

#: What no type checker lets through, and what a program without one may pass.
FRACTION: Any = 2.5

UNSTABLE: list[Callable[[], object]] = [
    lambda: mm1(1, 1),
    lambda: mm1(2, 1),
    lambda: mmc(70, 1, 70),
    lambda: md1(1.5, 1),
    lambda: mg1(1, 1, service_cv2=2),
    lambda: ggc(8, 1, 8, arrival_cv2=0, service_cv2=0),
    lambda: mxmc(4, 1, 4, batch=3),
    lambda: erlang_c(5, 5),
    lambda: queue(1 - 1e-12, 1),
]


@pytest.mark.parametrize("call", UNSTABLE)
def test_as_much_work_as_the_servers_can_do_is_too_much(call: Callable[[], object]) -> None:
    with pytest.raises(ModelError) as error:
        call()
    assert "assumes that less work comes than its servers can do" in error.value.assumption
    assert "the queue would grow without end" in str(error.value)
    assert "give at least" in error.value.instead


def test_the_number_of_servers_that_an_error_names_is_enough() -> None:
    for load in (1.0, 2.5, 70.0, 9999.0):
        with pytest.raises(ModelError) as error:
            mmc(load, 1.0, 1)
        enough = int(error.value.instead.split()[3].replace(",", ""))
        assert mmc(load, 1.0, enough).utilisation < 1
        if enough > 1:
            with pytest.raises(ModelError):
                mmc(load, 1.0, enough - 1)


MODELS: list[Callable[[float, float], Queue]] = [
    mm1,
    md1,
    lambda rate, time: mmc(rate, time, 3),
    lambda rate, time: mmck(rate, time, 3, 9),
    lambda rate, time: loss(rate, time, 3),
    lambda rate, time: mg1(rate, time, service_cv2=2),
    lambda rate, time: ggc(rate, time, 3, arrival_cv2=1, service_cv2=2),
    lambda rate, time: mxmc(rate, time, 3, batch=4),
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, "2k/s", None, True])
def test_rates_and_times_are_finite_numbers_above_zero(model: Callable[..., Queue], bad: object) -> None:
    with pytest.raises(ModelError, match="arrivals_per_s is"):
        model(bad, 0.1)
    with pytest.raises(ModelError, match="service_s is"):
        model(0.1, bad)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mmc(1, 1, 0), "servers is a whole number from 1 to 1,000,000, but 0 was given"),
        (lambda: mmc(1, 1, FRACTION), "servers is a whole number"),
        (lambda: mmc(1, 1, 2_000_000), "servers is a whole number from 1 to 1,000,000"),
        (lambda: mmck(1, 1, 5, 4), "places is a whole number from 5"),
        (lambda: mmck(1, 1, 5, 5_000_000), "places is a whole number from 5 to 1,000,005"),
        (lambda: mg1(0.5, 1, service_cv2=-1), "service_cv2 is zero or more"),
        (lambda: ggc(0.5, 1, 1, arrival_cv2=-1, service_cv2=1), "arrival_cv2 is zero or more"),
        (lambda: mxmc(0.5, 1, 1, batch=0.5), "a batch has from 1 to 10,000 messages"),
        (lambda: mxmc(0.5, 1, 1, batch=2.5), "give a whole number, or law='geometric'"),
        (lambda: mxmc(0.5, 1, 1, batch=20_000), "describe bursts by arrival_cv2"),
        (lambda: queue(0.5, 1, batch=2, service_cv2=3), "or describe the bursts by arrival_cv2=2"),
        (lambda: queue(0.5, 1, places=5, service_cv2=3), "a limit of places is modelled for"),
        (lambda: queue(0.5, 1, places=1, arrival_cv2=3), "a limit of places is modelled for"),
        (lambda: erlang_b(0, 5), "load_erlangs is above zero"),
        (lambda: erlang_b(1, 0), "servers is a whole number"),
        (lambda: load_for_loss(5, 0), "lost is above zero"),
        (lambda: load_for_loss(5, 1), "lost is a share, zero or more and below 1"),
        (lambda: servers_for_loss(2e6, 0.01), "2e[+]06 Erlang need more"),
        (lambda: retried(5, fails=1.5, attempts_max=3), "fails is a share, zero or more and at most 1"),
        (lambda: retried(5, fails=0.5, attempts_max=0), "attempts_max is a whole number from 1"),
        (
            lambda: mm1(0.5, 1).wait.percentile_s(100),
            "a percentile is below 100, since what all messages stay under",
        ),
        (lambda: mm1(0.5, 1).wait.percentile_s(0.99), "give 99 if a share was meant"),
        (lambda: mm1(0.5, 1).wait.percentile_s(0), "a percentile is from 1 to below 100"),
        (lambda: mm1(0.5, 1).wait.exceeds(-1), "a time is zero or more"),
        (lambda: mm1(0.5, 1).steps([101]), "a percentile is below 100"),
    ],
)
def test_each_number_is_what_it_stands_for(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        call()


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ([], "there are 0"),
        ([(1, 10), (2, 19), (3, 27)], "at least 4 numbers of workers, but there are 3"),
        ([(1, 10), (1, 11), (1, 12), (2, 19), (2, 20)], "there are 2: measure more of them"),
        ([(1, 10), (2, 19), (3, 27), (4, 0)], "throughput is above zero"),
        ([(0, 10), (2, 19), (3, 27), (4, 5)], "workers is above zero"),
    ],
)
def test_a_fit_needs_more_points_than_it_has_parameters(
    points: list[tuple[float, float]], sentence: str
) -> None:
    with pytest.raises(ModelError, match=sentence):
        fit_scalability(points)


def test_an_error_is_a_value_error_that_says_three_things() -> None:
    with pytest.raises(ValueError, match="but") as error:
        mm1(-1, 1)
    assert isinstance(error.value, ModelError)
    assert (
        str(error.value) == "arrivals_per_s is above zero, but -1 was given: give how many arrive per second"
    )
