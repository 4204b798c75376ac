"""The fit of the Universal Scalability Law: what was put in comes out, and what is not there is zero."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waystation.queueing import fit_scalability

WORKERS = (1, 2, 4, 8, 16, 32)


def law(workers: float, one: float, alpha: float, beta: float) -> float:
    return one * workers / (1 + alpha * (workers - 1) + beta * workers * (workers - 1))


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-3, 1e6), st.floats(0, 0.9), st.floats(0, 0.05))
def test_points_of_a_law_give_that_law(one: float, alpha: float, beta: float) -> None:
    points = [(n, law(n, one, alpha, beta)) for n in WORKERS]
    found = fit_scalability(points)
    for n, per_s in points:
        assert found.at(n) == pytest.approx(per_s, rel=1e-4)
    assert found.r_squared == pytest.approx(1, abs=1e-6)


def test_what_scales_evenly_has_no_peak() -> None:
    found = fit_scalability([(n, 50.0 * n) for n in WORKERS])
    assert (found.contention, found.coherency) == (0, 0)
    assert (found.peak, found.peak_per_s) == (math.inf, math.inf)
    assert not found.peak_was_measured


def test_amdahls_law_has_a_limit_and_no_peak() -> None:
    found = fit_scalability([(n, law(n, 100, 0.1, 0)) for n in WORKERS])
    assert found.contention == pytest.approx(0.1)
    assert found.coherency == pytest.approx(0, abs=1e-9)
    assert found.peak_per_s == pytest.approx(1000, rel=1e-3)


def test_a_system_that_only_loses_has_its_peak_at_one() -> None:
    found = fit_scalability([(1, 100.0), (2, 70.0), (3, 55.0), (4, 46.0)])
    assert found.peak_per_s == pytest.approx(found.at(1), rel=0.05)
    assert found.peak_was_measured


def test_more_than_even_scaling_is_fitted_as_even() -> None:
    """Caches that warm up: neither parameter may be negative, so the law is a straight line, and its error tells."""
    found = fit_scalability([(1, 10.0), (2, 22.0), (4, 48.0), (8, 110.0)])
    assert (found.contention, found.coherency) == (0, 0)
    assert found.worst_error > 0.1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.floats(1, 1e4)), min_size=4, max_size=12, unique_by=lambda p: p[0]
    )
)
def test_whatever_was_measured_the_fit_is_sound(points: list[tuple[int, float]]) -> None:
    found = fit_scalability(points)
    assert found.contention >= 0
    assert found.coherency >= 0
    assert found.one_per_s > 0
    flat = math.fsum((per_s - math.fsum(p for _, p in points) / len(points)) ** 2 for _, per_s in points)
    assert found.r_squared <= 1 + 1e-9
    assert math.isfinite(flat)


@pytest.mark.parametrize(("alpha", "beta"), [(0.03, 1e-4), (0.2, 0.01), (0.0, 0.004)])
def test_no_other_law_nearby_fits_noisy_points_better(alpha: float, beta: float) -> None:
    """A least-squares fit is one: moved a little in any direction, it is worse."""
    noise = (1.02, 0.97, 1.01, 1.03, 0.98, 1.0)
    points = [(float(n), law(n, 100, alpha, beta) * off) for n, off in zip(WORKERS, noise, strict=True)]
    found = fit_scalability(points)

    def misfit(one: float, contention: float, coherency: float) -> float:
        return math.fsum((law(n, one, contention, coherency) - per_s) ** 2 for n, per_s in points)

    best = misfit(found.one_per_s, found.contention, found.coherency)
    for one in (0.999, 1, 1.001):
        for a in (0.99, 1, 1.01):
            for b in (0.99, 1, 1.01):
                moved = misfit(found.one_per_s * one, found.contention * a, found.coherency * b)
                assert moved >= best * (1 - 1e-9)


def test_the_steps_say_whether_the_peak_was_measured() -> None:
    inside = fit_scalability([(n, law(n, 100, 0.02, 0.01)) for n in WORKERS])
    beyond = fit_scalability([(n, law(n, 100, 0.02, 0.0001)) for n in WORKERS])
    assert [step.name for step in inside.steps()][3] == "workers at the peak"
    assert [step.name for step in beyond.steps()][3] == "workers at the peak, not measured"
