"""Receiving from `nats://`: the feeds that the transport hands out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

from ..._core.delivery import RELEASE, DeadLetter, Delivery, Settlement
from ..._core.errors import Disconnected, SettlementLost, TransportError
from ..._core.limits import LAST_SETTLEMENTS_S, LEASE_S
from ..._core.ports import Clock, Subscription
from ..._feeds.mailbox import Mailbox as _Mailbox
from .encode import message_of
from .lease import Lease, token
from .part import Part
from .station import Station
from .wire import Msg

_Outcome: TypeAlias = tuple[Delivery, Settlement]


class Keeper(Protocol):
    """What a feed needs of its transport."""

    clock: Clock

    async def bury(self, group: str, letters: Sequence[tuple[Delivery, DeadLetter]]) -> None:
        """Keep dead letters.

        Raises:
            TransportError: They are not kept, or that is unknown.
        """

    async def release(self, station: Station, feed: GroupFeed) -> None:
        """A feed is no member of a group on a topic any more."""

    def has_urgent(self, topic: str) -> bool:
        """Say whether messages with a priority have been sent to a topic."""

    def forget(self, feed: GroupFeed | Mailbox) -> None:
        """The feed was closed."""


class GroupFeed:
    """One member of a group: takes from the group's place on every topic that its pattern fits."""

    def __init__(self, keeper: Keeper, subscription: Subscription) -> None:
        assert subscription.group is not None, "a reply address has a mailbox"
        self.subscription = subscription
        self.group, self.pattern = subscription.group, subscription.pattern
        self._keeper = keeper
        self._stations: deque[Station] = deque()
        self._bell = asyncio.Event()  # rings while it looks, too
        self.wake = self._bell.set
        self._closed = False

    @property
    def topics(self) -> set[str]:
        """The topics that it reads."""
        return {station.topic for station in self._stations}

    def add(self, station: Station) -> None:
        """Take from this station too."""
        self._stations.append(station)
        self.wake()

    def remove(self, station: Station) -> None:
        """Take no more from it."""
        if station in self._stations:
            self._stations.remove(station)

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery.

        Raises:
            Disconnected: The feed was closed, before or meanwhile; or the server could not be told for too long.
        """
        while True:
            self._check_open()
            self._bell.clear()
            taken = await self._take(limit)
            if taken:
                return taken
            self._check_open()
            await self._bell.wait()

    def _check_open(self) -> None:
        if self._closed:
            raise Disconnected(f"the feed of group {self.group!r} on {self.pattern!r} was closed")

    async def _take(self, limit: int) -> list[Delivery]:
        for station in list(self._stations):
            if station.place.urgent_seen or self._keeper.has_urgent(station.topic):
                await station.catch_up()
        now, wall = self._keeper.clock.monotonic(), self._keeper.clock.time()
        taken: list[tuple[Station, list[Delivery]]] = []
        count = 0
        for _ in range(len(self._stations)):
            station = self._stations[0]
            self._stations.rotate(-1)  # the next call begins with the next topic, so that none is starved
            some = station.place.take(self, limit - count, now, wall)
            station.pull()
            if some:
                taken.append((station, some))
                count += len(some)
                station.ring()
                if count >= limit:
                    break
        return await self._written(taken) if taken else []

    async def _written(self, taken: Sequence[tuple[Station, list[Delivery]]]) -> list[Delivery]:
        """Give deliveries once it is written that they are being handled; else they go back."""
        try:
            for station, _ in taken:
                await station.flush()
        except BaseException:
            wall = self._keeper.clock.time()
            for station, some in taken:
                station.place.end(token(some[0]), RELEASE, wall)
                station.place.wake()
            raise
        return [each for _, some in taken for each in some if each.index in token(each).open]

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        """Keep leases. A lease is over what one `receive` returned of a topic, and is kept as a whole.

        Raises:
            SettlementLost: One of them has ended; the others are kept all the same.
        """
        deadline = self._keeper.clock.monotonic() + LEASE_S
        lost = []
        for delivery in deliveries:
            lease = token(delivery)
            if delivery.index in lease.open:
                lease.deadline = deadline
            elif delivery.index in lease.lost:
                lost.append(delivery)
        if lost:
            raise SettlementLost(_lost(len(lost), len(deliveries)), deliveries=lost)

    async def settle(self, outcomes: Sequence[_Outcome], /) -> None:
        """Settle deliveries.

        Raises:
            SettlementLost: Some lease had ended, or its partition is another process's. The others are settled.
            TransportError: It is unknown whether they are settled. Asking again does no harm.
        """
        letters = [
            (delivery, outcome)
            for delivery, outcome in outcomes
            if isinstance(outcome, DeadLetter) and delivery.index in token(delivery).open
        ]
        if letters:
            await self._keeper.bury(self.group, letters)
        lost = 0
        wall = self._keeper.clock.time()
        touched: list[tuple[Station, set[Part]]] = []
        for station, some in self._by_station(outcomes):
            place = station.place
            parts = {
                place.parts[entry.partition]
                for delivery, _ in some
                if (entry := token(delivery).open.get(delivery.index)) is not None
            }
            lost += place.settle(some, wall)
            touched.append((station, parts))
            if place.has_ready:
                place.wake()
            station.ring()
        for station, parts in touched:
            await station.flush()
            station.settled()
            lost += sum(part.lost for part in parts)
        if lost:
            raise SettlementLost(_lost(lost, len(outcomes)))

    def _by_station(self, outcomes: Sequence[_Outcome]) -> Iterable[tuple[Station, Sequence[_Outcome]]]:
        if len(self._stations) == 1 and all(
            token(delivery).place is self._stations[0].place for delivery, _ in outcomes
        ):
            return [(self._stations[0], outcomes)]
        stations: dict[object, Station] = {station.place: station for station in self._stations}
        grouped: dict[Station, list[_Outcome]] = {}
        for outcome in outcomes:
            station = stations.get(token(outcome[0]).place)
            if station is not None:
                grouped.setdefault(station, []).append(outcome)
        return grouped.items()

    async def close(self) -> None:
        """Give back what is not settled. May be called twice, also while `receive` waits: it raises then."""
        if self._closed:
            return
        self._closed = True
        self.wake()
        wall = self._keeper.clock.time()
        for station in self._stations:
            leases: list[Lease] = [lease for lease in station.place.leases if lease.owner is self]
            for lease in leases:
                station.place.end(lease, RELEASE, wall)
            if self in station.place.receivers:
                station.place.receivers.remove(self)
            station.place.wake()
        try:
            async with asyncio.timeout(LAST_SETTLEMENTS_S):
                await asyncio.gather(*(self._keeper.release(station, self) for station in self._stations))
        except (TransportError, TimeoutError):
            pass  # others find it when this process is not there any more, or asks again
        finally:
            self._keeper.forget(self)


class Mailbox(_Mailbox):
    """A reply address: a subject of this connection."""

    def __init__(self, keeper: Keeper, address: str) -> None:
        super().__init__(address)
        self._keeper = keeper

    def heard(self, msg: Msg) -> None:
        """A reply came."""
        self.add(message_of(self.address, self.address, 0, msg.header, msg.body))
        self.wake()

    async def left(self) -> None:
        """Let what arrives later be dropped."""
        self._keeper.forget(self)


def _lost(lost: int, of: int) -> str:
    return f"the lease of {lost} of {of} deliveries had ended; they come again"
