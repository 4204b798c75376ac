"""What a broker's timer is told under a clock that is faster than the world."""

import pytest

from waystation._broker.pace import clock_time, real_s, real_time, speed_of
from waystation._runtime.clock import SystemClock
from waystation.testing import ScaledClock, VirtualClock


def test_a_clock_that_says_nothing_has_a_speed_of_one() -> None:
    assert speed_of(SystemClock()) == speed_of(VirtualClock()) == 1
    assert real_s(SystemClock(), 30) == 30


def test_a_delay_is_shorter_by_the_speed() -> None:
    assert real_s(ScaledClock(60), 30) == 0.5


def test_times_are_put_into_the_worlds_and_back() -> None:
    clock = VirtualClock(1000.0)
    assert real_time(clock, 1060.0, real_now=5000.0) == 5060.0
    assert clock_time(clock, 5060.0, real_now=5000.0) == 1060.0
    fast = ScaledClock(100, now=1000.0)
    assert real_time(fast, fast.time() + 200, real_now=5000.0) == pytest.approx(5002.0, abs=0.5)
    assert clock_time(fast, 5002.0, real_now=5000.0) == pytest.approx(fast.time() + 200, abs=50)
