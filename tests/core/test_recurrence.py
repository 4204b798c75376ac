"""When a recurring message is due: fields, zones, clocks that are put over, and what was missed."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waystation import ConfigurationError
from waystation._core.limits import RECURRING_GRACE_S, RECURRING_MISSED_MESSAGES_MAX
from waystation._core.recurrence import Cron, Missed, Rule, due_now, rule_of

BERLIN = "Europe/Berlin"
HOUR = 3600.0
DAY = 24 * HOUR


def cron(expression: str, tz: str | None = None) -> Cron:
    rule = rule_of(cron=expression, every=None, tz=tz)
    assert isinstance(rule, Cron)
    return rule


def every(interval: str) -> Rule:
    return rule_of(cron=None, every=interval, tz=None)


def unix(text: str) -> float:
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return moment.timestamp()


def next_ones(rule: Cron, since: str, count: int) -> list[str]:
    times = itertools.islice(rule.times(unix(since)), count)
    return [datetime.fromtimestamp(time, rule.zone).isoformat(timespec="minutes") for time in times]


# --- rules -------------------------------------------------------------------------------------------------------


def test_working_days_at_nine_in_berlin() -> None:
    assert next_ones(cron("0 9 * * mon-fri", BERLIN), "2026-11-26T09:00+01:00", 2) == [
        "2026-11-27T09:00+01:00",
        "2026-11-30T09:00+01:00",
    ]


def test_without_a_zone_it_is_utc() -> None:
    assert cron("0 9 * * *").first(unix("2026-07-01T08:59:59+00:00")) == unix("2026-07-01T09:00+00:00")


def test_a_time_is_not_its_own_successor() -> None:
    assert cron("0 9 * * *").first(unix("2026-07-01T09:00+00:00")) == unix("2026-07-02T09:00+00:00")


def test_an_interval_counts_from_its_declaration() -> None:
    rule = every("10s")
    assert rule.first(1000.5) == 1010.5
    assert rule.following(1010.5, 1035.0) == 1040.5


def test_two_spellings_of_one_rule_are_one() -> None:
    assert cron("0  9 * * mon", BERLIN).text == cron("0 9 * * MON", BERLIN).text
    assert every("1m").text == every("60s").text
    assert cron("0 9 * * MON").text != cron("0 9 * * MON", BERLIN).text


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({}, "say when"),
        ({"cron": "0 9 * * *", "every": "1d"}, "not both"),
        ({"cron": "0 9 * *"}, "five fields"),
        ({"cron": "0 0 9 * * *"}, "five fields"),
        ({"cron": "61 9 * * *"}, "Bad minute"),
        ({"cron": "0 0 30 2 *"}, "Bad day-of-month"),
        ({"cron": "@daily"}, "minute, hour, day of the month"),
        ({"cron": 5}, "is not a cron expression"),
        ({"cron": "0 9 * * *", "tz": "europe/berlin"}, "did you mean 'Europe/Berlin'?"),
        ({"cron": "0 9 * * *", "tz": "../secrets"}, "is not a time zone"),
        ({"cron": "0 9 * * *", "tz": "Europe"}, "is not a time zone"),
        ({"every": "0.5s"}, "too often"),
        ({"every": "often"}, "is not a duration"),
        ({"every": "1h", "tz": BERLIN}, "tz= is for cron="),
    ],
)
def test_what_is_no_rule_is_refused_in_a_sentence(rule: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence.replace("?", r"\?")):
        rule_of(**{"cron": None, "every": None, "tz": None} | rule)


FIELD = st.text("0123456789*/,-LW#", max_size=5)


@settings(max_examples=300, deadline=None)
@given(st.lists(FIELD, min_size=5, max_size=5).map(" ".join) | st.text(max_size=20))
def test_any_text_is_refused_or_a_rule_whose_times_rise(expression: str) -> None:
    try:
        rule = cron(expression, BERLIN)
    except ConfigurationError:
        return
    times = list(itertools.islice(rule.times(0.5), 3))
    assert times == sorted(set(times))
    assert times[0] > 0.5


# --- clocks that are put over ------------------------------------------------------------------------------------


def test_what_was_due_in_the_hour_left_out_is_due_at_its_end() -> None:
    assert next_ones(cron("30 2 * * *", BERLIN), "2026-03-28T12:00+01:00", 2) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]


def test_several_times_in_the_hour_left_out_are_one() -> None:
    assert next_ones(cron("0,20,40 2 * * *", BERLIN), "2026-03-28T12:00+01:00", 2) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:00+02:00",
    ]


def test_a_time_of_the_hour_that_comes_twice_is_due_once() -> None:
    rule = cron("30 2 * * *", BERLIN)
    once = ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]
    assert next_ones(rule, "2026-10-24T12:00+02:00", 2) == once
    assert next_ones(rule, "2026-10-25T02:30+02:00", 1) == once[1:]
    assert next_ones(rule, "2026-10-25T02:10+01:00", 1) == once[1:], "begun in the second of the two hours"


def test_what_recurs_within_the_hour_goes_on_through_both() -> None:
    assert next_ones(cron("*/30 * * * *", BERLIN), "2026-10-25T01:45+02:00", 5) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:30+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T02:30+01:00",
        "2026-10-25T03:00+01:00",
    ]
    assert next_ones(cron("*/30 * * * *", BERLIN), "2026-03-29T01:45+01:00", 2) == [
        "2026-03-29T03:00+02:00",
        "2026-03-29T03:30+02:00",
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["30 2 * * *", "*/20 * * * *", "0 * * * *", "15 1,2 * * *", "0 0 * * MON"]),
    st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "UTC"]),
    st.sampled_from([unix("2026-03-28T20:00Z"), unix("2026-10-24T20:00Z"), unix("2026-04-04T10:00Z")]),
    st.floats(0, DAY),
)
def test_wherever_one_begins_to_look_the_times_are_the_same(
    expression: str, zone: str, day: float, later_s: float
) -> None:
    rule = cron(expression, zone)
    whole = list(itertools.takewhile(lambda time: time < day + 9 * DAY, rule.times(day)))
    part = list(itertools.takewhile(lambda time: time < day + 9 * DAY, rule.times(day + later_s)))
    assert part == [time for time in whole if time > day + later_s]


# --- what was missed ---------------------------------------------------------------------------------------------

NINE = unix("2026-11-02T09:00+00:00")


@pytest.mark.parametrize("rule", [cron("0 9 * * *"), every("1d")])
@pytest.mark.parametrize(("missed", "days"), [("skip", []), ("once", [3]), ("all", [0, 1, 2, 3])])
def test_after_a_pause_of_days_it_is_as_was_wished(rule: Rule, missed: Missed, days: list[int]) -> None:
    times, next_due = due_now(rule, NINE, NINE + 3 * DAY + HOUR, missed)
    assert list(times) == [NINE + day * DAY for day in days]
    assert next_due == NINE + 4 * DAY


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
def test_a_little_late_is_not_missed(missed: Missed) -> None:
    times, next_due = due_now(cron("0 9 * * *"), NINE, NINE + RECURRING_GRACE_S, missed)
    assert (list(times), next_due) == ([NINE], NINE + DAY)


@pytest.mark.parametrize("rule", [cron("0 9 * * *"), every("1d")])
@pytest.mark.parametrize("missed", ["skip", "once", "all"])
def test_before_its_time_nothing_is_due_and_it_stays(rule: Rule, missed: Missed) -> None:
    times, next_due = due_now(rule, NINE, NINE - 0.001, missed)
    assert (list(times), next_due) == ([], NINE)


@pytest.mark.parametrize("rule", [cron("* * * * *"), every("60s")])
def test_making_up_is_bounded_however_long_the_pause(rule: Rule) -> None:
    years = 5 * 365 * DAY
    times, next_due = due_now(rule, NINE, NINE + years + 1, "all")
    last = NINE + years
    assert list(times) == [last - 60.0 * k for k in reversed(range(RECURRING_MISSED_MESSAGES_MAX))]
    assert next_due == last + 60.0


def test_a_time_that_its_rule_no_longer_has_is_due_all_the_same() -> None:
    """As when a country moves its clocks after it was put down."""
    times, next_due = due_now(cron("0 9 * * *"), NINE + 123.0, NINE + 200.0, "once")
    assert (list(times), next_due) == ([NINE + 123.0], NINE + DAY)


def test_its_zone_tells_its_time() -> None:
    assert cron("0 9 * * *", BERLIN).zone == ZoneInfo(BERLIN)
