"""FastStream on each broker: `await broker.publish` from many tasks, and a handler that is called for each message.

Handlers are typed, bodies are encoded and decoded by msgspec, as its documentation has it for speed; confirmations and
acknowledgements are those of a durable queue. Where it can take many messages from the broker at once, it may.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import uvloop
from fast_depends.msgspec import MsgSpecSerializer
from faststream import AckPolicy
from faststream.confluent import KafkaBroker
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.rabbit import Channel as RabbitChannel
from faststream.rabbit import QueueType, RabbitBroker, RabbitQueue
from faststream.redis import RedisBroker, StreamSub

from ..ends import PUBLISHERS_COUNT, SILENT_S_MAX, WINDOW_MESSAGES, Consuming, Ends, Producing
from ..orders import Order
from ..processes import Channel

GROUP = "bench"

#: What every broker of FastStream is told here: messages of ours are msgspec's, and nothing is logged for each.
SETTINGS: Mapping[str, Any] = {"serializer": MsgSpecSerializer(), "logger": None, "log_level": logging.ERROR}


class FastStreamEnds(ABC):
    """What is the same for all brokers.

    Attributes:
        publishers: Tasks that publish at the same time.
    """

    publishers = PUBLISHERS_COUNT

    @abstractmethod
    def broker(self, url: str) -> Any:
        """Return FastStream's broker."""

    @abstractmethod
    def subscriber(self, broker: Any, name: str, joined: Callable[[], None]) -> Any:
        """Return the decorator for a durable subscription, and call `joined` when messages can come."""

    @abstractmethod
    async def publish(self, broker: Any, order: Order, name: str) -> object:
        """Publish one message, and wait for its confirmation."""

    def consume(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Handle; the last acknowledgement is not waited for."""

        async def main() -> None:
            complete, joined = asyncio.Event(), asyncio.Event()
            consuming = Consuming(channel, total, complete.set)
            broker = self.broker(url)

            async def handle(order: Order) -> None:
                consuming.add(order)

            self.subscriber(broker, name, joined.set)(handle)
            async with broker:
                await broker.start()
                await joined.wait()
                consuming.ready()
                async with asyncio.timeout(SILENT_S_MAX * 10):
                    await complete.wait()
                ended_ns = time.monotonic_ns()
            consuming.end(ended_ns)

        uvloop.run(main())

    def produce(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Publish from many tasks."""

        async def main() -> None:
            producing = Producing(channel, total)
            orders = iter(producing.orders)
            async with self.broker(url) as broker:
                producing.begin()
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(self.publishers):
                        tasks.create_task(self._publish_each(broker, orders, name))
                producing.end()

        uvloop.run(main())

    async def _publish_each(self, broker: Any, orders: Iterator[Order], name: str) -> None:
        for order in orders:
            await self.publish(broker, order, name)


class RabbitEnds(FastStreamEnds):
    """A quorum queue that is there already."""

    publishers = 100  # with more it is slower

    def broker(self, url: str) -> Any:
        """Return it; a thousand messages may be unacknowledged."""
        return RabbitBroker(url, default_channel=RabbitChannel(prefetch_count=WINDOW_MESSAGES), **SETTINGS)

    def subscriber(self, broker: Any, name: str, joined: Callable[[], None]) -> Any:
        """Consume."""
        joined()
        return broker.subscriber(RabbitQueue(name, queue_type=QueueType.QUORUM, durable=True, declare=False))

    async def publish(self, broker: Any, order: Order, name: str) -> object:
        """Publish, persistent and confirmed."""
        return await broker.publish(order, name, persist=True)


class KafkaEnds(FastStreamEnds):
    """A topic that is there already."""

    def broker(self, url: str) -> Any:
        """Return it, with a producer that loses and doubles nothing."""
        servers = url.partition("://")[2].rstrip("/")
        return KafkaBroker(servers, acks="all", enable_idempotence=True, **SETTINGS)

    def subscriber(self, broker: Any, name: str, joined: Callable[[], None]) -> Any:
        """Consume, and commit what has been handled."""
        loop = asyncio.get_running_loop()

        def assigned(*_: object) -> None:
            loop.call_soon_threadsafe(joined)

        return broker.subscriber(
            name,
            group_id=name,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.ACK,
            on_assign=assigned,
        )

    async def publish(self, broker: Any, order: Order, name: str) -> object:
        """Publish."""
        return await broker.publish(order, name)


class NatsEnds(FastStreamEnds):
    """A stream that is there already."""

    def broker(self, url: str) -> Any:
        """Return it."""
        scheme, _, rest = url.partition("://")
        login, at, hosts = rest.rpartition("@")
        return NatsBroker(
            [f"{scheme}://{login}{at}{host}" for host in hosts.rstrip("/").split(",")], **SETTINGS
        )

    def subscriber(self, broker: Any, name: str, joined: Callable[[], None]) -> Any:
        """Pull."""
        joined()
        return broker.subscriber(
            name, stream=JStream(name, declare=False), durable=GROUP, pull_sub=PullSub(WINDOW_MESSAGES)
        )

    async def publish(self, broker: Any, order: Order, name: str) -> object:
        """Publish."""
        return await broker.publish(order, name, stream=name, timeout=SILENT_S_MAX)


class RedisEnds(FastStreamEnds):
    """A stream that is there already."""

    publishers = 100  # each is a connection

    def broker(self, url: str) -> Any:
        """Return it."""
        return RedisBroker(url, **SETTINGS)

    def subscriber(self, broker: Any, name: str, joined: Callable[[], None]) -> Any:
        """Read."""
        joined()
        return broker.subscriber(
            stream=StreamSub(
                name, group=GROUP, consumer="one", max_records=WINDOW_MESSAGES, polling_interval=100
            )
        )

    async def publish(self, broker: Any, order: Order, name: str) -> object:
        """Add."""
        return await broker.publish(order, stream=name)


ENDS: Mapping[str, Ends] = {
    "rabbitmq": RabbitEnds(),
    "kafka": KafkaEnds(),
    "nats": NatsEnds(),
    "redis": RedisEnds(),
}
