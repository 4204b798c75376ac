"""Programs that know nothing of Waystation take part: with redis-py alone, in both directions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec

from tests.transports.redis_stand import (
    ORDERS,
    PATIENCE_S,
    base_of,
    fresh,
    handle,
    message,
    opened,
    plain,
    send,
    until,
)
from waystation import Bus, Delivery, Endpoint
from waystation._broker.attributes import REDIS, from_headers
from waystation._core.delivery import ACCEPT, Retry
from waystation._core.ports import Subscription, Topology
from waystation._servers.desk import Server
from waystation.transports.redis.feed import GroupFeed
from waystation.transports.redis.transport import RedisTransport


class Order(msgspec.Struct):
    number: int


# --- from a plain client ---------------------------------------------------------------------------------------


async def test_what_a_plain_client_adds_reaches_a_handler(redis_server: Server) -> None:
    url = fresh(redis_server)
    bus, seen, came = Bus(url), list[Delivery](), asyncio.Event()

    @bus.subscribe("orders", group="billing")
    async def handle(order: Order, delivery: Delivery) -> None:
        assert order == Order(7)
        seen.append(delivery)
        came.set()

    async with bus.running(), plain(url) as client:
        entry_id = await client.xadd(
            f"{base_of(url)}topic:orders",
            {"data": b'{"number":7}', "ce_id": "theirs-1", "ce_type": "Order", "tenant": "north"},
        )
        async with asyncio.timeout(PATIENCE_S):
            await came.wait()
    (delivery,) = seen
    sent = delivery.message
    assert (sent.id, sent.type, sent.headers, sent.topic) == (
        "theirs-1",
        "Order",
        {"tenant": "north"},
        "orders",
    )
    assert sent.time == int(entry_id.partition(b"-")[0]) / 1000, "when it was added, since it does not say"


async def test_an_entry_without_data_is_read_as_its_fields(redis_server: Server) -> None:
    """As streams are used by themselves; its id stays the same when it comes again."""
    url = fresh(redis_server)
    async with opened(url) as transport, plain(url) as client:
        entry_id = await client.xadd(f"{base_of(url)}topic:orders", {"number": "7", "note": "für Ö"})
        feed = await transport.open_feed(ORDERS)
        (first,) = await feed.receive(10)
        assert json.loads(first.body) == {"number": "7", "note": "für Ö"}
        assert first.message.id == f"orders:{entry_id.decode()}"
        assert first.message.headers == {}
        await feed.close()
        (again,) = await handle(await transport.open_feed(ORDERS), 1)
        assert again.message == first.message


async def test_fields_that_are_not_text_do_no_harm(redis_server: Server) -> None:
    url = fresh(redis_server)
    async with opened(url) as transport, plain(url) as client:
        stream = f"{base_of(url)}topic:orders"
        await client.xadd(stream, {b"\xff\xfe": b"\xff", b"ce_time": b"\xff", b"data": b"\xff\x00"})
        await client.xadd(stream, {b"\xff": b"\xfe"})
        await client.xadd(
            stream, {"data": "1", "ce_expirytime": "soon", "ce_priority": "first", "ce_partitionkey": ""}
        )
        odd, none, last = await handle(await transport.open_feed(ORDERS), 3)
    assert odd.body == b"\xff\x00"
    assert json.loads(none.body) == {"\ufffd": "\ufffd"}
    assert (last.expires_at, last.message.priority, last.key) == (None, 0, "")


async def test_a_key_is_found_wherever_a_plain_client_writes_it(redis_server: Server) -> None:
    """As of what Waystation writes, a message that is to come again holds back those of its key."""
    url = fresh(redis_server)
    async with opened(url) as transport, plain(url) as client:
        for number in range(3):
            await client.xadd(
                f"{base_of(url)}topic:orders",
                {"ce_specversion": "1.0", "ce_id": str(number), "ce_partitionkey": "ann", "data": "1"},
            )
        feed = await transport.open_feed(ORDERS)
        first, *_ = await feed.receive(1)
        await feed.settle([(first, Retry(0.05))])
        order = [each.message.id for each in await handle(feed, 3)]
    assert order == ["0", "1", "2"]


async def test_a_plain_client_that_rings_is_heard_at_once(redis_server: Server) -> None:
    """Whoever does not is heard with the next look, within a second."""
    url = fresh(redis_server)
    async with opened(url) as transport, plain(url) as client:
        feed = await transport.open_feed(ORDERS)
        assert isinstance(feed, GroupFeed)
        waiting = asyncio.ensure_future(feed.receive(1))
        await until(lambda: feed._timer is not None, "it has looked, and waits")
        began = asyncio.get_running_loop().time()
        await client.xadd(f"{base_of(url)}topic:orders", {"data": "1"})
        await client.publish(f"{base_of(url)}bell:orders", "")
        await waiting
        assert asyncio.get_running_loop().time() - began < 0.5


async def test_a_plain_client_answers_requests(redis_server: Server) -> None:
    """By adding to the stream of the address in `ce_replyto`."""
    url = fresh(redis_server)
    double = Endpoint("double", int, int)
    responder = Subscription(pattern="double", group="double")
    async with opened(url) as transport, Bus(url) as bus, plain(url) as client:
        base = base_of(url)
        await transport.declare(Topology(subscriptions=(responder,)))
        asking = asyncio.ensure_future(bus.request(double, 21))
        found: list[Any] = []
        async with asyncio.timeout(PATIENCE_S):
            while not found:
                found = await client.xrange(f"{base}topic:double")
                await asyncio.sleep(0.01)
            ((_, fields),) = found
            address, asked = fields[b"ce_replyto"].decode(), fields.get(b"ce_correlationid", fields[b"ce_id"])
            await client.xadd(
                f"{base}topic:{address}", {"data": b"42", "ce_id": "a-1", "ce_correlationid": asked}
            )
            await client.publish(f"{base}bell:{address}", "")
            assert await asking == 42


# --- to a plain client -----------------------------------------------------------------------------------------


async def test_a_plain_client_reads_body_and_attributes(redis_server: Server) -> None:
    url = fresh(redis_server)
    sent = message(
        b"\x00\xff", key="k", headers={"tenant": "north", "data": "a name that is taken"}, type="Order",
        source="shop", time=1_700_000_000.25, correlation_id="c-1", content_type="application/octet-stream",
    )  # fmt: skip
    async with opened(url) as transport, plain(url) as client:
        await send(transport, sent)
        await client.xgroup_create(f"{base_of(url)}topic:orders", "theirs", id="0")
        ((_, ((entry_id, fields),)),) = await client.xreadgroup(
            "theirs", "one", {f"{base_of(url)}topic:orders": ">"}
        )
        await client.xack(f"{base_of(url)}topic:orders", "theirs", entry_id)
    body = fields.pop(b"data")
    assert body == b"\x00\xff"
    assert fields[b"ce_id"] == sent.id.encode()
    assert b"ce_specversion" not in fields, "what goes without saying is not written"
    assert fields[b"ce_partitionkey"] == b"k"
    assert fields[b"ce_time"] == b"2023-11-14T22:13:20.2500000Z"
    assert fields[b"content-type"] == b"application/octet-stream"
    assert fields[b"tenant"] == b"north"
    headers = {name.decode(): value.decode() for name, value in fields.items()}
    assert from_headers(headers, body, REDIS, topic="orders", message_id="") == sent


async def test_what_a_group_of_redis_has_not_acknowledged_is_kept(redis_server: Server) -> None:
    """Neither what it has not read; and when it has, everything goes."""
    url = fresh(redis_server)
    stream = f"{base_of(url)}topic:orders"
    async with opened(url) as transport, plain(url) as client:
        await client.xgroup_create(stream, "theirs", id="0", mkstream=True)
        await send(transport, *(message() for _ in range(500)))
        feed = await transport.open_feed(ORDERS)
        left = 500
        while left:
            deliveries = await feed.receive(500)
            await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
            left -= len(deliveries)
        await sweep(transport)
        assert await client.xlen(stream) == 500
        ((_, read),) = await client.xreadgroup("theirs", "one", {stream: ">"}, count=500)
        await client.xack(stream, "theirs", *[entry_id for entry_id, _ in read[1:]])
        await sweep(transport)
        assert await client.xlen(stream) == 500, "the first one is still pending"
        await client.xack(stream, "theirs", read[0][0])
        await sweep(transport)
        assert await client.xlen(stream) < 100


async def sweep(transport: RedisTransport) -> None:
    """Remove what is not needed, now."""
    await transport._opened().link.call("sweep", b"0", b"3600", b"0")
