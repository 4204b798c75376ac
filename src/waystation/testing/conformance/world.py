"""What the rules share: a transport, a clock, and words for what is done with them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from ..._core.capabilities import Capabilities
from ..._core.delivery import ACCEPT, Delivery, Receipt
from ..._core.inspection import GroupInfo, Inspector
from ..._core.message import Message
from ..._core.ports import Clock, Feed, Start, Subscription, Topology, Transport
from ..clock import MovableClock, VirtualClock
from ..embedded import EmbeddedBus
from .rules import check_marked

TOPIC = "orders.placed"
GROUP = "billing"

#: How long something that must happen may take, in real seconds, before the rule is broken.
PATIENCE_S = 10.0

#: How often a condition outside the event loop is looked at, in real seconds.
_LOOK_S = 0.005


class World:
    """An open transport in the hands of a test."""

    def __init__(self, transport: Transport, clock: MovableClock) -> None:
        self.transport = transport
        self.clock = clock
        self._numbers = itertools.count(1)
        self._feeds: list[Feed] = []

    @property
    def inspector(self) -> Inspector:
        """The transport, as something that can be looked into."""
        assert isinstance(self.transport, Inspector)
        return self.transport

    def message(self, body: bytes = b"{}", **attributes: Any) -> Message:
        """Return a message with an id of its own, on `TOPIC` unless told otherwise."""
        attributes.setdefault("topic", TOPIC)
        attributes.setdefault("time", self.clock.time())
        return Message(id=f"m-{next(self._numbers)}", body=body, **attributes)

    async def send(self, *messages: Message) -> list[Receipt]:
        """Send, and insist on receipts."""
        receipts = []
        for message, outcome in zip(messages, await self.transport.send(messages), strict=True):
            assert isinstance(outcome, Receipt), outcome
            assert outcome.message_id == message.id
            receipts.append(outcome)
        return receipts

    async def send_many(self, count: int, **attributes: Any) -> list[Message]:
        """Send so many messages in one batch."""
        messages = [self.message(**attributes) for _ in range(count)]
        await self.send(*messages)
        return messages

    async def declare(self, group: str = GROUP, pattern: str = TOPIC, start: Start = "earliest") -> None:
        """Make a group exist."""
        subscription = Subscription(pattern=pattern, group=group, start=start)
        await self.transport.declare(Topology(subscriptions=(subscription,)))

    async def feed(self, group: str = GROUP, pattern: str = TOPIC, start: Start = "earliest") -> Feed:
        """Become a member of a group."""
        await self.declare(group, pattern, start)
        feed = await self.transport.open_feed(Subscription(pattern=pattern, group=group, start=start))
        self._feeds.append(feed)
        return feed

    async def take(self, feed: Feed, count: int = 1) -> list[Delivery]:
        """Receive exactly so many deliveries, in as many calls as it takes, and leave them unsettled."""
        taken: list[Delivery] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                while len(taken) < count:
                    limit = count - len(taken)
                    received = await feed.receive(limit)
                    assert 1 <= len(received) <= limit, f"{len(received)} deliveries for a limit of {limit}"
                    taken += received
        except TimeoutError:
            pytest.fail(f"only {len(taken)} of {count} deliveries came: {ids(taken)}")
        return taken

    async def take_one(self, feed: Feed) -> Delivery:
        """Receive one delivery."""
        (delivery,) = await self.take(feed)
        return delivery

    async def handle(self, feed: Feed, count: int) -> list[Delivery]:
        """Receive and accept so many, one at a time, so that their order is the order of handling."""
        handled = []
        for _ in range(count):
            delivery = await self.take_one(feed)
            await feed.settle([(delivery, ACCEPT)])
            handled.append(delivery)
        return handled

    async def nothing_comes(self, feed: Feed, topic: str = TOPIC) -> None:
        """Insist that nothing can be received now.

        Not by waiting, but by sending two more messages, one after the other: whatever else could come would come
        with them.
        """
        for _ in range(2):
            marker = self.message(b"marker", topic=topic)
            await self.send(marker)
            (delivery,) = await self.handle(feed, 1)
            assert delivery.message == marker, f"{delivery.message.id} came, attempt {delivery.attempt}"

    async def eventually(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Let virtual and real time pass until something holds."""
        for _ in range(round(PATIENCE_S / _LOOK_S)):
            if await condition():
                return
            await self.clock.advance(1.0)
            await asyncio.sleep(_LOOK_S)
        pytest.fail(f"never came true: {what}")

    async def group(self, name: str = GROUP, topic: str = TOPIC) -> GroupInfo:
        """Return what the transport knows about a group."""
        (found,) = [
            info for info in await self.inspector.groups() if (info.group, info.topic) == (name, topic)
        ]
        return found

    async def close(self) -> None:
        """Close feeds and transport."""
        for feed in self._feeds:
            await feed.close()
        await self.transport.close()


class Suite:
    """How the rules come by their transport.

    Attributes:
        url: Where other processes find the medium of this test; asked for if the transport claims `multi_process`.
    """

    url: str = ""

    def __init_subclass__(cls) -> None:
        """Refuse a test that says no rule."""
        super().__init_subclass__()
        check_marked(cls)

    def make(self, clock: Clock) -> Transport:
        """Build a transport that is not open yet: unless told otherwise, that of `url`.

        All that are made within one test lead to the same medium, if that is `persistent` or for `multi_process`; no
        two tests share one.
        """
        return EmbeddedBus(self.url, clock=clock).transport

    @asynccontextmanager
    async def surroundings(self) -> AsyncIterator[None]:
        """Keep up what a test needs around it, such as a server, on the event loop of the test; here: nothing."""
        yield

    def clock(self) -> MovableClock:
        """Return the clock of a test that brings none: a new one, unless what is around it has one already."""
        return VirtualClock()

    @property
    def capabilities(self) -> Capabilities:
        """What the transport claims before it is opened."""
        return self.make(VirtualClock()).capabilities

    @asynccontextmanager
    async def world(self, *, clock: MovableClock | None = None) -> AsyncIterator[World]:
        """Open a transport."""
        clock = clock or self.clock()
        async with AsyncExitStack() as stack:
            world = World(self.make(clock), clock)
            stack.push_async_callback(world.close)
            await world.transport.open()
            yield world


async def until(condition: Callable[[], bool], what: str) -> None:
    """Let real time pass, and no other, until something holds."""
    for _ in range(round(PATIENCE_S / _LOOK_S)):
        if condition():
            return
        await asyncio.sleep(_LOOK_S)
    pytest.fail(f"never came true: {what}")


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    """Return the ids of what was delivered, in order."""
    return [delivery.message.id for delivery in deliveries]


def ids_of(messages: Sequence[Message]) -> list[str]:
    """Return the ids of messages, in order."""
    return [message.id for message in messages]
