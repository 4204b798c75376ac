"""nats-py on JetStream: a thousand publishes under way; pulls of up to a thousand, each acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import nats
import uvloop
from nats.js.api import AckPolicy, ConsumerConfig

from ..ends import SILENT_S_MAX, WINDOW_MESSAGES, Consuming, Producing
from ..processes import Channel

GROUP = "bench"

#: Messages that the server lets a consumer hold unsettled.
_UNSETTLED_MAX = 10_000


class NatsClient:
    """A stream with one subject, both of the run's name, and one durable consumer."""

    def prepare(self, url: str, name: str) -> None:
        """Make the stream."""

        async def main() -> None:
            async with connected(url) as client:
                await client.jetstream().add_stream(name=name, subjects=[name])

        uvloop.run(main())

    def consume(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Pull and acknowledge; the last acknowledgement is confirmed, and with it those before."""

        async def main() -> None:
            consuming = Consuming(channel, total)
            async with connected(url) as client:
                settings = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, max_ack_pending=_UNSETTLED_MAX)
                pull = await client.jetstream().pull_subscribe(
                    name, GROUP, stream=name, config=settings, pending_msgs_limit=0, pending_bytes_limit=0
                )
                consuming.ready()
                while not consuming.complete:
                    for message in await pull.fetch(WINDOW_MESSAGES, timeout=SILENT_S_MAX):
                        consuming.take(message.data)
                        await (message.ack_sync() if consuming.complete else message.ack())
                consuming.end()

        uvloop.run(main())

    def produce(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Publish."""
        encode = msgspec.json.Encoder().encode

        async def main() -> None:
            producing = Producing(channel, total)
            async with connected(url) as client:
                stream = client.jetstream(publish_async_max_pending=WINDOW_MESSAGES)
                producing.begin()
                for first in range(0, total, WINDOW_MESSAGES):
                    orders = producing.orders[first : first + WINDOW_MESSAGES]
                    await asyncio.gather(
                        *[await stream.publish_async(name, encode(order)) for order in orders]
                    )
                producing.end()

        uvloop.run(main())

    def remove(self, url: str, name: str) -> None:
        """Remove the streams: of messages, and of keys and values."""

        async def main() -> None:
            async with connected(url) as client:
                stream = client.jetstream()
                for info in await stream.streams_info():
                    if info.config.name.removeprefix("KV_").startswith(name):
                        await stream.delete_stream(info.config.name)

        uvloop.run(main())


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """Give a client of the servers that a URL names."""
    scheme, _, rest = url.partition("://")
    login, at, hosts = rest.rpartition("@")
    client = await nats.connect([f"{scheme}://{login}{at}{host}" for host in hosts.rstrip("/").split(",")])
    try:
        yield client
    finally:
        await client.close()


CLIENT = NatsClient()
