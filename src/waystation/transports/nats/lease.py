"""`Lease`: what a feed holds for a while, and by which it is told apart from who holds the same message later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ..._core.delivery import Delivery
from .part import Entry


class Receiver(Protocol):
    """A feed: who takes, and is woken when there may be something to take."""

    def wake(self) -> None:
        """There may be something to take."""


@dataclass(slots=True, eq=False)
class Lease:
    """What one `take` returned. The lease itself is the fencing token: what was taken again has another.

    Attributes:
        place: The `Place` where it was taken; only compared here, for it knows of leases.
        deadline: By the monotonic clock, in seconds.
        open: What is not yet settled, by number.
        lost: The numbers that were not settled when the lease ended.
    """

    place: object
    owner: Receiver
    deadline: float
    open: dict[int, Entry] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)


def token(delivery: Delivery) -> Lease:
    """Return a delivery's lease; its `index` is its number there."""
    assert isinstance(delivery.token, Lease), "a delivery of another transport"
    return delivery.token
