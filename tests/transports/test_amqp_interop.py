"""Programs that know nothing of Waystation take part: with aio-pika alone, in both directions."""

from __future__ import annotations

import asyncio
import json

import aio_pika
import msgspec
import pytest

from tests.transports.amqp_stand import ORDERS, PATIENCE_S, fresh, opened, plain, prefix_of, send
from tests.transports.redis_stand import handle, message, take
from waystation import Bus, Delivery
from waystation._core.delivery import ACCEPT, Retry
from waystation._core.ports import Subscription, Topology
from waystation._servers.desk import Server


class Order(msgspec.Struct):
    number: int


async def test_what_a_plain_client_publishes_reaches_a_handler(rabbitmq_server: Server) -> None:
    url = fresh(rabbitmq_server)
    bus, seen, came = Bus(url), list[Delivery](), asyncio.Event()

    @bus.subscribe("orders.*", group="billing")
    async def work(order: Order, delivery: Delivery) -> None:
        assert order == Order(7)
        seen.append(delivery)
        came.set()

    async with bus.running(), plain(url) as channel:
        exchange = await channel.get_exchange(prefix_of(url))
        await exchange.publish(
            aio_pika.Message(
                b'{"number":7}',
                message_id="theirs-1",
                content_type="application/json",
                headers={"tenant": "north", "retries": 3, "cloudEvents:type": "Order", "x-death": "theirs"},
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            ),
            routing_key="orders.placed",
        )
        async with asyncio.timeout(PATIENCE_S):
            await came.wait()
    sent = seen[0].message
    assert (sent.id, sent.topic, sent.type) == ("theirs-1", "orders.placed", "Order")
    assert sent.headers == {"tenant": "north", "retries": "3"}, "the broker's own are not the application's"


async def test_a_message_without_an_id_gets_one_of_its_own_and_keeps_it_over_retries(
    rabbitmq_server: Server,
) -> None:
    """Two equal messages are two."""
    url = fresh(rabbitmq_server)
    async with opened(url) as transport, plain(url) as channel:
        feed = await transport.open_feed(ORDERS)
        exchange = await channel.get_exchange(prefix_of(url))
        for _ in range(2):
            await exchange.publish(aio_pika.Message(b"1"), routing_key="orders")
        first, second = await take(feed, 2)
        assert first.message.id != second.message.id
        await feed.settle([(first, Retry(0.0)), (second, ACCEPT)])
        (again,) = await handle(feed, 1)
        assert (again.message.id, again.attempt) == (first.message.id, 2)


async def test_a_plain_client_reads_what_is_published_with_and_without_a_key(rabbitmq_server: Server) -> None:
    """From a queue of its own, bound to the exchanges; and again when its time has come."""
    url = fresh(rabbitmq_server)
    prefix = prefix_of(url)
    async with opened(url) as transport, plain(url) as channel:
        queue = await channel.declare_queue(exclusive=True)
        for exchange in (prefix, *(f"{prefix}.key.{slot}" for slot in range(8))):
            await queue.bind(exchange, routing_key="orders.#")
        at_once = message(b'{"number":1}', headers={"tenant": "north"}, type="Order", correlation_id="c-1")
        keyed = message(b'{"number":2}', key="k")
        later = message(b'{"number":3}', deliver_at=transport.clock.time() + 0.2)
        await send(transport, at_once, keyed, later)
        found = {}
        for _ in range(3):
            async with asyncio.timeout(PATIENCE_S):
                while (came := await queue.get(fail=False, no_ack=True)) is None:
                    await asyncio.sleep(0.01)
            found[came.message_id] = came
        first = found[at_once.id]
        assert json.loads(first.body) == {"number": 1}
        assert first.content_type == "application/json"
        assert first.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
        assert first.headers["cloudEvents_id"] == at_once.id
        assert (first.headers["cloudEvents_type"], first.headers["cloudEvents_correlationid"]) == (
            "Order",
            "c-1",
        )
        assert first.headers["tenant"] == "north"
        assert found[keyed.id].headers["cloudEvents_partitionkey"] == "k"
        assert found[later.id].routing_key == "orders"


async def test_a_plain_client_works_as_a_member_of_a_group(rabbitmq_server: Server) -> None:
    """On the queue for messages without a key: each message reaches one of them."""
    url = fresh(rabbitmq_server)
    async with opened(url) as transport, plain(url) as channel:
        feed = await transport.open_feed(ORDERS)
        queue = await channel.get_queue(f"{prefix_of(url)}:orders:billing")
        theirs: list[str] = []

        async def work(taken: aio_pika.abc.AbstractIncomingMessage) -> None:
            async with taken.process():
                theirs.append(taken.message_id or "")

        await channel.set_qos(prefetch_count=5)
        tag = await queue.consume(work)
        sent = [message() for _ in range(200)]
        await send(transport, *sent)
        ours: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(ours) + len(theirs) < len(sent):
                waiting = asyncio.ensure_future(feed.receive(5))
                done, _ = await asyncio.wait([waiting], timeout=0.2)
                if not done:
                    waiting.cancel()
                    continue
                taken = waiting.result()
                await feed.settle([(delivery, ACCEPT) for delivery in taken])
                ours += [delivery.message.id for delivery in taken]
        await queue.cancel(tag)
        assert sorted(ours + theirs) == sorted(each.id for each in sent)
        assert ours
        assert theirs


@pytest.mark.parametrize("key", [None, "k"])
async def test_what_nobody_was_there_for_waits_for_the_first_groups(
    rabbitmq_server: Server, key: str | None
) -> None:
    """Those that begin at the earliest message, each of them, in its order; and none that begins with what is new."""
    url = fresh(rabbitmq_server)
    async with opened(url) as transport:
        sent = [message(topic="parcels.sent", key=key) for _ in range(20)]
        await send(transport, *sent)
        await send(transport, message(topic="bills.sent"))
        early = Subscription(pattern="parcels.*", group="early")
        second = Subscription(pattern="parcels.sent", group="second")
        late = Subscription(pattern="parcels.sent", group="late", start="new")
        for each in (early, second, late):
            await transport.declare(Topology(subscriptions=(each,)))
        for each in (early, second):
            feed = await transport.open_feed(each)
            came = [delivery.message for delivery in await handle(feed, len(sent))]
            assert came == sent
        info = {each.group: each.lag for each in await transport.groups()}
        assert info == {"billing": 0, "early": 0, "second": 0, "late": 0}
