"""What other processes hold of a group of `amqp://` counts, whoever looks: the server does not tell, so they do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aio_pika
import pytest

from tests.brokers import Server
from waystation._core.delivery import ACCEPT, Delivery, Retry
from waystation._core.inspection import GroupInfo
from waystation._core.message import Message
from waystation._core.ports import Feed
from waystation.transports.amqp.limits import HANDS_S
from waystation.transports.amqp.transport import AmqpTransport

from .amqp_stand import ORDERS, PATIENCE_S, fresh, opened, plain, prefix_of, send

COUNT = 20


async def publish(transport: AmqpTransport, key: str | None) -> None:
    await send(transport, *[Message(f"m{number}", "orders", b"", key=key) for number in range(COUNT)])


async def some(feed: Feed, count: int) -> list[Delivery]:
    """Receive so many, and keep them."""
    found: list[Delivery] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            found += await feed.receive(count - len(found))
    return found


async def billing(transport: AmqpTransport) -> GroupInfo:
    (info,) = await transport.groups()
    return info


def counts(info: GroupInfo) -> Sequence[int]:
    return info.ready, info.in_flight, info.waiting


@pytest.mark.parametrize("key", [None, "k"])
async def test_who_serves_nothing_sees_what_others_hold(rabbitmq_server: Server, key: str | None) -> None:
    url = fresh(rabbitmq_server)
    async with opened(url) as holder, opened(url) as watcher:
        await publish(holder, key)
        feed = await holder.open_feed(ORDERS)
        held = await some(feed, 5)
        info = await billing(watcher)
        assert counts(info) == counts(await billing(holder)) == (COUNT - 5, 5, 0)
        assert info.oldest_age_s is not None
        await feed.settle([(delivery, ACCEPT) for delivery in held])
        assert (await billing(watcher)).lag == COUNT - 5


async def test_members_see_what_each_other_hold(rabbitmq_server: Server) -> None:
    url = fresh(rabbitmq_server)
    async with opened(url) as one, opened(url) as other:
        feeds = [await each.open_feed(ORDERS) for each in (one, other)]
        await publish(one, None)
        held = [await some(feed, 3) for feed in feeds]
        assert counts(await billing(one)) == counts(await billing(other)) == (COUNT - 6, 6, 0)
        await feeds[0].settle([(delivery, Retry(60.0)) for delivery in held[0]])
        assert counts(await billing(other)) == (COUNT - 6, 3, 3)


async def test_a_look_ahead_of_a_skip_counts_what_others_go_on_with(rabbitmq_server: Server) -> None:
    url = fresh(rabbitmq_server)
    async with opened(url) as holder, opened(url) as watcher:
        feed = await holder.open_feed(ORDERS)
        await publish(holder, None)
        await some(feed, COUNT)
        (outlook,) = await watcher.seek("billing", "orders", "new", dry_run=True)
        assert (outlook.skipped, outlook.lag) == (0, COUNT)


async def test_who_does_not_answer_is_not_waited_for(rabbitmq_server: Server) -> None:
    """Nor does his silence hide what others hold."""
    url = fresh(rabbitmq_server)
    async with opened(url) as holder, opened(url) as watcher, plain(url) as mute:
        feed = await holder.open_feed(ORDERS)
        await publish(holder, None)
        await some(feed, COUNT)
        queue = await mute.get_queue(f"{prefix_of(url)}:orders:billing:again")
        await queue.consume(_say_nothing)
        async with asyncio.timeout(HANDS_S + PATIENCE_S):
            assert (await billing(watcher)).lag == COUNT


async def test_after_a_cut_processes_are_asked_again(rabbitmq_server: Server) -> None:
    url = fresh(rabbitmq_server)
    async with opened(url) as holder, opened(url) as watcher:
        feed = await holder.open_feed(ORDERS)
        for transport in (holder, watcher):
            assert transport.link.connection is not None
            transport.link.connection.drop()
        await publish(holder, None)
        await some(feed, COUNT)
        async with asyncio.timeout(PATIENCE_S):
            while watcher.link.connection is None:
                await asyncio.sleep(0.01)
        assert (await billing(watcher)).in_flight == COUNT


async def test_what_strays_into_the_exchange_is_nothing_to_anybody(rabbitmq_server: Server) -> None:
    url = fresh(rabbitmq_server)
    async with opened(url) as holder, opened(url) as watcher, plain(url) as stranger:
        feed = await holder.open_feed(ORDERS)
        await publish(holder, None)
        await some(feed, 2)
        exchange = await stranger.get_exchange(f"{prefix_of(url)}:call")
        for body in (b"", b"{}", b'{"type":"told","number":1,"hands":{}}'):
            await exchange.publish(aio_pika.Message(body), routing_key="")
        assert (await billing(watcher)).lag == COUNT


async def _say_nothing(_: object) -> None:
    """Consume, as a member does, and hear no question."""
