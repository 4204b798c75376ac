"""Plain NATS clients take part: what they send is handled, and what a bus sends they read."""

from __future__ import annotations

import json

import pytest

from tests.brokers import Server
from tests.transports.nats_stand import ORDERS, fresh, message, opened, plain, prefix_of, send, take
from waystation._core.delivery import ACCEPT, DeadLetter

nats = pytest.importorskip("nats")


async def test_what_a_plain_client_sends_is_a_message(nats_server: Server) -> None:
    url = fresh(nats_server)
    prefix = prefix_of(url)
    async with opened(url) as transport, plain(url) as client:
        feed = await transport.open_feed(ORDERS)
        stream = client.jetstream()
        first = await stream.publish(f"{prefix}.0.orders", b"hello")
        await stream.publish(
            f"{prefix}.5.orders",
            b"<order/>",
            headers={
                "content-type": "application/xml",
                "ce-id": "A-1",
                "ce-partitionkey": "ann",
                "shop": "b",
            },
        )
        plainest, dressed = sorted(await take(feed, 2), key=lambda delivery: delivery.body)[::-1]
        assert (plainest.message.body, plainest.message.headers) == (b"hello", {})
        assert plainest.message.id == f"{prefix}_orders-{first.seq}", (
            "made from its place, so that it stays the same"
        )
        assert plainest.message.time > 1_700_000_000
        assert (dressed.message.id, dressed.key, dressed.content_type) == ("A-1", "ann", "application/xml")
        assert dressed.message.headers == {"shop": "b"}
        await feed.settle([(each, ACCEPT) for each in (plainest, dressed)])


async def test_a_plain_client_reads_what_a_bus_sends(nats_server: Server) -> None:
    url = fresh(nats_server)
    prefix = prefix_of(url)
    async with opened(url) as transport, plain(url) as client:
        await send(
            transport,
            message("m-1", b'{"n": 1}', key="ann", headers={"shop": "b\u00e4r"}, type="Order", source="web"),
            message("m-2", b"\x00\xff", content_type="application/octet-stream"),
        )
        pulled = await client.jetstream().pull_subscribe(
            f"{prefix}.*.orders", "plain", stream=f"{prefix}_orders"
        )
        first, second = sorted(await pulled.fetch(2), key=lambda msg: msg.headers["ce-id"])
        assert (first.data, second.data) == (b'{"n": 1}', b"\x00\xff")
        assert first.headers["ce-partitionkey"] == "ann"
        assert (first.headers["ce-type"], first.headers["ce-source"]) == ("Order", "web")
        assert first.headers["content-type"] == "application/json"
        assert second.headers["content-type"] == "application/octet-stream"
        for each in (first, second):
            await each.ack_sync()


async def test_a_plain_client_sees_where_a_group_stands_and_its_dead_letters(nats_server: Server) -> None:
    url = fresh(nats_server)
    prefix = prefix_of(url)
    async with opened(url) as transport, plain(url) as client:
        feed = await transport.open_feed(ORDERS)
        await send(transport, message("m-1", b"1", key="k"))
        (delivery,) = await take(feed, 1)
        bucket = await client.jetstream().key_value(prefix)
        keys = [key for key in await bucket.keys() if key.startswith("unit.orders.billing.")]
        units = [json.loads((await bucket.get(key)).value) for key in keys]
        assert [unit["out"] for unit in units if "out" in unit] == [[1]]
        await feed.settle([(delivery, DeadLetter("no such order"))])
        pulled = await client.jetstream().pull_subscribe(
            f"{prefix}-dead.billing.>", "dead", stream=f"{prefix}-dead"
        )
        (dead,) = await pulled.fetch(1)
        assert (dead.data, dead.headers["ce-id"]) == (b"1", "m-1")
        assert "no such order" in dead.headers["ce-wsdead"].replace("%20", " ")


async def test_headers_of_a_message_never_command_the_server(nats_server: Server) -> None:
    async with opened(fresh(nats_server)) as transport:
        feed = await transport.open_feed(ORDERS)
        cunning = {
            "Nats-Rollup": "all",
            "Nats-TTL": "1s",
            "Nats-Expected-Last-Sequence": "999",
            "ce-id": "other",
        }
        await send(transport, message("m-0", b"0"), message("m-1", b"1", headers=cunning))
        taken = await take(feed, 2)
        assert {each.message.id: each.message.headers for each in taken} == {"m-0": {}, "m-1": cunning}
