"""A test under a schedule: its handlers are the process that is killed, and lives again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import pytest

from ..clock import VirtualClock
from ..embedded import EmbeddedBus
from .schedule import Schedule, draw, shorten
from .transport import Nemesis, faulty

#: How much virtual time passes at once while a test runs under faults, in seconds.
_STEP_S = 1.0

#: Real time for threads of a persistent medium, for each such step, in seconds.
_REAL_STEP_S = 0.004

#: How long one run may take, in real seconds, before what the test waits for is held to never come.
_PATIENCE_S = 30.0

Test = Callable[[VirtualClock], Awaitable[None]]
"""What is run again and again. Its bus is at work when it is called."""


class Survival:
    """Runs a test under one schedule after another.

    Args:
        urls: A new medium for each run.

    Attributes:
        nemesis: What did it in the last run.
    """

    def __init__(self, test: Test, bus: EmbeddedBus, urls: Iterator[str]) -> None:
        self._test = test
        self._bus = bus
        self._urls = urls
        self.nemesis = Nemesis((), clock=VirtualClock(), groups=())

    async def prove(self, seeds: range) -> None:
        """Run once without faults, then once for each seed.

        Raises:
            BaseException: What the test raised, with a note: the seed, and the shortest schedule that was found.
        """
        steps = await self.run((), seed=seeds.start)
        for seed in seeds:
            schedule = draw(seed, steps=steps)
            try:
                await self.run(schedule, seed=seed)
            except (Exception, pytest.fail.Exception) as error:
                shortest = await shorten(schedule, partial(self._fails, seed=seed))
                error.add_note(_told(seed, schedule, shortest))
                raise

    async def run(self, schedule: Schedule, *, seed: int) -> int:
        """Run the test once; return how many calls of the transport it took."""
        clock, bus = VirtualClock(), self._bus
        nemesis = self.nemesis = Nemesis(schedule, clock=clock, groups=bus.handled_groups)
        with bus.on(next(self._urls), clock=clock, seed=seed, wrap=lambda inner: faulty(inner, nemesis)):
            async with bus:
                time = asyncio.create_task(_pass(clock, real_s=_REAL_STEP_S * bus.capabilities.persistent))
                try:
                    async with asyncio.timeout(_PATIENCE_S):
                        await self._live(nemesis, clock)
                finally:
                    time.cancel()
                    await asyncio.wait([time])
        return nemesis.steps

    async def _live(self, nemesis: Nemesis, clock: VirtualClock) -> None:
        testing: asyncio.Task[None] | None = None
        try:
            while testing is None or not testing.done():
                async with self._bus.at_work(waits_for_retries=True):
                    testing = testing or asyncio.ensure_future(_as_coroutine(self._test(clock)))
                    crash = asyncio.create_task(nemesis.crashed.wait())
                    await asyncio.wait([testing, crash], return_when=asyncio.FIRST_COMPLETED)
                    crash.cancel()
                nemesis.revive()
            await testing
        finally:
            if testing is not None and not testing.done():
                testing.cancel()
                await asyncio.wait([testing])

    async def _fails(self, schedule: Schedule, *, seed: int) -> bool:
        try:
            await self.run(schedule, seed=seed)
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - whatever it is, the run failed
            return True
        return False


async def _as_coroutine(test: Awaitable[None]) -> None:
    await test


async def _pass(clock: VirtualClock, *, real_s: float) -> None:
    while True:
        await clock.advance(_STEP_S)
        await asyncio.sleep(real_s)


def _told(seed: int, schedule: Schedule, shortest: Schedule) -> str:
    if not shortest:
        return f"seed {seed}: it failed without any fault"
    faults = "\n".join(f"  {fault}" for fault in shortest)
    return (
        f"seed {seed}, whose schedule was shortened from {len(schedule)} faults to {len(shortest)}:\n{faults}\n"
        f"again: @pytest.mark.waystation_faults(n=1, seed={seed})"
    )
