"""`VirtualClock`: time passes when the test says so. `ScaledClock`: it passes faster."""

import asyncio
import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation import ConfigurationError
from waystation.testing import ScaledClock, VirtualClock


async def test_nothing_happens_until_time_passes() -> None:
    clock, happened = VirtualClock(1000.0), list[str]()
    clock.call_later(5, lambda: happened.append("timer"))
    await clock.advance(4.9)
    assert (happened, clock.time(), clock.monotonic()) == ([], 1004.9, 1004.9)
    await clock.advance(0.2)
    assert happened == ["timer"]


async def test_things_happen_in_order_and_at_their_time() -> None:
    clock, happened = VirtualClock(0.0), list[float]()

    async def sleeper(delay_s: float) -> None:
        await clock.sleep(delay_s)
        happened.append(clock.time())

    tasks = [asyncio.create_task(sleeper(delay_s)) for delay_s in (3, 1, 2)]
    await clock.advance(10)
    assert happened == [1, 2, 3]
    await asyncio.gather(*tasks)


async def test_what_happens_may_begin_more() -> None:
    clock, ticks = VirtualClock(0.0), list[float]()

    async def every_second() -> None:
        while True:
            await clock.sleep(1)
            ticks.append(clock.time())

    task = asyncio.create_task(every_second())
    await clock.advance(3.5)
    assert ticks == [1, 2, 3]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_timer_that_is_cancelled_does_not_fire() -> None:
    clock, happened = VirtualClock(), list[str]()
    clock.call_later(1, lambda: happened.append("late")).cancel()
    clock.call_later(0, lambda: happened.append("soon")).cancel()
    await clock.advance(2)
    assert not happened


async def test_a_delay_of_zero_needs_no_time() -> None:
    clock = VirtualClock()
    before = clock.time()
    async with asyncio.timeout(1):
        await clock.sleep(0)
    assert clock.time() == before


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=8))
async def test_to_advance_by_a_delay_is_enough_for_it(delays: list[float]) -> None:
    clock = VirtualClock()
    for delay_s in delays:
        due = clock.time() + delay_s
        task = asyncio.create_task(clock.sleep(due - clock.time()))
        await clock.advance(delay_s)
        assert task.done()
        assert clock.time() == pytest.approx(due, abs=2e-6)
        assert clock.time() >= due


async def test_a_scaled_clock_waits_for_so_much_less() -> None:
    clock, began = ScaledClock(1000, now=500.0), time.monotonic()
    assert clock.time() == pytest.approx(500.0, abs=100)
    await clock.advance(50)
    assert clock.time() >= 550
    assert time.monotonic() - began < 5
    before = clock.monotonic()
    await clock.sleep(0)
    await clock.sleep(10)
    assert clock.monotonic() - before >= 10


async def test_what_a_scaled_clock_puts_off_is_never_early_and_can_be_cancelled() -> None:
    clock, happened = ScaledClock(1000), list[float]()
    due = clock.monotonic() + 20
    clock.call_later(20, lambda: happened.append(clock.monotonic()))
    clock.call_later(10, lambda: happened.append(0)).cancel()
    await clock.advance(30)
    (when,) = happened
    assert when >= due


def test_a_scaled_clock_begins_now_unless_told() -> None:
    assert ScaledClock(1).time() == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_a_clock_that_stands_still_or_goes_back_is_refused(speed: float) -> None:
    with pytest.raises(ConfigurationError, match="must be over 0"):
        ScaledClock(speed)
