"""What the tests of redis:// share: transports on a server, under prefixes of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import redis.asyncio as bare

from waystation._core.delivery import ACCEPT, Delivery, Receipt
from waystation._core.message import Message
from waystation._core.ports import Clock, Feed, Subscription, Topology
from waystation._core.url import parse_url
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation._servers.desk import Server
from waystation.transports.redis.transport import RedisTransport

PATIENCE_S = 10.0
_LOOK_S = 0.01

ORDERS = Subscription(pattern="orders", group="billing")

_numbers = count()
_messages = count()


def fresh(server: Server) -> str:
    """Return a URL under which nothing is."""
    return f"{server.url}?prefix=stand-{next(_numbers)}"


@asynccontextmanager
async def opened(url: str, clock: Clock | None = None) -> AsyncIterator[RedisTransport]:
    """Give a transport that is open, with a group on "orders"."""
    transport = find_transport(parse_url(url), clock=clock or SystemClock())
    assert isinstance(transport, RedisTransport)
    await transport.open()
    try:
        await transport.declare(Topology(subscriptions=(ORDERS,)))
        yield transport
    finally:
        await transport.close()


@asynccontextmanager
async def plain(url: str) -> AsyncIterator[Any]:
    """Give a client that knows nothing of Waystation."""
    client = bare.Redis.from_url(url.partition("?")[0])
    try:
        yield client
    finally:
        await client.aclose()


def base_of(url: str) -> str:
    """Return what the keys of a URL begin with."""
    return f"{{{url.rpartition('=')[2]}}}:"


def message(body: bytes = b"{}", **attributes: Any) -> Message:
    """Return a message on "orders" with an id of its own."""
    attributes.setdefault("topic", "orders")
    return Message(f"m-{next(_messages)}", body=body, **attributes)


async def send(transport: RedisTransport, *messages: Message) -> None:
    """Send, and insist on receipts."""
    for outcome in await transport.send(messages):
        assert isinstance(outcome, Receipt), outcome


async def take(feed: Feed, wanted: int) -> list[Delivery]:
    """Receive so many."""
    found: list[Delivery] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < wanted:
            found += await feed.receive(wanted - len(found))
    return found


async def handle(feed: Feed, wanted: int) -> list[Delivery]:
    """Receive and accept so many, one by one."""
    found: list[Delivery] = []
    for _ in range(wanted):
        (delivery,) = await take(feed, 1)
        await feed.settle([(delivery, ACCEPT)])
        found.append(delivery)
    return found


async def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until something holds."""
    for _ in range(round(patience_s / _LOOK_S)):
        if condition():
            return
        await asyncio.sleep(_LOOK_S)
    raise AssertionError(f"never came true: {what}")


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    """Return the ids of messages that came."""
    return [delivery.message.id for delivery in deliveries]
