import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from waystation._core.errors import ConfigurationError
from waystation._runtime.lifecycle import run_until_stopped


class Desk:
    """What the lifecycle needs of a bus, told by the test how long draining takes."""

    def __init__(self, drained: Callable[[float], Awaitable[int]]) -> None:
        self.started, self.draining, self.closed = asyncio.Event(), asyncio.Event(), False
        self._drained = drained

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.started.set()
        try:
            yield
        finally:
            self.closed = True

    async def drain(self, deadline_s: float) -> int:
        self.draining.set()
        return await self._drained(deadline_s)


def stop(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_with_the_deadline_and_disconnects(number: signal.Signals) -> None:
    deadlines = []

    async def drained(deadline_s: float) -> int:
        deadlines.append(deadline_s)
        return 0

    desk = Desk(drained)
    running = asyncio.create_task(run_until_stopped(desk, 7.5))
    await desk.started.wait()
    stop(number)
    assert await running == 0
    assert deadlines == [7.5]
    assert desk.closed


async def test_what_was_abandoned_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async def drained(deadline_s: float) -> int:
        return 3

    desk = Desk(drained)
    running = asyncio.create_task(run_until_stopped(desk, 0.0))
    await desk.started.wait()
    stop()
    assert await running == 3
    assert "3 handlers were abandoned at the deadline" in caplog.text


async def test_a_second_signal_cuts_the_drain_short(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    desk = Desk(forever)
    running = asyncio.create_task(run_until_stopped(desk, 3600))
    await desk.started.wait()
    stop()
    await desk.draining.wait()
    stop(signal.SIGINT)
    assert await running == 1
    assert desk.closed
    assert "SIGTERM: stopping, in 3600 s at most" in caplog.text
    assert "SIGINT again: forcing" in caplog.text


async def test_a_cancellation_from_outside_stays_one() -> None:
    desk = Desk(forever)
    running = asyncio.create_task(run_until_stopped(desk, 1.0))
    await desk.started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert desk.closed


async def test_signals_are_given_back_to_whom_they_belonged() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    desk = Desk(nothing)
    running = asyncio.create_task(run_until_stopped(desk, 1.0))
    await desk.started.wait()
    stop()
    await running
    assert {number: signal.getsignal(number) for number in before} == before


def test_in_another_thread_it_is_refused_with_the_way_out() -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(run_until_stopped(Desk(nothing), 1.0))
        except ConfigurationError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "async with bus.running()" in str(errors[0])


async def forever(deadline_s: float) -> int:
    await asyncio.Event().wait()
    return 0


async def nothing(deadline_s: float) -> int:
    return 0
