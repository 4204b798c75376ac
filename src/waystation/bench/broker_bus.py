"""The bus on a broker: 1,000 tasks that each await their own publish, or `publish_many`; a handler for each message."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import uvloop

from waystation import Bus, Topic

from .ends import PUBLISHERS_COUNT, SILENT_S_MAX, Consuming, Ends, Producing
from .orders import Order
from .processes import Channel

ORDERS = Topic("bench.orders", Order)
GROUP = "bench"

#: Messages in one `publish_many`.
CALL_MESSAGES = 10_000

#: How often the consumer asks whether all is settled once all is handled, in seconds.
SETTLED_POLL_S = 0.005


class BusEnds(ABC):
    """A bus with the run's name as its prefix."""

    def consume(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Handle, until the broker says that nothing is unsettled."""

        async def main() -> None:
            complete = asyncio.Event()
            consuming = Consuming(channel, total, complete.set)
            bus = Bus(with_prefix(url, name))

            @bus.subscribe(ORDERS, group=GROUP)
            async def handle(order: Order) -> None:
                consuming.add(order)

            async with bus, bus.running():
                consuming.ready()
                async with asyncio.timeout(SILENT_S_MAX * 10):
                    await complete.wait()
                    await _all_settled(bus)
                ended_ns = time.monotonic_ns()
                consuming.end(ended_ns)

        uvloop.run(main())

    def produce(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Publish."""

        async def main() -> None:
            producing = Producing(channel, total)
            async with Bus(with_prefix(url, name)) as bus:
                producing.begin()
                await self.publish(bus, producing.orders)
                producing.end()

        uvloop.run(main())

    @abstractmethod
    async def publish(self, bus: Bus, orders: Sequence[Order]) -> None:
        """Publish all orders."""


class ConcurrentEnds(BusEnds):
    """Many tasks, each message awaited by itself."""

    async def publish(self, bus: Bus, orders: Sequence[Order]) -> None:
        """Publish from many tasks."""
        waiting = iter(orders)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(PUBLISHERS_COUNT):
                tasks.create_task(_publish_each(bus, waiting))


class BatchEnds(BusEnds):
    """Many messages with each call."""

    async def publish(self, bus: Bus, orders: Sequence[Order]) -> None:
        """Publish in batches."""
        for first in range(0, len(orders), CALL_MESSAGES):
            await bus.publish_many(ORDERS, orders[first : first + CALL_MESSAGES])


def with_prefix(url: str, prefix: str) -> str:
    """Return the URL of the same server, with everything of a run under a name of its own."""
    parts = urlsplit(url)
    options = {**dict(parse_qsl(parts.query, keep_blank_values=True)), "prefix": prefix}
    return urlunsplit(parts._replace(query=urlencode(options)))


async def _publish_each(bus: Bus, orders: Iterator[Order]) -> None:
    for order in orders:
        await bus.publish(ORDERS, order)


async def _all_settled(bus: Bus) -> None:
    inspector = bus.inspector(ORDERS)
    while any(info.lag for info in await inspector.groups() if info.group == GROUP):  # noqa: ASYNC110 - no event says so
        await asyncio.sleep(SETTLED_POLL_S)


ENDS: Mapping[str, Ends] = {"waystation-concurrent": ConcurrentEnds(), "waystation-batch": BatchEnds()}
