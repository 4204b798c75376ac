"""Receiving: the feeds that the transport hands out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

from ..._core.delivery import RELEASE, Delivery, Release, Retry, Settlement
from ..._core.errors import Disconnected, SettlementLost
from ..._core.limits import LEASE_S
from ..._core.ports import Clock
from ..._core.topic import matches
from ..._feeds.bell import Bell
from ..._feeds.mailbox import Mailbox as _Mailbox
from .lease import Lease, token
from .member import Member
from .names import Spot
from .place import Place

_Outcome: TypeAlias = tuple[Delivery, Settlement]


class Keeper(Protocol):
    """What a feed needs of its transport."""

    clock: Clock

    def ring_at(self, instant: float) -> None:
        """Look at all places again at this instant of the monotonic clock, or earlier."""

    async def forget(self, feed: GroupFeed | Mailbox) -> None:
        """The feed was closed."""


class GroupFeed:
    """One feed of a group's member: takes from each partition of each topic that its pattern fits."""

    def __init__(self, keeper: Keeper, member: Member, pattern: str) -> None:
        self.group = member.group
        self.pattern = pattern
        self.member = member
        self._keeper = keeper
        self._turn = 0
        self._bell = Bell()
        self._closed = False
        member.join(self)

    def reads(self, topic: str) -> bool:
        """Say whether it is for a topic."""
        return matches(self.pattern, topic)

    def wake(self) -> None:
        """There may be something to take."""
        self._bell.ring()

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery. What must be known to the broker before a handler begins, is.

        Raises:
            Disconnected: The feed was closed, before or meanwhile.
            TransportError: Nothing comes, because of that.
        """
        while True:
            if self._closed:
                raise Disconnected(f"the feed of group {self.group!r} on {self.pattern!r} was closed")
            deliveries, places = self._take(limit)
            if places:
                try:
                    await self.member.tell_before(places)
                except BaseException:  # cancelled, too: nobody has them
                    self._give_back(deliveries)
                    raise
                deliveries = [each for each in deliveries if each.index in token(each)[0].open]
            if deliveries:
                self._hand_out(deliveries)
                return deliveries
            if self._has_something:
                continue
            if self.member.trouble is not None:
                raise self.member.trouble
            await self._bell.rung()

    def _hand_out(self, deliveries: Sequence[Delivery]) -> None:
        deadline = self._keeper.clock.monotonic() + LEASE_S
        for lease in {each.token for each in deliveries}:
            assert isinstance(lease, Lease), "what was taken has one"
            lease.deadline = deadline
        self._keeper.ring_at(deadline)

    @property
    def _places(self) -> list[Place]:
        return [place for place in self.member.places.values() if self in place.receivers]

    @property
    def _has_something(self) -> bool:
        return any(place.has_something for place in self._places)

    def _take(self, limit: int) -> tuple[list[Delivery], list[Spot]]:
        """Take at most so many; return also the partitions of which the broker must be told first."""
        now = self._keeper.clock.monotonic()
        taken: list[Delivery] = []
        must_tell: list[Spot] = []
        spots = list(self.member.places)
        self._turn += 1  # the next call begins with the next partition, so that none is starved
        should_tell = False
        for index in range(len(spots)):
            spot = spots[(self._turn + index) % len(spots)]
            place = self.member.places[spot]
            if self not in place.receivers or not place.has_something:
                continue
            taken += place.take(self, limit - len(taken), now)
            if place.must_tell or place.must_write:
                must_tell.append(spot)
            should_tell = should_tell or place.should_tell
            if len(taken) >= limit:
                break
        self.member.room.taken()  # or held for later, or a seek has dropped it
        if should_tell:
            self.member.tell_soon()
        return taken, must_tell

    def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        now = self._keeper.clock.monotonic()
        for place, some in _by_place((each, RELEASE) for each in deliveries):
            place.settle(some, now)
            place.wake()

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        """Keep leases. A lease is over what one `receive` took of a partition, and is kept as a whole.

        Raises:
            SettlementLost: One of them has ended; the others are kept all the same.
        """
        deadline = self._keeper.clock.monotonic() + LEASE_S
        lost = []
        for delivery in deliveries:
            lease, number = token(delivery)
            if number in lease.open:
                lease.deadline = deadline
            elif number in lease.lost:
                lost.append(delivery)
        if lost:
            raise SettlementLost(_lost(len(lost), len(deliveries)), deliveries=lost)

    async def settle(self, outcomes: Sequence[_Outcome], /) -> None:
        """Settle deliveries, and wait until the broker knows.

        Raises:
            SettlementLost: Some lease had ended, or their partition is another member's. The others are settled.
            TransportError: The broker does not know yet. Settling again is waiting for it.
        """
        now = self._keeper.clock.monotonic()
        lost = 0
        grouped = list(_by_place(outcomes))
        for place, some in grouped:
            lost += len(place.settle(some, now))
            self._after(place)
        await self.member.tell()
        lost += sum(
            sum(each.index not in token(each)[0].lost for each, _ in some)
            for place, some in grouped
            if place.is_dropped and not place.is_put_down
        )
        if lost:
            raise SettlementLost(_lost(lost, len(outcomes)))

    async def close(self) -> None:
        """Give back what is not settled. May be called twice, also while `receive` waits: it raises then."""
        await self._end(RELEASE)

    async def abandon(self) -> None:
        """See `AbandonableFeed`."""
        await self._end(Retry(0.0))

    async def _end(self, how: Release | Retry) -> None:
        if self._closed:
            return
        self._closed = True
        now = self._keeper.clock.monotonic()
        for place in self.member.places.values():
            for lease in [lease for lease in place.leases if lease.owner is self]:
                place.end(lease, how, now)
            self._after(place)
        self.member.leave(self)
        self.wake()
        await self._keeper.forget(self)

    def _after(self, place: Place) -> None:
        if place.has_something:
            place.wake()
        self._keeper.ring_at(place.next_due)


def _by_place(outcomes: Iterable[_Outcome]) -> Iterable[tuple[Place, list[_Outcome]]]:
    grouped: dict[Place, list[_Outcome]] = {}
    lease, some = None, list[_Outcome]()
    for outcome in outcomes:
        if outcome[0].token is not lease:  # most are of one
            lease, _ = token(outcome[0])
            some = grouped.setdefault(lease.place, [])
        some.append(outcome)
    return grouped.items()


class Mailbox(_Mailbox):
    """A reply address of this program, whose answers come by its reply topic."""

    def __init__(self, keeper: Keeper, address: str) -> None:
        super().__init__(address)
        self._keeper = keeper

    async def left(self) -> None:
        """Let what arrives later be dropped."""
        await self._keeper.forget(self)


def _lost(lost: int, of: int) -> str:
    return f"the lease of {lost} of {of} deliveries had ended; they come again"
