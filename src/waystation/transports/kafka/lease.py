"""What a place hands out and takes back: leases, messages that must come again, letters that are dead."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ..._core.delivery import DeadLetter, Delivery
from ..._core.message import Message
from .records import Record

if TYPE_CHECKING:
    from .place import Place


class Receiver(Protocol):
    """Who takes from a place."""

    def wake(self) -> None:
        """There may be something to take."""


@dataclass(slots=True, eq=False)
class Held:
    """A message that must come again.

    Attributes:
        due: When, by the monotonic clock.
        stays: It was tried before, so that a seek does not drop it.
        stored: It has a record of its own, as of `Place.state_from` or later.
        writing: A record is on its way.
        gone: It was settled for good.
    """

    offset: int
    message: Message
    attempts: int
    due: float
    stays: bool
    stored: bool = False
    writing: bool = False
    gone: bool = False

    @property
    def has_record(self) -> bool:
        """Whether it has a record of its own, or soon will."""
        return self.stored or self.writing


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that was given up, and is not yet among the dead letters. `held`: its other record, to be erased."""

    offset: int
    message: Message
    attempts: int
    outcome: DeadLetter
    held: Held | None


@dataclass(slots=True, eq=False)
class Lease:
    """What one `take` returned. The lease itself is the fencing token: what was taken again has another.

    Attributes:
        deadline: By the monotonic clock, in seconds.
        open: What is not yet settled, by number.
        lost: The numbers that were not settled when the lease ended.
    """

    place: Place
    owner: Receiver
    deadline: float
    open: dict[int, Record | Held] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)


def token(delivery: Delivery) -> tuple[Lease, int]:
    """Return a delivery's lease, and its number there."""
    assert isinstance(delivery.token, Lease), "a delivery of another transport"
    return delivery.token, delivery.index
