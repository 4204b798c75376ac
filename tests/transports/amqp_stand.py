"""What the tests of amqp:// share: transports on a server, under prefixes of their own, and plain clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import aio_pika

from waystation._core.delivery import Receipt
from waystation._core.message import Message
from waystation._core.ports import Clock, Subscription, Topology
from waystation._core.url import parse_url
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation._servers.desk import Server
from waystation.transports.amqp.transport import AmqpTransport

PATIENCE_S = 15.0

ORDERS = Subscription(pattern="orders", group="billing")

_numbers = count()


def fresh(server: Server) -> str:
    """Return a URL under which nothing is."""
    return f"{server.url}?prefix=stand-{next(_numbers)}"


def prefix_of(url: str) -> str:
    """Return what the names of exchanges and queues of a URL begin with."""
    return url.partition("prefix=")[2].partition("&")[0]


@asynccontextmanager
async def opened(url: str, clock: Clock | None = None) -> AsyncIterator[AmqpTransport]:
    """Give a transport that is open, with a group on "orders"."""
    transport = made(url, clock)
    await transport.open()
    try:
        await transport.declare(Topology(subscriptions=(ORDERS,)))
        yield transport
    finally:
        await transport.close()


def made(url: str, clock: Clock | None = None) -> AmqpTransport:
    """Return a transport that is not open yet."""
    transport = find_transport(parse_url(url), clock=clock or SystemClock())
    assert isinstance(transport, AmqpTransport)
    return transport


@asynccontextmanager
async def plain(url: str) -> AsyncIterator[Any]:
    """Give a channel of a client that knows nothing of Waystation."""
    connection = await aio_pika.connect(url.partition("?")[0])
    try:
        yield await connection.channel()
    finally:
        await connection.close()


async def send(transport: AmqpTransport, *messages: Message) -> None:
    """Send, and insist on receipts."""
    for outcome in await transport.send(messages):
        assert isinstance(outcome, Receipt), outcome
