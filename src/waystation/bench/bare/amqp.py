"""aiormq, faster than aio-pika, which uses it: a thousand confirmed publishes at once, settled by the hundred."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import msgspec
import uvloop

from ...transports.amqp.groups import Group
from ...transports.amqp.limits import PARTITIONS_COUNT
from ...transports.amqp.names import Names
from ..broker_bus import GROUP, ORDERS
from ..ends import SILENT_S_MAX, WINDOW_MESSAGES, Consuming, Producing
from ..processes import Channel

#: A queue whose messages are flushed, also on several nodes, before they are confirmed.
QUORUM = {"x-queue-type": "quorum"}

#: Messages that are acknowledged at once.
_ACK_MESSAGES = 100


class AmqpClient:
    """A quorum queue, by the default exchange."""

    def prepare(self, url: str, name: str) -> None:
        """Make the queue."""

        async def main() -> None:
            async with _channel(url) as channel:
                await channel.queue_declare(name, durable=True, arguments=QUORUM)

        uvloop.run(main())

    def consume(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Consume and acknowledge; a question on the same channel is answered when that has been done."""

        async def main() -> None:
            complete = asyncio.Event()
            consuming = Consuming(channel, total, complete.set)
            taken = 0
            async with _channel(url) as line:

                async def take(message: Any) -> None:
                    nonlocal taken
                    consuming.take(message.body)
                    taken += 1
                    if not taken % _ACK_MESSAGES or consuming.complete:
                        await line.basic_ack(message.delivery.delivery_tag, multiple=True, wait=False)

                await line.basic_qos(prefetch_count=WINDOW_MESSAGES)
                await line.basic_consume(name, take)
                consuming.ready()
                async with asyncio.timeout(SILENT_S_MAX * 10):
                    await complete.wait()
                await line.basic_qos(prefetch_count=WINDOW_MESSAGES)
                consuming.end()

        uvloop.run(main())

    def produce(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Publish."""
        encode = msgspec.json.Encoder().encode
        properties = aiormq.spec.Basic.Properties(delivery_mode=2)

        async def main() -> None:
            producing = Producing(channel, total)
            async with _channel(url) as line:
                producing.begin()
                for first in range(0, total, WINDOW_MESSAGES):
                    orders = producing.orders[first : first + WINDOW_MESSAGES]
                    await asyncio.gather(
                        *[
                            line.basic_publish(encode(order), routing_key=name, properties=properties)
                            for order in orders
                        ]
                    )
                producing.end()

        uvloop.run(main())

    def remove(self, url: str, name: str) -> None:
        """Remove the queues and exchanges that a client, a bus or a framework has made: the protocol has no list."""
        names = Names(name)
        group = Group(names, GROUP, ORDERS.name, PARTITIONS_COUNT)
        queues = [name, names.registry, names.roster, names.later, names.unread, *group.queues()]

        async def main() -> None:
            async with _channel(url) as channel:
                for queue in queues:
                    await channel.queue_delete(queue)
                for exchange in (names.exchange, names.call, *names.slots):
                    await channel.exchange_delete(exchange)

        uvloop.run(main())


@asynccontextmanager
async def _channel(url: str) -> AsyncIterator[Any]:
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


CLIENT = AmqpClient()
