"""Durations as users write them: seconds, `timedelta`, or text such as `"1.5s"`, `"200ms"`, `"2m"`, `"1h"`, `"3d"`."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from .errors import ConfigurationError

Duration: TypeAlias = float | int | timedelta | str
"""Seconds as a number, a `timedelta`, or text with a unit: `ms`, `s`, `m`, `h`, `d`."""

Instant: TypeAlias = datetime | float | int
"""A point in time: an aware `datetime`, or Unix seconds (UTC)."""

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TEXT = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|d)\s*")


def seconds(value: Duration, *, name: str = "duration") -> float:
    """Return `value` in seconds.

    Raises:
        ConfigurationError: Negative, not finite, or text without a known unit; `name` is used in the sentence.
    """
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, str):
        match = _TEXT.fullmatch(value)
        if match is None:
            raise ConfigurationError(
                f"{name}={value!r} is not a duration: write '200ms', '1.5s', '2m', '1h' or '3d'"
            )
        result = float(match[1]) * _UNIT_S[match[2]]
    else:
        result = _number(value, name)
    if not math.isfinite(result) or result < 0:
        raise ConfigurationError(f"{name}={value!r} must be zero or more seconds")
    return result


def unix_time(value: Instant, *, name: str = "time") -> float:
    """Return a point in time as Unix seconds.

    Raises:
        ConfigurationError: A `datetime` without a time zone, whose meaning would depend on the machine.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigurationError(f"{name}={value!r} has no time zone: use datetime(..., tzinfo=UTC)")
        return value.timestamp()
    result = _number(value, name)
    if not math.isfinite(result):
        raise ConfigurationError(f"{name}={value!r} is not a point in time")
    return result


def rfc3339(unix_s: float) -> str:
    """Return Unix seconds as RFC 3339 text in UTC, to the millisecond."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(value: float, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"{name}={value!r} is not a number of seconds") from error
