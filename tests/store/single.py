"""One process, one group, one topic: claims and settlements by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waystation._core.delivery import Delivery, Settlement
from waystation._core.message import Message
from waystation._core.ports import Subscription
from waystation._store import groups, inspect, leases
from waystation._store.claim import claim
from waystation._store.database import connect, create
from waystation._store.grow import Growth, grow
from waystation._store.leases import Member, RangeLease, lease_of
from waystation._store.log import Log, partition_of
from waystation._store.settle import Settled, by_lease, settle

LEASE_S = 10.0


def beside(key: str) -> str:
    """Another key of the same partition."""
    return next(other for other in map(str, range(1000)) if partition_of(other) == partition_of(key))


class Store:
    """One process, one group, one topic, and a clock that a test sets."""

    def __init__(self, path: Path) -> None:
        create(path)
        self.connection = connect(path, patient=True)
        self.log = Log(self.connection)
        self.now = 100.0
        with self.writing():
            self.group = groups.declare(self.connection, self.log, Subscription(pattern="t", group="g"))

    @contextmanager
    def writing(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        yield
        self.connection.execute("COMMIT")

    def send(self, *keys: str | None) -> None:
        """Send m0, m1 ... with these keys."""
        with self.writing():
            self.log.append([Message(f"m{n}", "t", b"", key=key) for n, key in enumerate(keys)], self.now)

    def claim(self, limit: int = 100, *, owner: str = "1-a", ordered: bool = True) -> list[Delivery]:
        """Claim as a feed does: again while there is more to look at."""
        member = Member(self.group, owner, ordered=ordered, careful=True)
        while True:
            with self.writing():
                deadline = self.now + LEASE_S
                found = claim(self.log, self.connection, member, 1, limit, self.now, deadline)
            assert len(found.deliveries) == found.count <= limit
            if found.deliveries or not found.more:
                return found.deliveries

    def grow(self, *held: Delivery, room: int = 100, owner: str = "1-a") -> list[Delivery]:
        """Take what has arrived behind these deliveries."""
        found = self.grow_unheard(*held, room=room, owner=owner)
        for growth in found:
            growth.apply()
        return [delivery for growth in found for delivery in growth.deliveries]

    def grow_unheard(self, *held: Delivery, room: int = 100, owner: str = "1-a") -> list[Growth]:
        """Commit that, and do not tell the leases yet."""
        member = Member(self.group, owner, ordered=True)
        ranges = [lease for lease in {lease_of(each) for each in held} if isinstance(lease, RangeLease)]
        with self.writing():
            return grow(self.log, self.connection, member, 1, ranges, room, self.now)

    def settle(self, *outcomes: tuple[Delivery, Settlement]) -> Settled:
        with self.writing():
            settled = settle(self.connection, by_lease(outcomes), self.now)
        settled.apply()
        return settled

    def release(self, *deliveries: Delivery) -> None:
        with self.writing():
            leases.release(self.connection, list({lease_of(delivery) for delivery in deliveries}), self.now)

    def counts(self) -> tuple[int, int, int, int]:
        """Ready, in flight, waiting, dead."""
        (info,) = inspect.groups(self.connection, self.now)
        return info.ready, info.in_flight, info.waiting, info.dead


def shown(deliveries: list[Delivery]) -> list[tuple[str, int]]:
    return [(delivery.message.id, delivery.attempt) for delivery in deliveries]
