"""A consumer of nats:// that is never idle goes on with what it has: a server that has messages sends no heartbeats."""

from __future__ import annotations

import asyncio

from tests.brokers import Server
from tests.transports.nats_stand import ORDERS, fresh, message, opened, plain, prefix_of, send, take
from waystation._core.delivery import ACCEPT
from waystation.transports.nats.limits import PULL_HEARTBEAT_S


async def test_a_busy_stream_is_read_through_one_consumer(nats_server: Server) -> None:
    url = fresh(nats_server)
    async with opened(url) as transport, plain(nats_server.url) as client:
        stream = client.jetstream()
        feed = await transport.open_feed(ORDERS)

        async def exchange(number: int) -> None:
            await send(transport, message(f"m{number}"))
            deliveries = await take(feed, 1)
            await feed.settle([(each, ACCEPT) for each in deliveries])

        async def consumers() -> set[str]:
            return {info.name for info in await stream.consumers_info(f"{prefix_of(url)}_orders")}

        await exchange(0)
        before = await consumers()
        assert before
        loop = asyncio.get_running_loop()
        started, number = loop.time(), 1
        while loop.time() - started < 4 * PULL_HEARTBEAT_S:
            await exchange(number)
            number += 1
        assert await consumers() == before
