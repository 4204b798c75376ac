"""What is stored, when a disk is full, and when a backlog is gone, at rates that are steady or change."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waystation.queueing import ModelError, Phase, Trust, backlog, course, drain, filling, little


def test_a_backlog_is_messages_times_their_size() -> None:
    found = backlog(1_000_000, 1024)
    assert (found.bytes, found.model, found.trust) == (1_024_000_000, "L = n·m", Trust.EXACT)
    assert [step.shown for step in found.steps()] == ["977 MiB"]


def test_littles_law_gives_messages_and_bytes() -> None:
    found = little(2000, 0.035, message_bytes=1024)
    assert (found.messages, found.bytes) == (70, 70 * 1024)
    assert little(2000, 0.035).bytes is None
    assert [step.name for step in found.steps()] == ["messages", "space"]


def test_a_disk_is_full_when_what_is_not_handled_has_filled_it() -> None:
    assert filling(50 * 2**30, 1024, 2000, 1500).seconds == pytest.approx(50 * 2**30 / (1024 * 500))
    assert filling(50 * 2**30, 1024, 1000, 1500).seconds == math.inf
    assert filling(50 * 2**30, 1024, 1000, 1500).steps()[-1].shown == "never"


def test_a_backlog_is_drained_by_what_is_handled_beyond_what_comes() -> None:
    found = drain(1_000_000, 2000, 3000)
    assert found.seconds == 1000
    assert drain(0, 2000, 3000).seconds == 0
    assert [step.name for step in found.steps()] == ["spare capacity", "drained after", "give or take"]


def test_the_time_to_drain_and_its_spread_are_those_of_simulated_queues() -> None:
    """200 M/M/1 queues that begin with 400 messages, until each is empty."""
    chance = random.Random(3)

    def emptied() -> float:
        left, now = 400, 0.0
        while left:
            now += chance.expovariate(1.7)
            left += 1 if chance.random() < 0.7 / 1.7 else -1
        return now

    times = [emptied() for _ in range(200)]
    mean = math.fsum(times) / 200
    spread = math.sqrt(math.fsum((each - mean) ** 2 for each in times) / 199)
    found = drain(400, 0.7, 1.0)
    assert found.seconds == pytest.approx(mean, abs=4 * found.deviation_s / math.sqrt(200))
    assert found.deviation_s == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: drain(10, 5, 5), "it grows by 0/s"),
        (
            lambda: drain(10, 7, 5),
            "7/s come and 5/s are handled, so that it grows by 2/s: handle more than 7/s",
        ),
        (lambda: drain(-1, 5, 7), "messages is zero or more"),
        (lambda: backlog(5, 0), "message_bytes is above zero"),
        (lambda: little(0, 5), "arrivals_per_s is above zero"),
        (lambda: little(5, -5), "time_s is zero or more"),
        (lambda: filling(5, 5, -5), "arrivals_per_s is zero or more"),
        (lambda: course([], [Phase(1)]), "there is none"),
        (lambda: course([Phase(-1)], [Phase(1)]), "a phase's rate is zero or more"),
        (lambda: course([Phase(1, 0)], [Phase(1)]), "a phase lasts for some time"),
        (lambda: course([Phase(1, math.inf, 5)], [Phase(1)]), "a rate changes for a limited time"),
        (lambda: course([Phase(1)], [Phase(1)]).at(-1), "a time is zero or more"),
    ],
)
def test_bad_input_is_refused(call: object, sentence: str) -> None:
    assert callable(call)
    with pytest.raises(ModelError, match=sentence):
        call()


# --- rates that change ------------------------------------------------------------------------------------------


def test_a_rush_fills_and_the_time_after_it_drains() -> None:
    found = course([Phase(5000, 3600), Phase(500)], [Phase(3000)])
    assert found.peak == (3600, 7_200_000)
    assert found.drained() == pytest.approx(3600 + 7_200_000 / 2500)
    assert found.reaches(3_600_000) == pytest.approx(1800)
    assert found.reaches(7_200_001) is None
    assert found.at(3600 + 100) == pytest.approx(7_200_000 - 250_000)
    assert found.at(1e6) == 0


def test_a_rate_that_rises_and_falls_makes_parabolas() -> None:
    """From 0 to 4,000 in an hour and back, 2,500 handled: more comes for 1,350 s before the top and after it."""
    found = course([Phase(0, 3600, 4000), Phase(4000, 3600, 0), Phase(0)], [Phase(2500)])
    at, most = found.peak
    assert at == pytest.approx(3600 + 1350)
    assert most == pytest.approx(1500 * 1350)
    assert found.drained() == pytest.approx(3600 + 1350 * (1 + math.sqrt(2)), rel=1e-9)


def test_what_is_handled_may_change_too() -> None:
    found = course([Phase(10)], [Phase(0, 60), Phase(30)], messages=5)
    assert found.peak == (60, 605)
    assert found.drained() == pytest.approx(60 + 605 / 20)


def test_a_backlog_that_is_never_drained_is_said_to_be() -> None:
    assert course([Phase(5)], [Phase(5)], messages=1).drained() is None
    assert course([Phase(6)], [Phase(5)]).drained() is None
    assert course([Phase(6)], [Phase(5)]).peak == (math.inf, math.inf)
    assert course([Phase(5)], [Phase(5)]).drained() == 0
    assert course([Phase(4)], [Phase(5)], messages=0).peak == (0, 0)


rates = st.integers(0, 40)
some_phases = st.lists(st.tuples(rates, st.integers(1, 9), st.none() | rates), max_size=4)


def as_phases(parts: list[tuple[int, int, int | None]], last: int) -> list[Phase]:
    return [*(Phase(rate, seconds, until) for rate, seconds, until in parts), Phase(last)]


def stepped(
    arrivals: list[Phase], handled: list[Phase], level: float, until: float, steps: int
) -> list[float]:
    """The same by Euler's method, in small steps."""

    def rate(phases: list[Phase], now: float) -> float:
        for phase in phases:
            if now < phase.seconds or math.isinf(phase.seconds):
                return phase.per_s + phase.slope * now
            now -= phase.seconds
        return phases[-1].per_s

    found, width = [level], until / steps
    for number in range(steps):
        now = (number + 0.5) * width
        level = max(0.0, level + (rate(arrivals, now) - rate(handled, now)) * width)
        found.append(level)
    return found


@settings(max_examples=40, deadline=None)
@given(some_phases, some_phases, rates, rates, st.integers(0, 50))
def test_the_parabolas_are_what_small_steps_come_to(
    arriving: list[tuple[int, int, int | None]],
    handling: list[tuple[int, int, int | None]],
    last: int,
    last_handled: int,
    messages: int,
) -> None:
    arrivals, handled = as_phases(arriving, last), as_phases(handling, last_handled)
    found = course(arrivals, handled, messages=messages)
    steps, until = 1000, 40.0
    for number, level in enumerate(stepped(arrivals, handled, messages, until, steps)):
        assert found.at(number * until / steps) == pytest.approx(level, abs=3.4)
    if (gone := found.drained()) is not None:
        assert found.at(gone + 1e-6) == pytest.approx(0, abs=1e-3)
    at, most = found.peak
    if math.isfinite(at):
        assert found.at(at) == pytest.approx(most)
        assert found.reaches(most * 0.999) is not None
        assert found.reaches(most * 1.001 + 1e-6) is None
