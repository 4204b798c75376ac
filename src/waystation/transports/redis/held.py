"""What a feed holds: the leases of its deliveries, and what a settlement says to the server of each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..._core.admission import sequence_of
from ..._core.delivery import Accept, DeadLetter, Delivery, Release, Retry, Settlement
from ..._core.limits import LEASE_S, REASON_CHARS_MAX
from ..._core.ports import Clock
from .entries import Entries, entry_id_in

#: kind, place among the lease's entries or -1, id of the entry or name of what was held, attempt, delay, reason,
#: detail.
Other: TypeAlias = tuple[int, int, str, int, float, str, str]

_AGAIN, _DEAD, _BACK = 1, 2, 3


@dataclass(slots=True, eq=False)
class Lease:
    """What one call took from one topic. Its number is the fencing token: what is taken again has another.

    A delivery's `index` is its place among the entries that the lease stands for, or below zero, that of a name in
    `names`.

    Attributes:
        open: Indexes that are not settled.
        gone: Indexes that were not settled when the lease ended.
    """

    topic: str
    number: bytes
    entries: Entries
    names: list[bytes] = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)

    def name(self, index: int) -> bytes:
        """Return what the server calls a delivery: an entry's id, or the name of what is held."""
        return self.entries.id_at(index) if index >= 0 else self.names[-index - 1]

    def lose(self, indexes: Iterable[int]) -> None:
        """Take in that the lease has ended."""
        self.gone.update(indexes, self.open)
        self.open = set()


class Holdings:
    """What one feed has: its leases, as far as it knows, and deliveries that nobody has asked for yet.

    Attributes:
        ready: Those, in order.
    """

    def __init__(self, clock: Clock) -> None:
        self.ready: list[Delivery] = []
        self._clock = clock
        self._until: dict[Lease, float] = {}  # by the monotonic clock

    @property
    def numbers(self) -> list[bytes]:
        """The numbers of all leases."""
        return [lease.number for lease in self._until]

    def add(self, lease: Lease, deliveries: Sequence[Delivery], since: float) -> None:
        """Take in what a call has taken that was made at that time, by the monotonic clock."""
        self.keep(lease, since)
        self.ready += deliveries

    def keep(self, lease: Lease, since: float) -> None:
        """A lease begins or goes on from the time of a call."""
        self._until[lease] = since + LEASE_S

    def drop(self, lease: Lease) -> None:
        """A lease has nothing open any more, or nobody has kept it."""
        self._until.pop(lease, None)
        self.ready = [delivery for delivery in self.ready if delivery.token is not lease]

    def lose(self, lease: Lease, indexes: Sequence[int] = ()) -> None:
        """A lease has ended with something open: that, and what was just settled in vain."""
        lease.lose(indexes)
        self.drop(lease)

    def lose_all(self) -> None:
        """The feed has given everything back."""
        for lease in list(self._until):
            self.lose(lease)

    def drop_ended(self) -> None:
        """Forget leases that have ended, because nobody has kept or settled them, with what is ready of them."""
        now = self._clock.monotonic()
        for lease in [lease for lease, until in self._until.items() if until <= now]:
            self.drop(lease)

    def __bool__(self) -> bool:
        """Whether there is a lease that may still hold."""
        return bool(self._until)

    def next(self, limit: int) -> list[Delivery]:
        """Take at most so many of those that are ready, and still this feed's."""
        if not self.ready:
            return []
        self.drop_ended()
        found, self.ready = self.ready[:limit], self.ready[limit:]
        return found

    def pick(self, sequences: Collection[tuple[str, str] | None]) -> list[Delivery]:
        """Take from what is ready the messages of some sequences."""
        picked = [delivery for delivery in self.ready if sequence_of(delivery) in sequences]
        if picked:
            self.ready = [delivery for delivery in self.ready if sequence_of(delivery) not in sequences]
        return picked


def token(delivery: Delivery) -> Lease:
    """Return a delivery's lease."""
    assert isinstance(delivery.token, Lease), "a delivery of another transport"
    return delivery.token


def taken(found: Sequence[Any]) -> tuple[Lease, list[Delivery]]:
    """Return the lease and the deliveries that a place gave."""
    topic, number, held, fresh, indexes, _, _ = found
    return leased(topic.decode(), number, dict(zip(indexes or range(len(fresh)), fresh, strict=True)), held)


def leased(
    topic: str, number: bytes, fresh: dict[int, Any], held: Sequence[Any] = ()
) -> tuple[Lease, list[Delivery]]:
    """Return a lease and its deliveries.

    Args:
        fresh: Entries, by their places.
        held: Attempt, name and fields of messages that had been held.
    """
    names = [name for _, name, _ in held]
    entries = {-place: (entry_id_in(name), fields) for place, (_, name, fields) in enumerate(held, 1)}
    attempts = {-place: attempt for place, (attempt, _, _) in enumerate(held, 1)}
    lease = Lease(topic, number, Entries(topic, entries | fresh), names)
    lease.open.update(entries, fresh)
    return lease, lease.entries.deliveries(lease, attempts)


class Settled:
    """What a settlement says of one lease."""

    __slots__ = ("accepted", "held", "indexes", "keyed", "lease", "others")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.indexes: list[int] = []
        self.accepted: list[int] = []
        self.keyed: list[int | str] = []
        self.held: list[str] = []
        self.others: list[Other] = []

    def add(self, delivery: Delivery, settlement: Settlement) -> None:
        """Say how one delivery ends."""
        index, lease = delivery.index, self.lease
        lease.open.remove(index)
        self.indexes.append(index)
        if not isinstance(settlement, Accept):
            self.others.append(_other(delivery, lease.name(index).decode(), settlement))
        elif index < 0:
            self.held.append(lease.names[-index - 1].decode())
        elif (key := lease.entries.key_at(index)) is None:
            self.accepted.append(index)
        else:
            self.keyed += (index, key)

    def packed(self) -> list[Any]:
        """Return what the script reads."""
        self.others.sort(key=lambda other: other[1])
        lease = self.lease
        number = lease.number.decode()
        return [lease.topic, number, ranges(self.accepted), self.keyed, self.held, self.others]


def by_lease(outcomes: Iterable[tuple[Delivery, Settlement]]) -> tuple[list[Settled], list[Delivery]]:
    """Sort outcomes by lease; return also the deliveries whose lease has ended. What is settled is passed over."""
    found: dict[Lease, Settled] = {}
    lost = []
    for delivery, settlement in outcomes:
        lease = token(delivery)
        if delivery.index in lease.open:
            settled = found.get(lease)
            if settled is None:
                settled = found[lease] = Settled(lease)
            settled.add(delivery, settlement)
        elif delivery.index in lease.gone:
            lost.append(delivery)
    return list(found.values()), lost


def ranges(indexes: list[int]) -> list[int]:
    """Return numbers as pairs, from and to."""
    indexes.sort()
    if indexes and indexes[-1] - indexes[0] == len(indexes) - 1:
        return [indexes[0], indexes[-1]]
    found: list[int] = []
    for index in indexes:
        if found and index == found[-1] + 1:
            found[-1] = index
        else:
            found += (index, index)
    return found


def _other(delivery: Delivery, name: str, settlement: Settlement) -> Other:
    index = max(delivery.index, -1)
    if isinstance(settlement, Retry):
        return _AGAIN, index, name, delivery.attempt, settlement.delay_s, "", ""
    if isinstance(settlement, DeadLetter):
        reason, detail = settlement.reason[:REASON_CHARS_MAX], settlement.detail[:REASON_CHARS_MAX]
        return _DEAD, index, name, delivery.attempt, 0.0, reason, detail
    assert isinstance(settlement, Release), settlement
    return _BACK, index, name, delivery.attempt, 0.0, "", ""
