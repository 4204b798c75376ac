"""Lanes: the long-lived tasks that run one subscription's handlers, one call at a time each.

Messages of one key always go to the same lane, so they are handled one after the other. Messages without a key, and all
messages of a subscription that asked for no order, wait in one queue from which every lane takes: a slow handler
holds up nobody else's.

A delivery stays at the head of its lane's queue while it is handled, and leaves it when its end is known. So what is
unsettled can always be counted, and nothing needs to be written down for each message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from .._core.admission import lane_of, sequence_of
from .._core.delivery import Delivery
from .._core.errors import SettlementLost
from .._core.limits import LANE_SLICE_S
from .._core.ports import Clock
from .._core.prefetch import run_size
from .lane import LANE, Lane, LeaseLost, Runner
from .limiter import Limiter


class Lanes:
    """All lanes of a subscription.

    Args:
        count: How many handlers run at once.
        ordered: Whether messages of one key go to one lane.
        on_progress: Called after each run with the number of messages and the seconds that it took; returns whether
            somebody waits for a turn of the event loop.
        before_run: Called with a lane before each of its runs.
        limiter: What may begin, if that is limited.
    """

    def __init__(
        self,
        count: int,
        *,
        ordered: bool,
        runner: Runner,
        clock: Clock,
        name: str,
        on_progress: Callable[[int, float], bool],
        before_run: Callable[[Lane], object] | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        self._lanes = [Lane() for _ in range(count)]
        self._pending = [lane.pending for lane in self._lanes]
        self._shared: deque[Delivery] = deque()
        self._behind: list[Delivery] = []
        self._ordered = ordered
        self._runner = runner
        self._monotonic = clock.monotonic
        self._name = name
        self._on_progress = on_progress
        self._before_run = before_run
        self._limiter = limiter
        self._stopping = False

    def start(self) -> list[asyncio.Task[None]]:
        """Start the lanes' tasks."""
        return [
            asyncio.create_task(self._work(lane), name=f"waystation {self._name} lane {number}")
            for number, lane in enumerate(self._lanes)
        ]

    def give(self, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries to the lanes, in order."""
        lanes = self._lanes
        if len(lanes) == 1:
            lanes[0].pending.extend(deliveries)
        elif not self._ordered:
            self._shared.extend(deliveries)
        else:
            for delivery in deliveries:
                key = delivery.key
                (self._shared if key is None else lanes[lane_of(key, len(lanes))].pending).append(delivery)
        idle = len(self._shared)
        for lane in lanes:
            if lane.pending or idle > 0:
                idle -= not lane.pending
                lane.awake.ring()

    @property
    def waiting(self) -> int:
        """Deliveries not handled yet, those being handled included."""
        return len(self._shared) + len(self._behind) + sum(map(len, self._pending))

    @property
    def idle(self) -> int:
        """Deliveries not handled yet and not being handled."""
        return self.waiting - self.running

    @property
    def running(self) -> int:
        """Deliveries that are being handled."""
        return sum([lane.taken for lane in self._lanes])

    def deliveries(self) -> Iterator[Delivery]:
        """What is not handled yet, those being handled included."""
        for lane in self._lanes:
            yield from lane.pending
        yield from self._shared
        yield from self._behind

    def take_back(self) -> list[Delivery]:
        """Remove and return, in order, what is not being handled."""
        back, self._behind = self._behind, []
        for lane in self._lanes:
            back += lane.take_back()
        back.extend(self._shared)
        self._shared.clear()
        return back

    def pause(self) -> list[Delivery]:
        """Begin nothing more, until `resume`.

        Returns:
            What can be handed back at once. What follows a message that is being handled, in the order of its key, must
            not begin elsewhere before that one has ended: it stays. To be called again when something has ended.
        """
        handled = [delivery for lane in self._lanes for delivery in islice(lane.pending, lane.taken)]
        running = {sequence for delivery in handled if (sequence := sequence_of(delivery)) is not None}
        back = self.take_back()
        self._behind = [delivery for delivery in back if sequence_of(delivery) in running]
        return [delivery for delivery in back if sequence_of(delivery) not in running]

    def resume(self) -> None:
        """Go on with what stayed."""
        behind, self._behind = self._behind, []
        self.give(behind)

    def lose(self, lost: SettlementLost) -> int:
        """Forget deliveries whose leases had ended, and interrupt who handles one.

        Returns:
            How many lanes were interrupted.
        """
        gone = {id(delivery) for delivery in lost.deliveries}
        self._shared = deque(delivery for delivery in self._shared if id(delivery) not in gone)
        self._behind = [delivery for delivery in self._behind if id(delivery) not in gone]
        return sum([lane.lose(LeaseLost(str(lost), deliveries=lost.deliveries)) for lane in self._lanes])

    def stop(self) -> list[Delivery]:
        """Let each lane end when it has ended what it is handling; returns what `pause` does, `take_all` the rest."""
        self._stopping = True
        back = self.pause()
        for lane in self._lanes:
            lane.awake.ring()
        return back

    def take_all(self) -> list[Delivery]:
        """Remove and return everything, in order, when no lane runs any more."""
        for lane in self._lanes:
            lane.taken = 0
        return self.take_back()

    async def _work(self, lane: Lane) -> None:
        lane.task = asyncio.current_task()
        LANE.set(lane)
        size = least = self._runner.appetite
        monotonic, limiter, granted, slice_s = self._monotonic, self._limiter, 0, 0.0
        while True:
            if self._shared:
                self._share(lane, size)
            if not lane.pending:
                if self._stopping:
                    return
                await lane.awake.rung()
                slice_s = 0.0
                continue
            if limiter is not None:
                granted = limiter.take(lane, min(size, len(lane.pending)))
                if not granted:
                    await lane.awake.rung()
                    continue
            if self._before_run is not None:
                self._before_run(lane)
            started = monotonic()
            handled = await self._runner.run(lane, granted or size)
            if limiter is not None:
                limiter.settle(granted - handled)
            lane.recover()  # from an interruption that the handler caught
            if lane.lost:
                lane.forget(lane.lost)
                lane.lost = ()
            elapsed_s = monotonic() - started
            size = max(least, run_size(size, handled, elapsed_s))
            wants_turn = self._on_progress(handled, elapsed_s)
            slice_s += elapsed_s
            if (wants_turn or slice_s >= LANE_SLICE_S) and (lane.pending or self._shared):
                slice_s = 0.0
                await asyncio.sleep(0)

    def _share(self, lane: Lane, size: int) -> None:
        """Take from the common queue what one run can handle, and leave the other lanes their part."""
        shared = self._shared
        fair = max(self._runner.appetite, -(-len(shared) // len(self._lanes)))
        for _ in range(min(len(shared), fair, size - len(lane.pending))):
            lane.pending.append(shared.popleft())
