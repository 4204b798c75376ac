"""A shop's messages, and ways to look at what a consumer did with them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from waystation import Bus, Delivery, RetryPolicy, Topic
from waystation._core.capabilities import Capabilities
from waystation._core.delivery import SendOutcome, Settlement
from waystation._core.inspection import DeadInfo, GroupInfo
from waystation._core.liveness import Watch
from waystation._core.message import Message
from waystation._core.ports import Feed, Subscription, Timer, Topology, Transport
from waystation._runtime.clock import SystemClock
from waystation._runtime.consumer import Consumer
from waystation._runtime.handlers import declare
from waystation.testing import VirtualClock


class Order(msgspec.Struct):
    number: int


class Bill(msgspec.Struct):
    number: int


orders = Topic("orders.placed", Order)
bills = Topic("bills.written", Bill)


class Wish(RuntimeError):
    """What a handler under test raises."""


def a_bus(clock: VirtualClock | None = None) -> Bus:
    return Bus(
        "memory://",
        clock=clock,
        random=lambda: 0.5,
        retry=RetryPolicy(first_delay=1, max_delay=60, jitter=False),
    )


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until something is so."""
    while not condition():
        await asyncio.sleep(0)


async def group(bus: Bus, name: str) -> GroupInfo:
    (found,) = [info for info in await bus.inspector().groups() if info.group == name]
    return found


async def dead(bus: Bus) -> list[DeadInfo]:
    return list(await bus.inspector().dead())


def consumers(bus: Bus) -> list[Consumer]:
    assert bus._connection is not None
    return bus._connection._consumers


def state_of(consumer: Consumer) -> str:
    """What it does at this moment, as far as it knows itself."""
    return Watch(0.0, 0.0).look(consumer.sight(), None, now_s=0.0, patience_s=1.0).state


@asynccontextmanager
async def consumer_of(
    bus: Bus, handler: Callable[..., object], transport: Transport, **options: Any
) -> AsyncIterator[Consumer]:
    """A consumer of `orders` on a transport of the test's choice, for a bus that is connected."""
    assert bus._connection is not None
    spec = declare(handler, kind="event", topic=orders, group="billing", **options)
    await transport.declare(Topology(("orders.placed",), (spec.subscription,)))
    consumer = Consumer(spec, transport, bus._connection.runtime)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.drain(1.0)


class Faults:
    """What goes wrong next: each call takes the first error of its list, or works."""

    def __init__(self) -> None:
        self.receive: list[Exception] = []
        self.settle: list[Exception] = []
        self.extend: list[Exception] = []
        self.open_feed: list[Exception] = []
        self.settled: list[list[tuple[Delivery, Settlement]]] = []
        self.extended: list[list[Delivery]] = []
        self.opened = 0
        self.settling = asyncio.Event()  # cleared: settlements take their time
        self.settling.set()


class FaultyTransport:
    """A real transport on a bad day."""

    def __init__(self, inner: Transport, faults: Faults) -> None:
        self.inner = inner
        self.faults = faults

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    async def open(self) -> None:
        await self.inner.open()

    async def declare(self, topology: Topology, /) -> None:
        await self.inner.declare(topology)

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        return await self.inner.send(messages)

    async def open_feed(self, subscription: Subscription, /) -> Feed:
        if self.faults.open_feed:
            raise self.faults.open_feed.pop(0)
        self.faults.opened += 1
        return FaultyFeed(await self.inner.open_feed(subscription), self.faults)

    async def close(self) -> None:
        await self.inner.close()


class FaultyFeed:
    def __init__(self, inner: Feed, faults: Faults) -> None:
        self.inner = inner
        self.faults = faults

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        if self.faults.receive:
            raise self.faults.receive.pop(0)
        return await self.inner.receive(limit)

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        if self.faults.extend:
            raise self.faults.extend.pop(0)
        self.faults.extended.append(list(deliveries))
        await self.inner.extend(deliveries)

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]], /) -> None:
        if self.faults.settle:
            raise self.faults.settle.pop(0)
        await self.faults.settling.wait()
        self.faults.settled.append(list(outcomes))
        await self.inner.settle(outcomes)

    async def close(self) -> None:
        await self.inner.close()


class ImpatientClock(SystemClock):
    """The real clock, on which timers of one length go off when the test says so."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._waiting: list[Callable[[], object]] = []

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        if delay_s == self._delay_s:
            self._waiting.append(callback)
        return super().call_later(delay_s, callback)

    def now_is_later(self) -> None:
        for callback in self._waiting[-1:]:
            callback()
