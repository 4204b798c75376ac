"""What the worker processes do with a bus on either end of a connection: answer or ask, take or tell."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import uvloop

from waystation import Bus, Endpoint, Topic

from . import asking
from .orders import Order, Tally, make_orders
from .processes import SILENCE_S_MAX, Channel

HOST = "127.0.0.1"
ORDERS = Topic("bench.orders", Order)
ECHO = Endpoint("bench.echo", Order, Order)
GROUP = "bench"

#: Messages in one `publish_many`.
CALL_MESSAGES = 20_000

#: Tasks that publish at the same time, one message after the other.
PUBLISHERS_COUNT = 1000

#: How long a question may wait for its answer, in seconds.
ANSWER_S_MAX = 30.0


def answer(channel: Channel, port: int) -> None:
    """Say the port, and answer each order with itself until told to end."""

    async def main() -> None:
        own = port or free_port()
        bus = Bus(server_url(own))

        @bus.respond(ECHO)
        async def echo(order: Order) -> Order:
            return order

        async with bus, bus.running():
            channel.say(own)
            await asking.until_told(channel)

    uvloop.run(main())


def ask_in_turn(channel: Channel, port: int, total: int) -> None:
    """Ask one question after another; say what each took, in µs."""

    async def main() -> None:
        async with Bus(client_url(port)) as bus:
            channel.ready()
            channel.say(await asking.ask_in_turn(lambda order: _ask(bus, order), total))

    uvloop.run(main())


def ask_together(channel: Channel, port: int, total: int, in_flight: int) -> None:
    """Ask from `in_flight` tasks; say the round trips per second."""

    async def main() -> None:
        async with Bus(client_url(port)) as bus:
            channel.ready()
            channel.say(await asking.ask_together(lambda order: _ask(bus, order), total, in_flight))

    uvloop.run(main())


def take(channel: Channel, port: int, total: int) -> None:
    """Say the port, handle all orders, say when the last one was, in ns, and stay until told to end."""

    async def main() -> None:
        own = port or free_port()
        tally, arrived = Tally(), asyncio.Event()
        bus = Bus(server_url(own))

        @bus.subscribe(ORDERS, group=GROUP)
        async def handle(order: Order) -> None:
            tally.add(order)
            if tally.count == total:
                arrived.set()

        async with bus, bus.running():
            channel.say(own)
            async with asyncio.timeout(SILENCE_S_MAX):
                await arrived.wait()
            taken_ns = time.monotonic_ns()
            tally.check(total)
            channel.say(taken_ns)
            await asking.until_told(channel)

    uvloop.run(main())


def tell(channel: Channel, port: int, total: int) -> None:
    """Publish all orders in batches; say when the first one began, in ns."""

    async def main() -> None:
        async with Bus(client_url(port)) as bus:
            orders = make_orders(0, total)
            channel.ready()
            channel.say(time.monotonic_ns())
            for first in range(0, total, CALL_MESSAGES):
                await bus.publish_many(ORDERS, orders[first : first + CALL_MESSAGES])

    uvloop.run(main())


def tell_concurrently(channel: Channel, port: int, total: int) -> None:
    """Publish from many tasks, each awaiting its own receipt; say when the first one began, in ns."""

    async def main() -> None:
        async with Bus(client_url(port)) as bus, asyncio.TaskGroup() as tasks:
            orders = iter(make_orders(0, total))
            channel.ready()
            channel.say(time.monotonic_ns())
            for _ in range(PUBLISHERS_COUNT):
                tasks.create_task(_publish_each(bus, orders))

    uvloop.run(main())


def server_url(port: int) -> str:
    """Return the URL of a bus that listens."""
    return f"tcp://{HOST}:{port}?listen"


def client_url(port: int) -> str:
    """Return the URL of a bus that connects."""
    return f"tcp://{HOST}:{port}"


def free_port() -> int:
    """Return a port at which nobody listens, so that no two benchmarks meet."""
    with socket.create_server((HOST, 0)) as found:
        port: int = found.getsockname()[1]
        return port


async def _ask(bus: Bus, order: Order) -> Order:
    return await bus.request(ECHO, order, timeout=ANSWER_S_MAX)


async def _publish_each(bus: Bus, orders: Iterator[Order]) -> None:
    for order in orders:
        await bus.publish(ORDERS, order)
