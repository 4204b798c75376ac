"""Rates as text, and the token bucket."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation import ConfigurationError, Rate
from waystation._core.rate import Bucket


@pytest.mark.parametrize(
    ("text", "per_s"),
    [("100/s", 100), ("10/m", 1 / 6), (" 5000 / h ", 5000 / 3600), ("500/15m", 500 / 900), ("1/250ms", 4)],
)
def test_a_rate_is_written_as_text(text: str, per_s: float) -> None:
    assert Rate.of(text).per_s == pytest.approx(per_s)


@pytest.mark.parametrize("text", ["", "100", "fast", "100/x", "-1/s", "1.5/s", "/s", 100, None])
def test_what_is_no_rate_is_refused_with_what_is_one(text: Any) -> None:
    with pytest.raises(ConfigurationError, match="write '100/s'"):
        Rate.of(text)


@pytest.mark.parametrize("given_", [{"count": 0}, {"count": 1, "per": 0}, {"count": 1, "burst": 0}])
def test_numbers_out_of_range_are_refused(given_: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Rate(**given_)


def test_after_a_rest_a_tenth_of_a_second_may_begin_at_once_but_always_one() -> None:
    assert Rate.of("100/s").capacity == 10
    assert Rate.of("10/m").capacity == 1
    assert Rate(10, timedelta(minutes=1), burst=7).capacity == 7


def test_a_debt_is_waited_for() -> None:
    bucket = Bucket.full(Rate(10, burst=5), 0.0).take(25, 0.0)
    assert bucket.available(1.9) == 0
    assert bucket.wait_s(1, 0.0) == pytest.approx(2.1)
    assert bucket.available(2.1) == 1


def test_what_is_given_back_does_not_overfill_it() -> None:
    assert Bucket.full(Rate(10, burst=5), 0.0).take(-3, 0.0).available(0.0) == 5


def test_time_that_stands_still_or_jumps_back_brings_nothing() -> None:
    bucket = Bucket.full(Rate(10, burst=1), 5.0).take(1, 5.0)
    assert bucket.available(4.0) == bucket.available(5.0) == 0


steps = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 40)), max_size=60)


@given(count=st.integers(1, 200), burst=st.integers(1, 50), steps=steps)
def test_in_no_time_more_begin_than_the_burst_and_what_came_in(
    count: int, burst: int, steps: list[tuple[float, int]]
) -> None:
    rate = Rate(count, burst=burst)
    bucket, now, begun = Bucket.full(rate, 0.0), 0.0, [(0.0, 0)]
    for pause, wanted in steps:
        now += pause
        taken = min(wanted, bucket.available(now))
        bucket = bucket.take(taken, now)
        begun.append((now, taken))
    for start in range(len(begun)):
        for end in range(start, len(begun)):
            elapsed = begun[end][0] - begun[start][0]
            assert sum(taken for _, taken in begun[start : end + 1]) <= burst + elapsed * count + 1e-6


@given(count=st.integers(1, 200), burst=st.integers(1, 50), wanted=st.integers(1, 50))
def test_after_the_wait_that_it_names_a_token_is_there(count: int, burst: int, wanted: int) -> None:
    bucket = Bucket.full(Rate(count, burst=burst), 0.0).take(burst + wanted, 0.0)
    assert bucket.available(bucket.wait_s(1, 0.0)) >= 1
