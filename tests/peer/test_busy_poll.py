"""`BusyPoll`: looks for what is about to come, and only then, and not for long."""

from __future__ import annotations

import asyncio

import pytest

from waystation._peer import busy_poll
from waystation._peer.busy_poll import BusyPoll

QUICK_S, LONG_S = 100e-6, 300e-6


class Time:
    """What is waited for comes when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Looks:
    """Counts how often it was looked for something."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    made = Looks()
    monkeypatch.setattr(busy_poll, "_let_others_go_first", made)
    return made


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def trip(poll: BusyPoll, time: Time, duration_s: float) -> None:
    """Wait for something that takes so long."""
    poll.expect()
    await turns(3)
    time.now_s += duration_s
    await turns(3)
    poll.came()
    await turns(3)


async def test_what_has_never_come_quickly_is_not_looked_for(looks: Looks) -> None:
    time = Time()
    poll = BusyPoll(monotonic=time)

    await trip(poll, time, LONG_S)
    await trip(poll, time, QUICK_S)

    assert looks.count == 0


async def test_after_something_quick_the_next_is_looked_for_until_it_comes(looks: Looks) -> None:
    time = Time()
    poll = BusyPoll(monotonic=time)
    await trip(poll, time, QUICK_S)

    poll.expect()
    await turns(5)
    seen = looks.count
    poll.came()
    await turns(5)

    assert seen >= 4
    assert looks.count <= seen + 1


async def test_what_does_not_come_is_not_looked_for_any_longer(looks: Looks) -> None:
    time = Time()
    poll = BusyPoll(monotonic=time)
    await trip(poll, time, QUICK_S)

    poll.expect()
    await turns(5)
    time.now_s += LONG_S
    await turns(2)
    seen = looks.count
    await turns(20)

    assert looks.count == seen
    poll.came()
    await trip(poll, time, QUICK_S)
    assert looks.count == seen, "the last one was slow"
    await trip(poll, time, QUICK_S)
    assert looks.count > seen, "the last one was quick"


async def test_many_that_expect_something_look_once_a_turn(looks: Looks) -> None:
    time = Time()
    poll = BusyPoll(monotonic=time)
    await trip(poll, time, QUICK_S)

    for _ in range(100):
        poll.expect()
    await turns(10)

    assert looks.count <= 10


async def test_nobody_looks_where_others_cannot_be_let_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy_poll, "_let_others_go_first", None)
    time = Time()
    poll = BusyPoll(monotonic=time)

    await trip(poll, time, QUICK_S)
    await trip(poll, time, QUICK_S)
