"""`Consumer`: one subscription at work: fetch, run, settle, keep the leases, drain. The hand on the latch.

Four tasks and N lanes, whatever the rate: one fetches, one settles (one settlement on its way at a time; what is
finished meanwhile is the next), one sends what must wait for room, one renews leases (`keeper`). What to fetch, what
may start and what becomes of it is decided elsewhere: `_core.prefetch`, `_core.admission`, `verdicts`. Only this file
calls `feed.settle`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from .._core.delivery import Delivery
from .._core.duration import seconds
from .._core.errors import SettlementLost, TransportError
from .._core.limits import CREDIT_MESSAGES_MAX, DRAIN_SETTLE_ATTEMPTS_MAX, LAST_SETTLEMENTS_S
from .._core.liveness import Sight
from .._core.ports import Transport
from .._core.prefetch import Prefetch
from .._core.rate import Rate
from .._core.retry import describe
from .._feeds.bell import Bell
from .context import Runtime
from .deadline import Deadline
from .handlers import HandlerSpec
from .intake import Intake
from .keeper import LeaseKeeper
from .lanes import Lanes
from .limiter import Limiter
from .pipeline import make_runner
from .results import Outcome, Results
from .source import AGAIN, Source
from .valve import Valve
from .verdicts import Verdicts

_log = logging.getLogger("waystation.consumer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What a consumer has done since it started.

    Attributes:
        received: Deliveries that came.
        handled: Deliveries whose handling came to an end: `accepted`, `retried` and `dead` together.
        in_flight: Deliveries received and not yet settled.
    """

    received: int
    handled: int
    accepted: int
    retried: int
    dead: int
    in_flight: int


class Consumer:
    """Runs a handler for what a subscription delivers. Made without I/O; started once.

    Raises:
        ConfigurationError: The handler needs what the transport, or a middleware, cannot give.
    """

    def __init__(self, spec: HandlerSpec, transport: Transport, runtime: Runtime) -> None:
        self.spec = spec
        self.transport = transport
        self._runtime = runtime
        self._to_settle = Bell()
        verdicts = Verdicts(spec, runtime, transport.capabilities.message_bytes_max)
        clock = runtime.clock
        self._source = Source(
            spec.name,
            spec.subscription,
            transport,
            clock=clock,
            random=runtime.random,
            on_ready=self._ready,
            take_question=self._take_question if spec.kind == "request" else None,
        )
        self.valve = Valve(spec.breaker, clock, shut=self._shut, opened=self._opened, name=spec.name)
        self._results = Results(
            spec,
            verdicts,
            publisher=runtime.publisher,
            # A reply goes back the way its request came; other messages where their topic leads.
            via=transport if spec.kind == "request" else None,
            answer=self._source.answer,
            wake=self._to_settle.ring,
            on_failure=lambda: self.valve.took(failed=1),
        )
        self._spending = verdicts.spending
        self._spoilt = 0
        self._call_s = 0.0 if spec.max_duration is None else seconds(spec.max_duration)
        self._deadline = Deadline(self._call_s, clock, spec.name) if self._call_s else None
        runner = make_runner(spec, transport, runtime, verdicts, self._results, self._deadline)
        self._limiter = None if spec.rate is None else Limiter(Rate.of(spec.rate), clock)
        self._lanes = Lanes(
            spec.concurrency,
            ordered=spec.ordered,
            runner=runner,
            clock=clock,
            name=spec.name,
            on_progress=self._progress,
            before_run=None if self._deadline is None else self._deadline.watch,
            limiter=self._limiter,
        )
        prefetch = Prefetch(spec.concurrency, runner.appetite, spec.prefetch or CREDIT_MESSAGES_MAX)
        self._intake = Intake(
            prefetch, self._lanes, self._limiter, self.valve, clock, finished=self._finished_count
        )
        self._keeper = LeaseKeeper(
            self._lanes,
            clock,
            feed=lambda: self._source.feed,
            unsettled=self._unsettled,
            on_loss=self._intake.ring,
            name=spec.name,
        )
        self._settling: Sequence[Outcome] = ()
        self._tasks: list[asyncio.Task[None]] = []
        self._lane_tasks: list[asyncio.Task[None]] = []
        self._handled = 0
        self._leaving = self._draining = False

    def sight(self) -> Sight:
        """What can be seen of it now, for whoever watches."""
        source, counters = self._source, self.counters
        return Sight(
            handler=self.spec.invocation.signature.name,
            open=source.feed is not None,
            paused=self.valve.paused,
            trouble=source.trouble,
            feed=source.number,
            fresh=source.fresh,
            received=source.received,
            ended=self._handled + counters.handled,
            waiting=self._lanes.waiting,
            running=self._lanes.running,
            unsettled=counters.in_flight,
            call_s=self._call_s,
        )

    @property
    def broken(self) -> str:
        """Which of its tasks has ended by itself, which none should; nothing: none has."""
        ended = [task.get_name() for task in (*self._tasks, *self._lane_tasks) if task.done()]
        return f"a task has ended: {ended[0]}" if ended and self._source.feed is not None else ""

    @property
    def counters(self) -> Counters:
        """What was done so far."""
        results = self._results
        return Counters(
            received=self._source.received,
            handled=results.accepted + results.retried + results.dead,
            accepted=results.accepted,
            retried=results.retried,
            dead=results.dead,
            in_flight=self._intake.unsettled,
        )

    async def start(self) -> None:
        """Open the feed and begin to consume.

        Raises:
            TransportError: The feed could not be opened; nothing was started.
        """
        assert self._source.number == 0, "a consumer is started once"
        await self._source.open()
        self._lane_tasks = self._lanes.start()
        for task in self._lane_tasks:
            task.add_done_callback(self._lane_ended)
        self._tasks = [
            self._start("fetch", self._fetch()),
            self._start("settle", self._settle()),
            self._start("send", self._send()),
            self._start("leases", self._keeper.run()),
        ]

    async def drain(self, timeout_s: float) -> int:
        """Take no more, finish what runs, settle it, hand back the rest, close the feed.

        Cancelled, it stops as if the time were over. May be called twice.

        Args:
            timeout_s: How long handlers may go on. Those that still run then are cancelled, their messages released.

        Returns:
            How many handlers were cancelled.
        """
        if self._source.feed is None:
            return 0
        self._leaving = True
        fetch, settle, send, leases = self._tasks
        await _end(fetch)
        abandoned = 0
        try:
            self._results.release(self._lanes.stop())
            abandoned = await self._finish(timeout_s)
            self._results.release(self._lanes.take_all())
            self._draining = True
            self._to_settle.ring()
            _, late = await asyncio.wait([settle], timeout=LAST_SETTLEMENTS_S)
            if late:
                _log.warning(
                    "%s: the last settlements were not taken; their messages come again", self.spec.name
                )
        finally:
            for task in (*self._lane_tasks, settle, send, leases):
                await _end(task)
            if self._deadline is not None:
                self._deadline.close()
            if self._limiter is not None:
                self._limiter.close()
            self.valve.close()
            await self._source.close()
        return abandoned

    async def resubscribe(self, reason: str) -> None:
        """Replace a feed that brings nothing though messages wait. Not while it drains.

        Cancelled, the consumer fetches nothing more: it is about to be drained.
        """
        fetch, *others = self._tasks
        await _end(fetch)
        self._source.trouble = reason
        self._tasks = [self._start("fetch", self._fetch()), *others]

    async def _finish(self, timeout_s: float) -> int:
        """Wait for the lanes; cancel those that are not done in time, and say how many these were."""
        late: set[asyncio.Task[None]] = set()

        def cancel() -> None:
            late.update(task for task in self._lane_tasks if not task.done())
            for task in late:
                task.cancel()

        timer = self._runtime.clock.call_later(timeout_s, cancel)
        try:
            await asyncio.wait(self._lane_tasks)
        finally:
            timer.cancel()
        if late:
            _log.warning("%s: %d handlers did not end in %.3g s", self.spec.name, len(late), timeout_s)
        return len(late)

    # --- receiving ---------------------------------------------------------------------------------------------

    async def _fetch(self) -> None:
        source = self._source
        while True:
            limit = await self._intake.turn()
            try:
                if source.trouble:
                    await self._reopen()
                deliveries = await source.receive(limit)
            except Exception as error:  # noqa: BLE001 - a consumer never dies silently, whatever a transport raises
                await source.failed(error)
                continue
            if not deliveries:
                await source.rest()
                continue
            self._took(deliveries)
            await asyncio.sleep(0)  # the lanes begin before the next fetch does

    def _ready(self) -> None:
        """A prompt feed has something: what comes to handlers at rest is handed over at once, else it is fetched.

        It is fetched, too, while a sequence is held back: a feed calls this from within `settle`, and what would be
        released again at once would be offered again by that, and so on without end.
        """
        source = self._source
        is_at_rest = source.resting and not source.trouble and not self._lanes.waiting
        if is_at_rest and not self._results.holds_back:
            limit = self._intake.limit()
            try:
                deliveries = source.take(limit) if limit > 0 else ()
            except TransportError:
                deliveries = ()  # the fetching task finds it too, and says so
            if deliveries:
                self._took(deliveries)
            if 0 < len(deliveries) < limit:
                return  # that was all
        source.wake()

    def _take_question(self, delivery: Delivery) -> bool:
        """Hand a question to the lanes that lies in no log, if a hand is free for it soon; say whether that is so."""
        if self._leaving or not self._intake.takes_one():
            return False
        self._lanes.give((delivery,))
        return True

    def _took(self, deliveries: Sequence[Delivery]) -> None:
        if self._intake.admits(deliveries):
            self._intake.received(deliveries)
            self._lanes.give(self._results.admit(deliveries))
        else:
            self._results.release(deliveries)

    async def _reopen(self) -> None:
        """Replace the feed. What the old one delivered comes again, so what has not begun is forgotten."""
        self._lanes.take_back()
        self._results.forget()
        await self._source.reopen()

    def _progress(self, handled: int, elapsed_s: float) -> bool:
        """Called by a lane after each run; returns whether the next fetch should begin while there is still work."""
        self._handled += handled
        if self._spending is not None:
            self._spending.handled(handled)
        if self.spec.breaker is not None:
            spoilt, self._spoilt = self._results.spoilt - self._spoilt, self._results.spoilt
            self.valve.took(succeeded=max(0, handled - spoilt))
        if self.valve.paused:
            self._shut()
        return self._intake.progress(handled, elapsed_s)

    def _shut(self) -> None:
        self._results.release(self._lanes.pause())

    def _opened(self) -> None:
        self._lanes.resume()
        self._intake.ring()

    def _finished_count(self) -> int:
        return self._results.waiting + len(self._settling)

    # --- settling ----------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        outcomes = self._results.outcomes
        while True:
            if not outcomes:
                if self._draining and self._results.is_sent:
                    return
                await self._to_settle.rung()
                continue
            self._settling = batch = tuple(outcomes)
            outcomes.clear()
            if await self._settle_batch(batch):
                self._results.settled(batch)
            self._settling = ()
            self._intake.ring()

    async def _settle_batch(self, batch: Sequence[Outcome]) -> bool:
        """Settle until it is done or its leases are gone; say whether it is done."""
        failures = 0
        feed = self._source.feed
        while feed is not None and feed is self._source.feed:
            try:
                await feed.settle(batch)
                return True
            except SettlementLost as error:
                _log.warning(
                    "%s: of %d settlements some came too late; their messages come again: %s",
                    self.spec.name,
                    len(batch),
                    error,
                    extra={"subscription": self.spec.name},
                )
                return True  # the others are settled
            except Exception as error:  # noqa: BLE001 - a consumer never dies silently, whatever a transport raises
                failures += 1
                if failures == 1:
                    _log.warning(
                        "%s: settling failed, trying again: %s",
                        self.spec.name,
                        describe(error),
                        extra={"subscription": self.spec.name},
                    )
                if self._draining and failures >= DRAIN_SETTLE_ATTEMPTS_MAX:
                    break
            await self._runtime.clock.sleep(AGAIN.delay_s(failures, jitter=self._runtime.random()))
        _log.warning(
            "%s: %d settlements were given up; their messages come again", self.spec.name, len(batch)
        )
        return False

    async def _send(self) -> None:
        results = self._results
        while True:
            if results.returned:
                await results.send_returned()
            else:
                await results.to_send.rung()

    def _unsettled(self) -> list[Delivery]:
        return [
            *self._lanes.deliveries(),
            *self._results.unsettled(),
            *(delivery for delivery, _ in self._settling),
        ]

    # --- tasks -------------------------------------------------------------------------------------------------

    def _start(self, what: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(work, name=f"waystation {self.spec.name} {what}")

    def _lane_ended(self, task: asyncio.Task[None]) -> None:
        """Say so when a lane ends by itself: nothing but an exit of the program should do that."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("%s: a lane ended: %s", self.spec.name, describe(error), exc_info=error)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    await asyncio.wait([task])
