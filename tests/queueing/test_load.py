"""Offered load, retries, sizing, measured variation: small answers, each beside what it means."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waystation.queueing import (
    ModelError,
    Trust,
    Wish,
    closed,
    failures_survived,
    mmc,
    offered_load,
    queue,
    retried,
    servers_for,
    throughput,
    variation,
)


def test_offered_load_is_events_times_handling_time() -> None:
    found = offered_load(2000, 0.035)
    assert (found.erlangs, found.servers_min, found.utilisation(80)) == (70, 71, 0.875)
    assert found.utilisation(60) > 1
    assert [step.name for step in found.steps(80)] == ["offered load", "consumers, at least", "utilisation"]


@pytest.mark.parametrize(
    ("fails", "attempts", "amplification"), [(0, 5, 1), (0.5, 3, 1.75), (1, 4, 4), (0.1, 1, 1)]
)
def test_retries_amplify_a_load(fails: float, attempts: int, amplification: float) -> None:
    found = retried(1000, fails=fails, attempts_max=attempts)
    assert found.amplification == pytest.approx(amplification)
    assert found.attempts_per_s == pytest.approx(1000 * amplification)
    assert found.dead_per_s == pytest.approx(1000 * fails**attempts)
    assert next(step.shown for step in found.steps()) == f"{amplification:g}"


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(1, 30))
def test_attempts_are_the_sum_of_those_that_come_to_be(fails: float, attempts: int) -> None:
    by_hand = math.fsum(fails**number for number in range(attempts))
    assert retried(1, fails=fails, attempts_max=attempts).amplification == pytest.approx(by_hand, rel=1e-9)


def test_the_failures_that_consumers_survive_are_those_that_fill_them() -> None:
    survived = failures_survived(2000, 0.035, 80, attempts_max=5)
    load = 70 * retried(1, fails=survived, attempts_max=5).amplification
    assert load == pytest.approx(80)
    assert failures_survived(2000, 0.035, 400, attempts_max=5) == 1
    with pytest.raises(ModelError, match="give at least 71"):
        failures_survived(2000, 0.035, 70, attempts_max=5)


def test_throughput_is_requests_over_time() -> None:
    assert throughput(10_000, 4).per_s == 2500
    assert throughput(0, 4).per_s == 0


@settings(deadline=None)
@given(st.integers(1, 300), st.floats(0, 10), st.floats(0.01, 5), st.integers(1, 20))
def test_a_closed_system_gives_no_more_than_both_bounds(
    clients: int, think: float, service: float, servers: int
) -> None:
    found = closed(clients, service, servers, think_s=think, travel_s=0.5)
    assert found.at_most_per_s == pytest.approx(min(clients / (think + service + 0.5), servers / service))
    # Little's law for clients: N = X·(Z + R), so an answer takes at least N / X − Z
    assert found.answer_at_least_s >= service + 0.5
    assert found.at_most_per_s * (think + found.answer_at_least_s) == pytest.approx(clients)
    at_knee = closed(max(1, round(found.knee)), service, servers, think_s=think, travel_s=0.5)
    assert at_knee.by_clients_per_s == pytest.approx(at_knee.by_servers_per_s, rel=1 / max(1.0, found.knee))
    assert (found.limited_by == "clients") is (clients < found.knee)


def test_measured_times_have_a_mean_and_a_variation() -> None:
    found = variation([1.0, 1.0, 4.0])
    assert (found.count, found.mean_s) == (3, 2.0)
    assert found.cv2 == pytest.approx(0.75)
    assert variation([0.2] * 9).cv2 == pytest.approx(0)
    for times in ([], [1.0], [0.0, 0.0]):
        with pytest.raises(ModelError, match="at least two times"):
            variation(times)


# --- sizing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("p99<200ms", Wish(limit_s=0.2, percentile=99, strictly=True)),
        ("mean <= 50ms", Wish(limit_s=0.05, percentile=None)),
        ("wait p99.9≤1s", Wish(limit_s=1, percentile=99.9, of="wait")),
        ("time p50 < 2min", Wish(limit_s=120, percentile=50, strictly=True)),
    ],
)
def test_wishes_are_read(text: str, wish: Wish) -> None:
    assert Wish.parse(text) == wish
    assert Wish.parse(str(wish)) == wish


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fast", "a wish is a percentile or the mean"),
        ("p99>200ms", "a wish is a percentile or the mean"),
        ("p100<1s", "a percentile is below 100"),
        ("p0.99<1s", "give 99 if a share was meant"),
        ("p9.9.9<1s", "a percentile is a number"),
        ("p99<0s", "the limit of a wish is above zero"),
        ("p99<5KiB", "the limit of a wish is a time, but '5KiB' is a size"),
    ],
)
def test_what_is_no_wish_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence.replace("(", r"\(")):
        Wish.parse(text)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.1, 300),
    st.sampled_from(["p99<9s", "mean<1.1s", "wait p90<0.5s", "wait mean<10ms", "p50<0.75s"]),
    st.sampled_from([1.0, 1.0, 0.4]),
)
def test_a_sizing_is_the_smallest_number_that_keeps_the_wish(load: float, wish: str, cv2: float) -> None:
    if cv2 != 1 and wish == "p50<0.75s":
        wish = "p50<1s"  # what varies less has its median nearer to its mean
    found = servers_for(wish, load, 1.0, service_cv2=cv2)
    assert found.wish.kept(found.reached_s)
    if (
        found.servers > math.floor(load * (1 + 2e-9)) + 1
    ):  # as good as as many as there is work for is too few
        assert found.fewer is not None
        assert found.fewer_s is not None
        assert found.fewer.servers == found.servers - 1
        assert not found.wish.kept(found.fewer_s)
    assert found.trust is (Trust.EXACT if cv2 == 1 else found.wish.trust(found.queue))
    assert found.steps()[-1].value == found.reached_s


def test_a_wish_for_the_wait_alone_may_be_shorter_than_handling() -> None:
    assert servers_for("wait p99<1ms", 2000, 0.035).servers < 100
    with pytest.raises(ModelError, match="more consumers shorten the wait, never the handling"):
        servers_for("p99<100ms", 2000, 0.035)
    with pytest.raises(ModelError, match="the mean of the handling alone is 35 ms"):
        servers_for("mean<35ms", 2000, 0.035)
    assert servers_for("p99<=35ms", 1, 0.035, service_cv2=0).servers > 1


def test_batches_and_variation_take_more_consumers() -> None:
    plain = servers_for("p99<1s", 200, 0.1).servers
    assert servers_for("p99<1s", 200, 0.1, batch=50).servers > plain
    assert servers_for("p99<1.1s", 200, 0.1, service_cv2=4).servers > plain
    assert (
        servers_for("wait p99<50ms", 200, 0.1, arrival_cv2=5).servers
        > servers_for("wait p99<50ms", 200, 0.1).servers
    )


def test_more_than_a_million_servers_are_refused() -> None:
    with pytest.raises(ModelError, match="at most 1,000,000 servers"):
        servers_for("p99<10s", 2e6, 1.0)


def test_a_queue_is_modelled_by_the_strongest_model_that_fits() -> None:
    assert queue(1, 0.5).model == "M/M/1"
    assert queue(1, 0.5, service_cv2=0).model == "M/D/1"
    assert queue(1, 0.5, service_cv2=0.3).model == "M/G/1"
    assert queue(1, 0.5, 3, service_cv2=0.3).model == "G/G/3"
    assert queue(1, 0.5, arrival_cv2=0.3).model == "G/G/1"
    assert queue(1, 0.5, 2, batch=3, batch_law="geometric").model == "M[~3]/M/2"
    assert queue(1, 0.5, 2, places=9).model == "M/M/2/9"
    assert queue(1, 0.5, 2, places=2, service_cv2=3).model == "M/G/2/2"
    assert queue(2000, 0.035, 80) == mmc(2000, 0.035, 80)
