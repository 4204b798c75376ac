"""A source with a bit of everything, and what must be found at the target afterwards."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from waystation._core.capabilities import Capabilities
from waystation._core.delivery import ACCEPT, DeadLetter, Delivery, Receipt, Retry, Settlement
from waystation._core.errors import SettlementLost
from waystation._core.inspection import Inspector
from waystation._core.message import Message
from waystation._core.ports import Clock, Feed, Recurrence, Subscription, Topology, Transport
from waystation.testing import ScaledClock
from waystation.transports.sqlite import SqliteTransport

TOPIC, OTHER, UNREAD = "orders.placed", "orders.paid", "orders.lost"

#: Seconds of a test in a real one: waiting for silence is short, and leases outlive what a busy machine takes.
SPEED = 20.0


@dataclass
class Town:
    """What each group still owes, in its keys' order; its dead letters; what is scheduled."""

    owed: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    dead: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    scheduled: set[str] = field(default_factory=set)
    unread: set[str] = field(default_factory=set)


def message(number: int, topic: str = TOPIC, *, key: str | None = None, **more: Any) -> Message:
    return Message(f"m-{number:x}", topic, b"%d" % number, key, time=1_700_000_000.0 + number, **more)


async def fill(transport: Transport, clock: Clock, *, count: int = 24, retry_s: float = 100_000.0) -> Town:
    """Two groups on a topic, at different places; retries, dead letters, schedules, a topic that nobody reads."""
    town = Town()
    await declare(transport, ("billing", TOPIC), ("stock", TOPIC), ("billing", OTHER))
    await send(transport, [message(number, key=f"k{number % 3}") for number in range(count)])
    await send(transport, [message(1000 + number, OTHER) for number in range(3)])
    await send(transport, [message(2000 + number, UNREAD, headers={"n": "ä"}) for number in range(2)])
    due = clock.time() + 500_000
    await send(transport, [message(3000 + number, deliver_at=due + number) for number in range(2)])
    town.scheduled = {"m-bb8", "m-bb9"}
    town.unread = {"m-7d0", "m-7d1"}

    def billing(delivery: Delivery) -> Settlement | None:
        number = int(delivery.body)
        if number in (4, 7):
            return DeadLetter("no such customer", f"of {number}")
        if number == 5:
            return Retry(retry_s, "the bank is closed")
        return ACCEPT if number < 9 or number == 12 else None

    def stock(delivery: Delivery) -> Settlement | None:
        return ACCEPT if int(delivery.body) < 3 else None

    await settle(transport, "billing", count, billing)
    await settle(transport, "stock", count, stock)
    # What was retried holds back its key, k2.
    town.owed["billing", TOPIC] = [
        f"m-{number:x}" for number in range(count) if number == 5 or (number > 8 and number != 12)
    ]
    town.owed["stock", TOPIC] = [f"m-{number:x}" for number in range(3, count)]
    town.owed["billing", OTHER] = [f"m-{1000 + number:x}" for number in range(3)]
    town.dead["billing", TOPIC] = {"m-4": "no such customer", "m-7": "no such customer"}
    if isinstance(transport, SqliteTransport):
        await transport.recur(Recurrence("nightly", TOPIC, "0 3 * * *"), None, due, ())
    return town


async def declare(transport: Transport, *groups: tuple[str, str]) -> None:
    subscriptions = tuple(Subscription(pattern=topic, group=group) for group, topic in groups)
    await transport.declare(Topology(subscriptions=subscriptions))


async def send(transport: Transport, messages: Sequence[Message]) -> None:
    assert all(isinstance(outcome, Receipt) for outcome in await transport.send(messages))


async def settle(
    transport: Transport, group: str, count: int, decide: Callable[[Delivery], Settlement | None]
) -> None:
    """Take all of `TOPIC` in a group's name, and settle what the function says."""
    feed = await transport.open_feed(Subscription(pattern=TOPIC, group=group))
    taken: list[Delivery] = []
    while len(taken) < count:
        taken += await feed.receive(count)
    await feed.settle([(each, outcome) for each in taken if (outcome := decide(each)) is not None])
    await feed.close()


async def found_at(transport: Transport, town: Town) -> Town:
    """Look at a medium, and handle all that its groups owe."""
    assert isinstance(transport, Inspector)
    found = Town()
    found.scheduled = {each.message.id for each in await transport.scheduled(limit=100)}
    for each in await transport.dead(limit=1000):
        found.dead.setdefault((each.group, each.topic), {})[each.message.id] = each.reason
    for group, topic in town.owed:
        found.owed[group, topic] = await handled(transport, group, topic)
    found.unread = {message.id for _, message in await transport.browse(UNREAD, start="earliest", limit=100)}
    return found


async def handled(transport: Transport, group: str, topic: str) -> list[str]:
    """Handle what a group owes, one at a time, in the order in which it comes; return the ids."""
    assert isinstance(transport, Inspector)
    names: list[str] = []
    feed = await transport.open_feed(Subscription(pattern=topic, group=group))
    while True:
        (info,) = [each for each in await transport.groups() if (each.group, each.topic) == (group, topic)]
        if info.lag == 0:
            break
        for delivery in await feed.receive(1):
            names.append(delivery.message.id)
            await feed.settle([(delivery, ACCEPT)])
    await feed.close()
    return names


def by_key(names: Sequence[str]) -> dict[int, list[str]]:
    """Sort ids by their keys, in the order in which they came."""
    keys: dict[int, list[str]] = {}
    for name in names:
        keys.setdefault(number_of(name) % 3, []).append(name)
    return keys


def number_of(name: str) -> int:
    return int(name.partition("-")[2], 16)


def check(town: Town, found: Town) -> None:
    """Insist that nothing was lost, nothing made up, and nothing out of order."""
    assert found.scheduled == town.scheduled
    assert found.dead == town.dead
    assert found.unread == town.unread
    for place, names in town.owed.items():
        assert sorted(found.owed[place]) == sorted(names), place
        assert by_key(found.owed[place]) == by_key(names), place


# --- death at any step ----------------------------------------------------------------------------------------------


class Died(BaseException):
    """The process was killed."""


class Life:
    """How many calls a process lives for. The last one happens, or does not, and nobody hears of it."""

    def __init__(self, calls: float, *, happens: bool) -> None:
        self.left = calls
        self._happens = happens

    async def spend(self, call: Callable[[], Awaitable[Any]]) -> Any:
        self.left -= 1
        if self.left < 0:
            if self._happens and self.left == -1:
                await call()
            raise Died
        return await call()


CALLS = (
    *("declare", "send", "topics", "groups", "browse", "dead", "scheduled", "cancel_scheduled", "recurring"),
    *("remove_recurring", "pause_recurring", "remove_group", "recur", "unsettled", "members"),
)


class MortalFeed:
    """A feed of somebody who may die."""

    def __init__(self, feed: Feed, life: Life) -> None:
        self._feed = feed
        self._life = life

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        found: Sequence[Delivery] = await self._feed.receive(limit)
        return found

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        try:
            await self._feed.extend(deliveries)
        except SettlementLost:
            pass

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]], /) -> None:
        await self._life.spend(lambda: self._feed.settle(outcomes))

    async def close(self) -> None:
        if self._life.left >= 0:
            await self._feed.close()


class Mortal(SqliteTransport):
    """A file of somebody who may die at any of his calls."""

    def __init__(self, path: Path, clock: ScaledClock, life: Life) -> None:
        super().__init__(str(path), clock=clock)
        self.life = life

    async def open_feed(self, subscription: Subscription, /) -> Feed:
        return MortalFeed(await super().open_feed(subscription), self.life)


class Doubling(Mortal):
    """One that keeps what it is sent twice."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, deduplicates=False)


def _mortal(name: str) -> Any:
    immortal = getattr(SqliteTransport, name)
    assert inspect.iscoroutinefunction(immortal)

    async def call(self: Mortal, *arguments: Any, **named: Any) -> Any:
        return await self.life.spend(lambda: immortal(self, *arguments, **named))

    return call


for _name in CALLS:
    setattr(Mortal, _name, _mortal(_name))
