"""Many waits, one timer."""

import random

from waystation._runtime.timeouts import Timeouts
from waystation.testing import VirtualClock


class Waits:
    """Waits that are open, and those whose time was over, in the order in which that was said."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.open: dict[str, None] = {}
        self.over: list[str] = []
        self.timeouts = Timeouts(self.clock, self.open, self._expire)

    def begin(self, name: str, timeout_s: float) -> None:
        self.open[name] = None
        self.timeouts.add(name, self.clock.monotonic() + timeout_s)

    def _expire(self, name: str) -> None:
        del self.open[name]
        self.over.append(name)


async def test_each_wait_ends_at_its_time_and_not_before() -> None:
    waits = Waits()
    for number in random.Random(1).sample(range(1, 200), 199):
        waits.begin(str(number), number)
    for number in range(1, 200):
        await waits.clock.advance(0.75)
        assert str(number) not in waits.over
        await waits.clock.advance(0.25)
        assert waits.over[-1] == str(number)
    assert waits.open == {}


async def test_a_wait_that_has_ended_is_not_told() -> None:
    waits = Waits()
    for number in range(10):
        waits.begin(str(number), 1 + number)
    for number in range(0, 10, 2):
        del waits.open[str(number)]
    await waits.clock.advance(20)
    assert waits.over == ["1", "3", "5", "7", "9"]


async def test_a_shorter_wait_that_begins_later_ends_first() -> None:
    waits = Waits()
    waits.begin("long", 10)
    await waits.clock.advance(1)
    waits.begin("short", 1)
    await waits.clock.advance(1)
    assert waits.over == ["short"]
    await waits.clock.advance(8)
    assert waits.over == ["short", "long"]


async def test_waits_that_have_ended_take_no_room() -> None:
    waits = Waits()
    waits.begin("open", 30)
    for number in range(100_000):
        waits.begin(str(number), 30)
        del waits.open[str(number)]
    assert len(waits.timeouts._ends) <= 2000
    await waits.clock.advance(30)
    assert waits.over == ["open"]


async def test_when_closed_it_tells_nobody() -> None:
    waits = Waits()
    waits.begin("open", 1)
    waits.timeouts.close()
    await waits.clock.advance(2)
    assert waits.over == []
