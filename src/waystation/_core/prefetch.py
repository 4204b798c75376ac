"""How much a receiver holds, and how much it does between two turns of the event loop: pure decisions.

Holding little lets the other members of a group find work; holding much hides the time of a fetch. So a receiver
aims at a quarter of a second of *work*, at the rate at which its handler was measured, whatever that is in messages.
The aim at most doubles with each measurement, since the first message of a run is seldom like the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .delivery import Delivery
from .limits import (
    BATCH_MESSAGES_MAX,
    CREDIT_BYTES_MAX,
    CREDIT_MESSAGES_MAX,
    LANE_RUN_MESSAGES_MAX,
    LANE_SLICE_S,
    PREFETCH_WORK_S,
)

#: Least weight of a new measurement against all earlier ones.
_NEWEST_SHARE = 0.25

#: A run is to end well before its lane must yield, so that several runs share the slice.
_RUNS_PER_SLICE = 4

#: Bodies that are looked at to guess the mean size of a batch.
_SAMPLES_COUNT = 16


class Prefetch(msgspec.Struct, frozen=True, gc=False):
    """What was measured, and what follows from it. One is made for each run of a lane, so it must be cheap to make.

    Attributes:
        workers: Calls that can run at once: lanes.
        batch: Messages that one call takes.
        most: Messages to hold unsettled at most.
        target: Messages to hold that are not handled yet, those being handled included: `least` or more; 0 until
            measured.
        handling_s: Seconds per message in one lane, smoothed; 0 until measured.
        body_bytes: Mean size of a body, smoothed.
    """

    workers: int
    batch: int = 1
    most: int = CREDIT_MESSAGES_MAX
    target: int = 0
    handling_s: float = 0.0
    body_bytes: float = 0.0

    @property
    def least(self) -> int:
        """Messages without which a lane would stand idle."""
        return min(self.workers * self.batch, self.most)

    def measured(self, messages: int, elapsed_s: float) -> Prefetch:
        """Take in that one lane handled so many messages in so many seconds."""
        if messages < 1:
            return self
        weight = max(_NEWEST_SHARE, elapsed_s / (elapsed_s + PREFETCH_WORK_S)) if self.handling_s else 1.0
        handling_s = self.handling_s + weight * (elapsed_s / messages - self.handling_s)
        work = self.workers * PREFETCH_WORK_S / max(handling_s, 1e-9)
        fitting = CREDIT_BYTES_MAX / max(self.body_bytes, 1.0)
        least = self.least
        # Half of the credit: the other half is being settled while this one is handled.
        wanted = int(min(work, fitting, self.most // 2, 2 * (self.target or least)))
        target = max(wanted, least)
        return Prefetch(self.workers, self.batch, self.most, target, handling_s, self.body_bytes)

    def received(self, deliveries: Sequence[Delivery]) -> Prefetch:
        """Take in the size of what arrived, from a few samples."""
        samples = deliveries[:: max(1, len(deliveries) // _SAMPLES_COUNT)]
        if not samples:
            return self
        mean = sum([len(delivery.body) for delivery in samples]) / len(samples)
        if mean == self.body_bytes:
            return self
        smoothed = self.body_bytes + _NEWEST_SHARE * (mean - self.body_bytes) if self.body_bytes else mean
        return Prefetch(self.workers, self.batch, self.most, self.target, self.handling_s, smoothed)

    def limit(self, *, waiting: int, unsettled: int) -> int:
        """Return how many messages to fetch now; 0: not yet, but after the next handling or settlement.

        Fetching waits until half of the aim was handled, or a lane would stand idle: small fetches are dear.

        Args:
            waiting: Messages not handled yet, those being handled included.
            unsettled: Messages received and not settled, `waiting` included.
        """
        if waiting > self.low_water:
            return 0
        wanted = min((self.target or self.least) - waiting, BATCH_MESSAGES_MAX)
        credit = self.most - unsettled
        return 0 if credit * 2 < wanted else min(wanted, credit)

    def has_room(self, *, waiting: int, unsettled: int) -> bool:
        """Say whether one that comes by itself may join those that wait; as for `limit`."""
        return waiting < (self.target or self.least) and unsettled < self.most

    @property
    def low_water(self) -> int:
        """Messages not handled yet at or below which the next fetch is due."""
        least = self.least
        return max((self.target or least) // 2, least - 1)


def run_size(size: int, handled: int, elapsed_s: float) -> int:
    """Return how many messages a lane handles before it looks at the clock again.

    Args:
        size: What it was for the last run.
        handled: What that run handled.
        elapsed_s: What that took.
    """
    if handled < 1:
        return size
    fitting = LANE_SLICE_S / _RUNS_PER_SLICE * handled / max(elapsed_s, 1e-9)
    return int(max(1, min(fitting, 2 * size, LANE_RUN_MESSAGES_MAX)))
