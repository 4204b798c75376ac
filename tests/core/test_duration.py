"""Durations and points in time, as people write them."""

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation._core.duration import rfc3339, seconds, unix_time
from waystation._core.errors import ConfigurationError

UNIT_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


@given(st.integers(0, 10**9), st.sampled_from(sorted(UNIT_S)))
def test_text_with_a_unit_is_that_many_units(number: int, unit: str) -> None:
    assert seconds(f"{number}{unit}") == pytest.approx(number * UNIT_S[unit])
    assert seconds(f" {number} {unit} ") == seconds(f"{number}{unit}")


@given(st.floats(0, 1e9) | st.integers(0, 10**9))
def test_a_number_is_seconds(number: float) -> None:
    assert seconds(number) == number
    assert seconds(timedelta(seconds=number)) == pytest.approx(number, abs=1e-6)


@given(st.text(max_size=20))
def test_any_other_text_is_refused_by_one_error(text: str) -> None:
    if re.fullmatch(r"\s*[0-9]{1,12}(\.[0-9]{1,9})?\s*(ms|s|m|h|d)\s*", text):
        assert math.isfinite(seconds(text))
    else:
        with pytest.raises(ConfigurationError, match="not a duration"):
            seconds(text)


@pytest.mark.parametrize(
    "value", [-1, -0.001, math.inf, math.nan, timedelta(seconds=-1), "-1s", "1", "1 year", "1e3s", ""]
)
def test_a_duration_is_finite_and_not_negative(value: float | str | timedelta) -> None:
    with pytest.raises(ConfigurationError, match="timeout="):
        seconds(value, name="timeout")


@pytest.mark.parametrize("value", [None, [], b"1s", object()])
def test_what_is_no_duration_at_all_is_refused_by_the_same_error(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout="):
        seconds(value, name="timeout")


@given(st.datetimes(datetime(1971, 1, 1), datetime(2500, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds are naive
def test_an_aware_moment_is_its_unix_time(moment: datetime) -> None:
    assert unix_time(moment) == moment.timestamp()
    elsewhere = moment.astimezone(timezone(timedelta(hours=5)))
    assert unix_time(elsewhere) == unix_time(moment)


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no time zone"):
        unix_time(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_moment_is_finite(value: float) -> None:
    with pytest.raises(ConfigurationError, match="at="):
        unix_time(value, name="at")


@given(st.floats(0, 4e9))
def test_rfc3339_is_the_same_moment_to_the_millisecond(unix_s: float) -> None:
    text = rfc3339(unix_s)
    assert text.endswith("Z")
    assert datetime.fromisoformat(text).timestamp() == pytest.approx(unix_s, abs=0.001)
