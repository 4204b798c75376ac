"""The watch over a running replay: looks several times a second, ends a worker midway, sees when all is done."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import Final

from waystation import Bus

from .effects import read_counts, read_effects
from .processes import Crew
from .progress import Progress, look
from .requester import Requester
from .verify import Outcome
from .view import View

#: Workers of the group `delays`.
WORKERS_COUNT: Final = 2

#: The share of the flights after which one of them is ended. Below the share that the feeder publishes before it.
KILL_SHARE: Final = 0.3

#: Pause between two looks, in seconds.
LOOK_EVERY_S: Final = 0.2

#: When nothing has moved for so long, in seconds, nothing will: longer than any lease.
STANDSTILL_S_MAX: Final = 30.0

#: Requests that are asked when everything was handled, so that every flight must be known.
LAST_REQUESTS_COUNT: Final = 5


class Watch:
    """Watches one replay from its first message to its last.

    Args:
        bus: A connected bus on the same store.
        effects: A connected bus on what the handlers keep; the same, or another.
        crew: The processes that do the work.
        view: Where to show it.
        total: How many flights will come.
        begun: When the demo began, on the monotonic clock.
    """

    def __init__(self, bus: Bus, effects: Bus, crew: Crew, view: View, *, total: int, begun: float) -> None:
        self._bus = bus
        self._effects = effects
        self._crew = crew
        self._view = view
        self._total = total
        self._begun = begun
        self._requester = Requester(bus, total)
        self._fed = False
        self._killed: int | None = None
        self._moved: Progress | None = None
        self._first_s: float | None = None
        self._last: Progress | None = None

    async def run(self) -> None:
        """Return when every message was handled, or when nothing has moved for `STANDSTILL_S_MAX`.

        Raises:
            DemoFailed: A process ended that should not have.
        """
        asking = asyncio.create_task(self._requester.run())
        try:
            done = False
            while not done:
                await asyncio.sleep(LOOK_EVERY_S)
                done = await self._step()
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
        for number in range(1, min(LAST_REQUESTS_COUNT, self._total) + 1):
            await self._requester.ask(number, final=True)

    async def outcome(self) -> Outcome:
        """Read everything that the run left behind. The processes should have ended."""
        async with self._effects.transaction() as tx:
            effects = await read_effects(tx)
            workers = (await read_counts(tx)).workers
        groups = await self._bus.inspector().groups()
        return Outcome(
            effects=effects,
            answers=self._requester.answers,
            dead=sum(info.dead for info in groups),
            killed=int(self._killed is not None),
            restarted=max(0, len(workers) - WORKERS_COUNT),
        )

    def summary(self) -> str:
        """Say how much went through the store, how fast, and how long everything took."""
        if self._last is None or self._first_s is None:
            return "nothing was published"
        seconds = max(self._last.elapsed_s - self._first_s, 1e-3)
        messages = self._last.published + self._last.deliveries
        return (
            f"{self._last.published:,} flights published, {self._last.deliveries:,} messages handled: "
            f"{messages / seconds:,.0f} messages/s over {seconds:.1f} s; "
            f"{time.monotonic() - self._begun:.1f} s in all"
        )

    async def _step(self) -> bool:
        """Look once, and do what is due; return whether all is over."""
        self._crew.check()
        fed = self._crew.fed
        now = await self._look()
        self._view.show(now)
        if self._first_s is None and now.published:
            self._first_s = now.elapsed_s
        if not self._fed and now.ready and len(now.workers) == WORKERS_COUNT:
            self._fed = True
            self._crew.let_feeder_go_on()
        if self._killed is None and now.handled["delays"] >= KILL_SHARE * self._total:
            self._kill(now)
        if self._moved is None or now.differs(self._moved):
            self._note_restart(self._moved, now)
            self._moved = now
        before, self._last = self._last, now
        # Two looks in a row: an alert that was sent between reading one group's place and the next is still seen.
        quiet = now.idle and before is not None and before.idle
        if fed and quiet and self._killed is not None and len(now.workers) > WORKERS_COUNT:
            return True
        if now.elapsed_s - self._moved.elapsed_s > STANDSTILL_S_MAX:
            self._view.event(f"nothing has moved for {STANDSTILL_S_MAX:.0f} s")
            return True
        return False

    async def _look(self) -> Progress:
        async with self._effects.transaction() as tx:
            counts = await read_counts(tx)
        groups = await self._bus.inspector().groups()
        return look(
            counts,
            groups,
            elapsed_s=time.monotonic() - self._begun,
            total=self._total,
            answers=len(self._requester.answers),
            answer_ms=self._requester.median_ms(),
        )

    def _kill(self, now: Progress) -> None:
        """End the worker that was started first, and let the feeder go on."""
        self._killed = now.workers[0]
        os.kill(self._killed, signal.SIGKILL)
        self._crew.let_feeder_go_on()
        self._view.event(
            f"{now.elapsed_s:5.1f} s  kill -9 {self._killed}: one of {WORKERS_COUNT} workers, "
            f"with {now.lag.get('delays', 0):,} flights before them"
        )

    def _note_restart(self, before: Progress | None, now: Progress) -> None:
        known = len(before.workers) if before is not None else 0
        for pid in now.workers[max(known, WORKERS_COUNT) :]:
            self._view.event(f"{now.elapsed_s:5.1f} s  started in its place: {pid}")
