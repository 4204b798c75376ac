"""When a recurring message is due: by a cron expression in a time zone, or at a fixed interval.

Where clocks are put forward, what was due in the hour that is left out is due at its end; where they are put back, a
time of day comes once, and what recurs every hour or oftener goes on as if nothing had happened. So does Debian's cron.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final, Literal, Protocol, TypeAlias
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from .duration import Duration, seconds
from .errors import ConfigurationError
from .limits import RECURRING_EVERY_S_MIN, RECURRING_GRACE_S, RECURRING_MISSED_MESSAGES_MAX
from .url import did_you_mean

Missed: TypeAlias = Literal["skip", "once", "all"]
"""What becomes of times at which no process was there to publish: none of them, the latest only, or all."""

MISSED: Final[tuple[Missed, ...]] = ("skip", "once", "all")

#: How far back the search for missed times begins, in seconds; doubled until there are enough.
_LOOK_BACK_S: Final = 3600.0


class Rule(Protocol):
    """When something recurs. Times are in Unix seconds."""

    @property
    def text(self) -> str:
        """The rule for people, and to tell it from another."""

    @property
    def zone(self) -> tzinfo:
        """Where its times are told."""

    def first(self, now: float) -> float:
        """Return when it is due first, if it begins now."""

    def passed(self, due: float, now: float, limit: int) -> Sequence[float]:
        """Return the times from `due`, which is the first of them, until now; of many, the latest."""

    def following(self, due: float, now: float) -> float:
        """Return the first time after now, if it was due at `due`."""


@dataclass(frozen=True, slots=True)
class Every:
    """A fixed interval, counted from the time at which it was declared first."""

    interval_s: float

    @property
    def text(self) -> str:
        """The rule for people."""
        return f"every {self.interval_s:.10g}s"

    @property
    def zone(self) -> tzinfo:
        """Where its times are told."""
        return UTC

    def first(self, now: float) -> float:
        """Return when it is due first."""
        return now + self.interval_s

    def passed(self, due: float, now: float, limit: int) -> Sequence[float]:
        """Return the latest times until now."""
        count = self._count(due, now)
        return [due + number * self.interval_s for number in range(max(0, count - limit), count)]

    def following(self, due: float, now: float) -> float:
        """Return the first time after now."""
        return due + self._count(due, now) * self.interval_s

    def _count(self, due: float, now: float) -> int:
        return max(0, math.floor((now - due) / self.interval_s) + 1)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression of five fields, in a time zone."""

    expression: str
    zone: ZoneInfo

    @property
    def text(self) -> str:
        """The rule for people."""
        return f"{self.expression} ({self.zone.key})"

    def first(self, now: float) -> float:
        """Return when it is due first."""
        return next(self.times(now))

    def passed(self, due: float, now: float, limit: int) -> Sequence[float]:
        """Return the latest times until now. Costs what the search for them costs, not what a long pause would."""
        if due > now:
            return []
        span_s, since, found = 0.0, now, [due]
        while since > due and len(found) <= limit:
            span_s = span_s * 2 or _LOOK_BACK_S
            since = max(due, now - span_s)
            found = [due, *itertools.takewhile(lambda time: time <= now, self.times(since))]
        return found[-limit:]

    def following(self, due: float, now: float) -> float:
        """Return the first time after now."""
        return due if due > now else next(self.times(now))

    def times(self, since: float) -> Iterator[float]:
        """Yield the times after `since`, each once."""
        for moment in CronSim(self.expression, datetime.fromtimestamp(since, self.zone)):
            if moment.timestamp() > since:  # in the second of two equal hours it is offered the first
                since = moment.timestamp()
                yield since


def rule_of(*, cron: str | None, every: Duration | None, tz: str | None) -> Rule:
    """Return the rule that a user wrote.

    Raises:
        ConfigurationError: It is none, or one of both; the sentence says what to write.
    """
    if (cron is None) == (every is None):
        raise ConfigurationError("say when: cron='0 9 * * MON-FRI' or every='10s', and not both")
    if every is not None:
        if tz is not None:
            raise ConfigurationError("tz= is for cron=; an interval is the same everywhere")
        interval_s = seconds(every, name="every")
        if interval_s < RECURRING_EVERY_S_MIN:
            raise ConfigurationError(f"every={every!r} is too often: {RECURRING_EVERY_S_MIN:g} s at least")
        return Every(interval_s)
    return _cron(cron, _zone(tz or "UTC"))


def due_now(rule: Rule, due: float, now: float, missed: Missed) -> tuple[Sequence[float], float]:
    """Decide for which times to publish, and when the next is due.

    A time is missed if nobody published within `RECURRING_GRACE_S` of it.

    Args:
        due: The first time for which nothing was published yet; one in the future stays.
    """
    limit = RECURRING_MISSED_MESSAGES_MAX if missed == "all" else 1
    times = rule.passed(due, now, limit)
    if missed == "skip":
        times = [time for time in times if now - time <= RECURRING_GRACE_S]
    return times, rule.following(due, now)


def _cron(cron: object, zone: ZoneInfo) -> Cron:
    expression = " ".join(cron.upper().split()) if isinstance(cron, str) else ""
    try:
        if len(expression.split()) != 5:
            raise CronSimError("it has not five fields")
        rule = Cron(expression, zone)
        if next(rule.times(0.0), None) is None:
            raise CronSimError("no day fits")
    except (CronSimError, ArithmeticError, AssertionError, TypeError, ValueError) as error:  # of the parser
        raise ConfigurationError(
            f"cron={cron!r} is not a cron expression ({error}): write minute, hour, day of the month, month and day of "
            "the week, such as '0 9 * * MON-FRI'"
        ) from error
    return rule


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError, TypeError) as error:  # it says so in as many ways
        known = available_timezones()
        hint = (
            did_you_mean(str(name), sorted(known))
            if known
            else "; this system knows none: pip install tzdata"
        )
        raise ConfigurationError(f"tz={name!r} is not a time zone such as 'Europe/Berlin'{hint}") from error
