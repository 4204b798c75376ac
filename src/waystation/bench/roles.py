"""What the worker processes do with a bus: publish, handle, wait. Each role is one process from start to end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

import uvloop

from waystation import Bus, Durability, Topic

from .orders import Order, Tally, make_orders
from .processes import SILENCE_S_MAX, Channel, rss_peak_mib

ORDERS = Topic("bench.orders", Order)
GROUP = "bench"

#: Messages in one `publish_many`, which commits 1,000 at a time and encodes the next while one is flushed.
CALL_MESSAGES = 20_000

#: Tasks that publish at the same time, one message after the other.
PUBLISHERS_COUNT = 1000

#: How often the consumer asks whether all is settled once all is handled, in seconds: below 1 % of a run.
SETTLED_POLL_S = 0.005

_NS_PER_MS = 1_000_000


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop, as `waystation run` does."""
    uvloop.run(main)


# --- publishing ----------------------------------------------------------------------------------------------


def publish_batches(channel: Channel, url: str, total: int, size_bytes: int) -> None:
    """Publish in batches; say when the first one began, in ns, and then the memory that it took, in MiB."""

    async def main() -> None:
        async with Bus(url) as bus:
            channel.ready()
            channel.say(time.monotonic_ns())
            for first in range(0, total, CALL_MESSAGES):
                orders = make_orders(first, min(CALL_MESSAGES, total - first), size_bytes)
                await bus.publish_many(ORDERS, orders, require=Durability.FLUSHED)
            channel.say(rss_peak_mib())

    run(main())


def publish_concurrently(channel: Channel, url: str, total: int) -> None:
    """Publish from many tasks, each awaiting its own receipt; say when the first one began, in ns."""

    async def main() -> None:
        async with Bus(url) as bus, asyncio.TaskGroup() as tasks:
            orders = iter(make_orders(0, total))
            channel.ready()
            channel.say(time.monotonic_ns())
            for _ in range(PUBLISHERS_COUNT):
                tasks.create_task(publish_each(bus, orders))

    async def publish_each(bus: Bus, orders: Iterator[Order]) -> None:
        for order in orders:
            await bus.publish(ORDERS, order, require=Durability.FLUSHED)

    run(main())


def publish_steadily(channel: Channel, url: str, total: int, per_s: float) -> None:
    """Publish one message after the other at a steady rate, each stamped just before."""

    async def main() -> None:
        async with Bus(url) as bus:
            channel.ready()
            started = time.monotonic()
            for order in make_orders(0, total):
                await asyncio.sleep(started + order.number / per_s - time.monotonic())
                order.sent_ns = time.monotonic_ns()
                await bus.publish(ORDERS, order, require=Durability.FLUSHED)

    run(main())


def fill(channel: Channel, url: str, total: int) -> None:
    """Leave a backlog: publish for a group that nobody serves, so that nothing is removed; say the memory, in MiB."""

    async def main() -> None:
        bus = Bus(url)
        bus.subscribe(ORDERS, group="keeper")(_ignore)
        async with bus:
            for first in range(0, total, CALL_MESSAGES):
                await bus.publish_many(ORDERS, make_orders(first, min(CALL_MESSAGES, total - first)))
            channel.say(rss_peak_mib())

    run(main())


# --- handling ------------------------------------------------------------------------------------------------


def handle_all(channel: Channel, url: str, total: int) -> None:
    """Handle until all orders arrived; say when the last one was settled, in ns."""

    async def main() -> None:
        tally, arrived = Tally(), asyncio.Event()
        bus = Bus(url)

        @bus.subscribe(ORDERS, group=GROUP)
        async def handle(order: Order) -> None:
            tally.add(order)
            if tally.count == total:
                arrived.set()

        async with bus, bus.running():
            channel.say("ready")
            async with asyncio.timeout(SILENCE_S_MAX):
                await arrived.wait()
                await _all_settled(bus)
            settled_ns = time.monotonic_ns()
        tally.check(total)
        channel.say(settled_ns)

    run(main())


def handle_and_time(channel: Channel, url: str, total: int) -> None:
    """Handle until all orders arrived; say how long each took from its publishing, in ms."""

    async def main() -> None:
        tally, arrived = Tally(), asyncio.Event()
        latencies_ms: list[float] = []
        bus = Bus(url)

        @bus.subscribe(ORDERS, group=GROUP)
        async def handle(order: Order) -> None:
            latencies_ms.append((time.monotonic_ns() - order.sent_ns) / _NS_PER_MS)
            tally.add(order)
            if tally.count == total:
                arrived.set()

        async with bus, bus.running():
            channel.say("ready")
            async with asyncio.timeout(SILENCE_S_MAX):
                await arrived.wait()
        tally.check(total)
        channel.say(latencies_ms)

    run(main())


def handle_windows(channel: Channel, url: str, windows: Sequence[int]) -> None:
    """Handle the first messages of a backlog, once per window and each time for a new group.

    Says the rate of each window, from the start of its first handler to the start of its last, in messages per
    second, and then the memory that all of it took, in MiB.
    """

    async def main() -> None:
        group = f"window-{os.getpid()}"  # another round's groups have been here
        rates = [
            await _window_rate(url, f"{group}-{number}", window) for number, window in enumerate(windows)
        ]
        channel.say(rates)
        channel.say(rss_peak_mib())

    run(main())


def wait_idle(channel: Channel, url: str, seconds: float) -> None:
    """Wait for messages that never come; say the share of a core that it took, in per cent."""

    async def main() -> None:
        bus = Bus(url)
        bus.subscribe(ORDERS, group=GROUP)(_ignore)
        async with bus, bus.running():
            await asyncio.sleep(1.0)  # starting is not idling
            cpu_s, started = time.process_time(), time.monotonic()
            await asyncio.sleep(seconds)
            channel.say(100 * (time.process_time() - cpu_s) / (time.monotonic() - started))

    run(main())


async def _window_rate(url: str, group: str, window: int) -> float:
    seen: set[int] = set()
    done = asyncio.Event()
    times: list[float] = []
    bus = Bus(url)

    @bus.subscribe(ORDERS, group=group)
    async def handle(order: Order) -> None:
        seen.add(order.number)
        if len(seen) in (1, window):
            times.append(time.monotonic())
            if len(seen) == window:
                done.set()

    async with bus, bus.running(), asyncio.timeout(SILENCE_S_MAX):
        await done.wait()
    return (window - 1) / (times[1] - times[0])


async def _all_settled(bus: Bus) -> None:
    inspector = bus.inspector(ORDERS)
    while any(info.lag for info in await inspector.groups() if info.group == GROUP):  # noqa: ASYNC110 - no event says so
        await asyncio.sleep(SETTLED_POLL_S)


async def _ignore(order: Order) -> None:
    """Handle an order by doing nothing."""
