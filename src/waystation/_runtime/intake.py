"""`Intake`: when a subscription fetches, and how much. What is fetched has a lease, and waits for nobody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._core.delivery import Delivery
from .._core.ports import Clock
from .._core.prefetch import Prefetch
from .._feeds.bell import Bell
from .lanes import Lanes
from .limiter import Limiter
from .valve import Valve


class Intake:
    """Decides for one subscription.

    Args:
        finished: How many deliveries have left the lanes and are not settled.
    """

    def __init__(
        self,
        prefetch: Prefetch,
        lanes: Lanes,
        limiter: Limiter | None,
        valve: Valve,
        clock: Clock,
        *,
        finished: Callable[[], int],
    ) -> None:
        self._prefetch = prefetch
        self._lanes = lanes
        self._limiter = limiter
        self._valve = valve
        self._clock = clock
        self._finished = finished
        self._bell = Bell()

    async def turn(self) -> int:
        """Wait until something should be fetched; return how much."""
        while (limit := self.limit()) <= 0:
            if self._limiter is None or limit == 0:
                await self._bell.rung()
                continue
            timer = self._clock.call_later(self._limiter.wait_s(self._lanes.idle), self._bell.ring)
            try:
                await self._bell.rung()
            finally:
                timer.cancel()
        return limit

    def received(self, deliveries: Sequence[Delivery]) -> None:
        """Take in what was fetched."""
        self._prefetch = self._prefetch.received(deliveries)

    def admits(self, deliveries: Sequence[Delivery]) -> bool:
        """Say whether what was fetched may go to the lanes: the valve may have been shut meanwhile."""
        valve = self._valve
        return not (valve.paused or (valve.probing and (len(deliveries) > 1 or self.unsettled > 0)))

    def takes_one(self) -> bool:
        """Say whether something that nobody has fetched may go to the lanes, as if it had been."""
        if self._limiter is not None or self._valve.paused or self._valve.probing:
            return False  # then all is weighed that is fetched
        waiting = self._lanes.waiting
        return self._prefetch.has_room(waiting=waiting, unsettled=waiting + self._finished())

    def progress(self, handled: int, elapsed_s: float) -> bool:
        """Take in a lane's run; say whether the next fetch should begin while there is still work."""
        self._prefetch = self._prefetch.measured(handled, elapsed_s)
        due = self._bell.has_waiter and self._lanes.waiting <= self._prefetch.low_water
        if due:
            self._bell.ring()
        return due

    def ring(self) -> None:
        """Look again: something was settled, or lost. Whoever waits is woken only if there is something to do."""
        if self._bell.has_waiter and self.limit():
            self._bell.ring()

    @property
    def unsettled(self) -> int:
        """Deliveries that were received and are not settled."""
        return self._lanes.waiting + self._finished()

    def limit(self) -> int:
        """How much to fetch now; 0: nothing before something ends; less: nothing before some time has passed."""
        waiting = self._lanes.waiting
        unsettled = waiting + self._finished()
        limit = self._prefetch.limit(waiting=waiting, unsettled=unsettled)
        if limit == 0 or self._valve.paused:
            return 0
        if self._valve.probing:
            return 0 if unsettled else 1
        if self._limiter is None:
            return limit
        return min(limit, self._limiter.room(self._lanes.idle)) or -1
