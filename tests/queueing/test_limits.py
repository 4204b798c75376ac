"""What the models come to at their ends: no load, all load, many servers, no variation, no limit."""

import math
from decimal import Decimal, getcontext
from time import perf_counter

import pytest

from waystation.queueing import (
    Queue,
    erlang_b,
    erlang_c,
    ggc,
    load_for_loss,
    loss,
    md1,
    mg1,
    mm1,
    mmc,
    mmck,
    mxmc,
    servers_for,
    servers_for_loss,
)

MANY = 100_000
NEARLY = 0.999999


def test_with_many_servers_nobody_waits() -> None:
    found = mmc(5.0, 1.0, MANY)
    assert (found.has_to_wait, found.wait.mean_s, found.wait.percentile_s(99.99)) == (0, 0, 0)
    assert found.sojourn.percentile_s(99) == pytest.approx(math.log(100))
    assert ggc(5.0, 1.0, MANY, arrival_cv2=2, service_cv2=0).sojourn.percentile_s(99) == pytest.approx(1)


@pytest.mark.parametrize("servers", [1, 4, 300])
def test_where_nothing_comes_nobody_waits(servers: int) -> None:
    found: list[Queue] = [
        mmc(1e-12, 1.0, servers),
        mmck(1e-12, 1.0, servers, servers + 3),
        ggc(1e-12, 1.0, servers, arrival_cv2=0.5, service_cv2=3.0),
        loss(1e-12, 1.0, servers),
        *(
            [md1(1e-12, 1.0), mg1(1e-12, 1.0, service_cv2=0.4), mg1(1e-12, 1.0, service_cv2=4)]
            if servers == 1
            else []
        ),
    ]
    for each in found:
        assert each.has_to_wait < 1e-11
        assert each.wait.mean_s < 1e-11
        assert each.sojourn.mean_s == pytest.approx(1.0)
        assert each.lost < 1e-11


@pytest.mark.parametrize("load", [0.3, 0.8, 0.99])
def test_a_coefficient_of_one_is_the_exponential_and_of_zero_the_constant(load: float) -> None:
    exponential, constant = mm1(load, 1.0), md1(load, 1.0)
    for percentile in (50, 90, 99, 99.9):
        for near, limit in (
            (1 - 1e-7, exponential),
            (1.0, exponential),
            (1 + 1e-7, exponential),
            (1.1e-4, constant),
        ):
            found = mg1(load, 1.0, service_cv2=near)
            assert found.wait.percentile_s(percentile) == pytest.approx(
                limit.wait.percentile_s(percentile), rel=2e-3, abs=0.05
            )
            assert found.sojourn.percentile_s(percentile) == pytest.approx(
                limit.sojourn.percentile_s(percentile), rel=0.03
            )
    assert constant.wait.mean_s == pytest.approx(exponential.wait.mean_s / 2)


@pytest.mark.parametrize("servers", [1, 6])
def test_without_a_limit_that_is_reached_there_is_none(servers: int) -> None:
    finite, free = mmck(0.8 * servers, 1.0, servers, 5000), mmc(0.8 * servers, 1.0, servers)
    assert finite.lost < 1e-200
    assert finite.wait.mean_s == pytest.approx(free.wait.mean_s, rel=1e-12)
    for percentile in (50, 99, 99.99):
        assert finite.wait.percentile_s(percentile) == pytest.approx(
            free.wait.percentile_s(percentile), rel=1e-9
        )
        assert finite.sojourn.percentile_s(percentile) == pytest.approx(
            free.sojourn.percentile_s(percentile), rel=1e-9
        )


@pytest.mark.parametrize(("servers", "load"), [(1, 0.95), (3, 1.2), (64, 60.0), (2000, 1990.0)])
def test_batches_of_one_are_no_batches(servers: int, load: float) -> None:
    batched, single = mxmc(load, 1.0, servers, batch=1), mmc(load, 1.0, servers)
    assert batched.has_to_wait == pytest.approx(single.has_to_wait, rel=1e-9)
    assert batched.wait.mean_s == pytest.approx(single.wait.mean_s, rel=1e-9)
    for percentile in (90, 99.9):
        assert batched.sojourn.percentile_s(percentile) == pytest.approx(
            single.sojourn.percentile_s(percentile), rel=1e-9
        )


def test_as_many_places_as_servers_are_erlangs_loss_system() -> None:
    finite, lossy = mmck(30.0, 1.0, 20, 20), loss(30.0, 1.0, 20)
    assert finite.lost == pytest.approx(lossy.lost)
    assert finite.wait.mean_s == lossy.wait.mean_s == 0
    assert finite.sojourn.percentile_s(99) == pytest.approx(lossy.sojourn.percentile_s(99))


def test_an_overloaded_queue_with_a_limit_works_at_full_speed() -> None:
    found = mmck(500.0, 1.0, 5, 1000)
    assert found.throughput_per_s == pytest.approx(5)
    assert found.utilisation == pytest.approx(1)
    assert found.in_system == pytest.approx(1000, rel=1e-4)
    assert found.wait.mean_s == pytest.approx(995 / 5, rel=1e-3)


def test_a_load_like_the_number_of_servers_with_a_limit_loses_no_digits() -> None:
    """At a quotient of exactly one, all states above c are alike, so the wait is that of a place drawn by lot."""
    found = mmck(1.0, 1.0, 1, 10_000)
    assert found.lost == pytest.approx(1 / 10_001)
    assert found.wait.mean_s == pytest.approx(9_999 / 2, rel=1e-12)
    for beside in (1 - 1e-13, 1 + 1e-13):
        assert mmck(beside, 1.0, 1, 10_000).wait.mean_s == pytest.approx(9_999 / 2, rel=1e-8)


# --- a hundred thousand servers, and a utilisation of 0.999999 --------------------------------------------------


def erlang_b_with_many_digits(load: Decimal, servers: int) -> Decimal:
    getcontext().prec = 40
    lost = Decimal(1)
    for busy in range(1, servers + 1):
        lost = load * lost / (busy + load * lost)
    return lost


@pytest.mark.parametrize("load", ["99999.9", "100000", "99000", "120000"])
def test_erlangs_formulas_keep_their_digits_with_a_hundred_thousand_servers(load: str) -> None:
    lost = erlang_b_with_many_digits(Decimal(load), MANY)
    assert erlang_b(float(load), MANY) == pytest.approx(float(lost), rel=1e-11)
    if float(load) < MANY:
        delayed = MANY * lost / (MANY - Decimal(load) * (1 - lost))
        assert erlang_c(float(load), MANY) == pytest.approx(float(delayed), rel=1e-8)


def test_a_hundred_thousand_servers_are_sized_in_a_moment() -> None:
    began = perf_counter()
    found = servers_for("p99<200ms", 2_857_000.0, 0.035)
    assert perf_counter() - began < 10
    assert 99_995 < found.servers < 100_100
    assert found.reached_s < 0.2 <= (found.fewer_s or 1)
    assert servers_for_loss(99_000.0, 0.01) == pytest.approx(98_100, rel=0.01)
    assert load_for_loss(MANY, 0.01) == pytest.approx(100_900, rel=0.01)


@pytest.mark.parametrize("servers", [1, 10, MANY])
def test_mmc_is_right_at_a_utilisation_of_nearly_one(servers: int) -> None:
    """There almost all wait, and the wait is exponential with mean S / (c·(1 − ρ)), whatever else."""
    found = mmc(NEARLY * servers, 1.0, servers)
    mean = 1 / (servers * (1 - NEARLY))
    assert found.wait.mean_s == pytest.approx(found.has_to_wait * mean, rel=1e-9)
    assert found.wait.percentile_s(99) == pytest.approx(mean * math.log(100 * found.has_to_wait), rel=1e-8)
    assert found.sojourn.percentile_s(99) == pytest.approx(found.wait.percentile_s(99) + 1, rel=1e-3, abs=0.1)


@pytest.mark.parametrize("variation", [0, 0.001, 0.2, 0.75, 1, 5, 100])
def test_mg1_is_right_at_a_utilisation_of_nearly_one(variation: float) -> None:
    """Kingman's heavy traffic: the wait becomes exponential with the mean of Pollaczek and Khinchine."""
    found = mg1(NEARLY, 1.0, service_cv2=variation)
    assert found.wait.mean_s == pytest.approx(NEARLY * (1 + variation) / (2 * (1 - NEARLY)), rel=1e-9)
    for percentile in (50, 90, 99, 99.9):
        expected = -found.wait.mean_s * math.log(1 - percentile / 100)
        assert found.wait.percentile_s(percentile) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("batch", [2, 50])
def test_batches_are_right_at_a_utilisation_of_nearly_one(batch: int) -> None:
    found = mxmc(3 * NEARLY, 1.0, 3, batch=batch)
    expected = (1 + batch) / (2 * (1 - NEARLY)) / 3
    assert found.wait.mean_s == pytest.approx(expected, rel=1e-4)
    assert found.wait.percentile_s(99) == pytest.approx(expected * math.log(100), rel=1e-3)


@pytest.mark.parametrize("servers", [1000, MANY])
def test_batches_at_many_servers_neither_overflow_nor_lose_anybody(servers: int) -> None:
    found = mxmc(0.999 * servers, 1.0, servers, batch=100)
    assert found.has_to_wait < 1
    assert found.wait.mean_s > mmc(0.999 * servers, 1.0, servers).wait.mean_s
    assert found.wait.percentile_s(99.9) > found.wait.percentile_s(99) > 0


def test_a_finite_queue_of_a_million_places_is_answered() -> None:
    found = mmck(0.999999, 1.0, 1, 1_000_000)
    assert found.lost == pytest.approx(math.exp(-1) * 1e-6 / (1 - math.exp(-1)), rel=1e-4)
    assert 0 < found.wait.percentile_s(50) < 1_000_000
