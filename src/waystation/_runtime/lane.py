"""`Lane`: one queue, and the call that is at work on its head. It can be interrupted, and the lane goes on."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from itertools import islice
from typing import Protocol

from .._core.admission import sequence_of
from .._core.delivery import Delivery
from .._core.errors import SettlementLost
from .._feeds.bell import Bell


class LeaseLost(SettlementLost):
    """Interrupts what handles a delivery whose lease had ended: it is not settled, and nothing of it is kept."""


class Lane:
    """One lane's queue.

    Attributes:
        pending: Deliveries for this lane; those at the head are being handled.
        taken: How many are being handled.
        alone: How many of the next ones must each have a transaction of their own.
        lost: Deliveries whose leases had ended: what is left of them when a run ends is forgotten.
        began: When the call that runs began, by the monotonic clock, if somebody has to know; else infinity.
        task: What runs it.
    """

    __slots__ = ("_interruption", "alone", "awake", "began", "lost", "pending", "taken", "task")

    def __init__(self) -> None:
        self.pending: deque[Delivery] = deque()
        self.taken = 0
        self.alone = 0
        self.lost: tuple[Delivery, ...] = ()
        self.began = math.inf
        self.awake = Bell()
        self.task: asyncio.Task[None] | None = None
        self._interruption: Exception | None = None

    def forget(self, deliveries: Sequence[Delivery]) -> None:
        """Remove deliveries that are not being handled."""
        gone = {id(delivery) for delivery in deliveries}
        self.take_back(lambda delivery: id(delivery) in gone)

    def lose(self, lost: LeaseLost) -> bool:
        """Forget deliveries; if one is being handled, interrupt that, and return True."""
        self.forget(lost.deliveries)
        gone = {id(delivery) for delivery in lost.deliveries}
        if not any(id(delivery) in gone for delivery in islice(self.pending, self.taken)):
            return False
        self.lost += lost.deliveries
        self.interrupt(lost)
        return True

    def has_lost(self, delivery: Delivery) -> bool:
        """Say whether the lease of what is being handled had ended."""
        return any(delivery is lost for lost in self.lost)

    def interrupt(self, error: Exception) -> None:
        """Cancel what is being handled, and let the lane go on: its runner asks `failure` why."""
        if self._interruption is None and self.taken and self.task is not None:
            self._interruption = error
            self.task.cancel()

    def failure(self, error: BaseException) -> BaseException:
        """Say what a call has failed with that raised `error`: with that, or with what interrupted it.

        Raises:
            asyncio.CancelledError: The lane is being cancelled, not the call.
        """
        interruption = self.recover()
        if isinstance(error, asyncio.CancelledError) and _being_cancelled():
            raise error
        if interruption is None:
            return error
        return interruption.with_traceback(error.__traceback__)  # it shows where the call was

    def recover(self) -> Exception | None:
        """Take the cancellation back with which the lane was interrupted; return why it was, if it was."""
        interruption, self._interruption = self._interruption, None
        if interruption is not None and self.task is not None:
            self.task.uncancel()
        return interruption

    def take_back(self, wanted: Callable[[Delivery], bool] = lambda _: True) -> list[Delivery]:
        """Remove and return, in order, what is wanted of what is not being handled."""
        waiting = list(islice(self.pending, self.taken, None))
        back = [delivery for delivery in waiting if wanted(delivery)]
        if back:
            stay = [delivery for delivery in waiting if not wanted(delivery)]
            for _ in waiting:
                self.pending.pop()
            self.pending.extend(stay)
        return back

    def take_sequence(self, sequence: tuple[str, str]) -> list[Delivery]:
        """Remove and return the deliveries of a topic and key that are not being handled."""
        return self.take_back(lambda delivery: sequence_of(delivery) == sequence)

    def drop(self, count: int) -> None:
        """Remove deliveries at the head: their end is known."""
        for _ in range(count):
            self.pending.popleft()
        self.taken = 0


#: The lane that the code which runs now is in. Set in a lane's task before anything runs there.
LANE: ContextVar[Lane] = ContextVar("waystation.lane")


class Runner(Protocol):
    """Handles what waits in a lane."""

    @property
    def appetite(self) -> int:
        """How many deliveries one call of the handler takes."""

    async def run(self, lane: Lane, size: int) -> int:
        """Handle up to `size` deliveries at the head of a lane, and take each away when its end is known.

        Returns:
            How many left the lane.

        Raises:
            asyncio.CancelledError: The lane was cancelled; what was being handled is still at its head.
        """


def _being_cancelled() -> bool:
    """Say whether a `CancelledError` is meant for this task, and not one that its handler let escape."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
