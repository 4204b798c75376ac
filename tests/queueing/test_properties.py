"""What must hold whatever the numbers: more load, more waiting; more servers, less; and every probability one."""

import itertools
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from waystation.queueing import Queue, Trust, erlang_b, erlang_c, ggc, mg1, mmc, mmck, mxmc, queue

loads = st.floats(0.01, 0.99)
variations = st.sampled_from([0.0, 0.003, 0.2, 0.5, 0.9, 1.0, 1.2, 3.0, 20.0])
servers = st.integers(1, 60)


@st.composite
def queues(draw: st.DrawFn) -> Queue:
    """Any queue that a model covers."""
    load, count = draw(loads), draw(servers)
    kind = draw(st.sampled_from(["mmc", "mmck", "mg1", "ggc", "mxmc", "loss"]))
    if kind == "mmck":
        return mmck(2 * load * count, 1.0, count, count + draw(st.integers(0, 90)))
    if kind == "mg1":
        return mg1(load, 1.0, service_cv2=draw(variations))
    if kind == "ggc":
        return ggc(load * count, 1.0, count, arrival_cv2=draw(variations), service_cv2=draw(variations))
    if kind == "mxmc":
        return mxmc(
            load * count,
            1.0,
            count,
            batch=draw(st.integers(1, 40)),
            law="fixed" if draw(st.booleans()) else "geometric",
        )
    if kind == "loss":
        return queue(2 * load * count, 1.0, count, places=count, service_cv2=draw(variations))
    return mmc(load * count, 1.0, count)


@settings(max_examples=50, deadline=None)
@given(queues(), st.lists(st.floats(0, 300), min_size=2, max_size=6))
def test_a_tail_is_a_probability_that_only_falls(found: Queue, times: list[float]) -> None:
    for delay in (found.wait, found.sojourn):
        shares = [delay.exceeds(seconds) for seconds in sorted(times)]
        assert all(0 <= share <= 1 for share in shares)
        assert all(after <= before + 1e-12 for before, after in itertools.pairwise(shares))
    assert found.wait.exceeds(0) == pytest.approx(found.has_to_wait, rel=1e-6, abs=1e-12)
    assert found.sojourn.exceeds(0) == pytest.approx(1)
    for seconds in times:
        assert found.wait.exceeds(seconds) <= found.sojourn.exceeds(seconds) + 1e-12


@settings(max_examples=50, deadline=None)
@given(queues())
def test_percentiles_rise_and_are_kept_by_just_so_many(found: Queue) -> None:
    for delay in (found.wait, found.sojourn):
        times = [delay.percentile_s(percentile) for percentile in (1, 50, 90, 99, 99.9)]
        assert times == sorted(times)
        for percentile, seconds in zip((1, 50, 90, 99, 99.9), times, strict=True):
            missed = 1 - percentile / 100
            assert delay.exceeds(seconds) <= missed + 1e-9
            if seconds > 0:
                assert delay.exceeds(seconds * (1 - 1e-6)) >= missed - 1e-9


@settings(max_examples=50, deadline=None)
@given(queues())
def test_numbers_and_times_obey_little_and_add_up(found: Queue) -> None:
    assert found.sojourn.mean_s == pytest.approx(found.wait.mean_s + found.service_s)
    assert found.waiting == pytest.approx(found.throughput_per_s * found.wait.mean_s)
    assert found.in_system == pytest.approx(found.waiting + found.utilisation * found.servers, rel=1e-6)
    assert 0 <= found.lost <= 1
    assert 0 <= found.has_to_wait <= 1
    assert found.utilisation <= 1 + 1e-12
    assert found.settles_s >= found.service_s
    assert isinstance(found.trust, Trust)
    assert found.assumes
    assert found.source
    if found.wait_bound_s is not None:
        assert found.wait.mean_s <= found.wait_bound_s * (1 + 1e-12)


@settings(max_examples=25, deadline=None)
@given(queues())
def test_every_step_of_a_calculation_has_its_formula_and_its_value(found: Queue) -> None:
    steps = found.steps((50, 99))
    values = {step.name: step.value for step in steps}
    assert values["utilisation"] == found.utilisation
    assert values["p99 time in system"] == found.sojourn.percentile_s(99)
    assert values["mean time in system"] == found.sojourn.mean_s
    for step in steps:
        assert step.formula
        assert step.sign in str(step)
        assert step.shown in str(step)


@settings(max_examples=50, deadline=None)
@given(loads, loads, servers, variations, variations)
def test_more_load_means_more_waiting(
    first: float, second: float, count: int, arrival: float, service: float
) -> None:
    less, more = sorted((first, second))
    assume(more - less > 1e-6)
    light, heavy = (
        queue(load * count, 1.0, count, arrival_cv2=arrival, service_cv2=service) for load in (less, more)
    )
    assert light.wait.mean_s <= heavy.wait.mean_s
    for percentile in (50, 99):
        assert light.wait.percentile_s(percentile) <= heavy.wait.percentile_s(percentile) + 1e-9


@settings(max_examples=50, deadline=None)
@given(st.floats(0.1, 40), st.integers(0, 30), st.sampled_from([1, 7]))
def test_more_servers_mean_less_waiting(load: float, extra: int, batch: int) -> None:
    count = math.floor(load) + 1 + extra
    assume(load / count < 0.9999)
    fewer, more = queue(load, 1.0, count, batch=batch), queue(load, 1.0, count + 1, batch=batch)
    assert more.wait.mean_s <= fewer.wait.mean_s
    assert more.has_to_wait <= fewer.has_to_wait
    assert more.sojourn.percentile_s(99) <= fewer.sojourn.percentile_s(99) + 1e-9


@settings(max_examples=50, deadline=None)
@given(loads, variations, variations)
def test_more_variation_means_more_waiting(load: float, first: float, second: float) -> None:
    less, more = sorted((first, second))
    assert mg1(load, 1.0, service_cv2=less).wait.mean_s <= mg1(load, 1.0, service_cv2=more).wait.mean_s
    steady, varied = (ggc(load, 1.0, 1, arrival_cv2=each, service_cv2=1.0) for each in (less, more))
    assert steady.wait.mean_s <= varied.wait.mean_s


@settings(max_examples=50, deadline=None)
@given(loads, servers, st.integers(1, 20))
def test_pooling_helps(load: float, count: int, times: int) -> None:
    """One queue for all consumers is better than a queue for each part of them."""
    apart, together = mmc(load * count, 1.0, count), mmc(load * count * times, 1.0, count * times)
    assert together.wait.mean_s <= apart.wait.mean_s * (1 + 1e-12)


@settings(max_examples=50, deadline=None)
@given(st.floats(5, 200), st.integers(1, 200))
def test_erlangs_formulas_fall_with_servers_and_c_is_above_b(load: float, count: int) -> None:
    assert erlang_b(load, count + 1) < erlang_b(load, count) <= 1
    if load < count * 0.999:
        assert erlang_b(load, count) <= erlang_c(load, count) <= 1


@settings(max_examples=50, deadline=None)
@given(st.floats(0.1, 3), servers, st.integers(0, 40))
def test_more_places_lose_less_and_wait_longer(load: float, count: int, room: int) -> None:
    fewer, more = (mmck(load * count, 1.0, count, count + each) for each in (room, room + 1))
    assert more.lost <= fewer.lost * (1 + 1e-12)
    assert more.wait.mean_s >= fewer.wait.mean_s * (1 - 1e-12)
    assert more.throughput_per_s >= fewer.throughput_per_s * (1 - 1e-12)
