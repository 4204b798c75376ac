"""Plain Kafka clients take part: what they send is handled, what a bus sends they read, and groups are Kafka's own."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.brokers import Server
from tests.transports.kafka_stand import (
    ORDERS,
    consume,
    fresh,
    message,
    opened,
    prefix_of,
    produce,
    send,
    take,
    until,
)
from waystation._core.delivery import ACCEPT, DeadLetter

pytest.importorskip("confluent_kafka")


async def test_what_a_plain_client_sends_is_a_message(kafka_server: Server) -> None:
    url = fresh(kafka_server)
    topic = f"{prefix_of(url)}orders"
    async with opened(url) as transport:
        feed = await transport.open_feed(ORDERS)
        await asyncio.to_thread(
            produce,
            url,
            topic,
            {"value": b"hello", "partition": 3},
            {
                "value": b"<order/>",
                "key": b"ann",
                "headers": {"content-type": b"application/xml", "ce_id": b"A-1", "shop": b"b"},
            },
            {"value": None, "key": b"\xff", "headers": {"ce_time": b"soon", "raw": b"\xff\n"}},
        )
        by_body = {delivery.body: delivery for delivery in await take(feed, 3)}
        plainest, dressed, odd = by_body[b"hello"], by_body[b"<order/>"], by_body[b""]
        assert plainest.message.headers == {}
        assert plainest.message.id == f"{topic}.3.0", "made from its place, so that it stays the same"
        assert plainest.message.time > 1_700_000_000
        assert (dressed.message.id, dressed.key, dressed.content_type) == ("A-1", "ann", "application/xml")
        assert dressed.message.headers == {"shop": "b"}
        assert (odd.key, odd.message.headers) == ("\ufffd", {"raw": "\ufffd "})
        await feed.settle([(each, ACCEPT) for each in by_body.values()])


async def test_a_plain_client_reads_what_a_bus_sends(kafka_server: Server) -> None:
    url = fresh(kafka_server)
    async with opened(url) as transport:
        await send(
            transport,
            message("m-1", b'{"n": 1}', key="ann", headers={"shop": "b\u00e4r"}, type="Order", source="web"),
            message("m-2", b"\x00\xff", content_type="application/octet-stream"),
        )
        found = await asyncio.to_thread(consume, url, f"{prefix_of(url)}orders", 2, "plain")
    first, second = sorted(found, key=lambda each: dict(each.headers())["ce_id"])
    assert (first.key(), first.value(), second.key(), second.value()) == (
        b"ann", b'{"n": 1}', None, b"\x00\xff",
    )  # fmt: skip
    headers = dict(first.headers())
    assert (headers["ce_type"], headers["ce_source"], headers["shop"]) == (
        b"Order",
        b"web",
        "b\u00e4r".encode(),
    )
    assert headers["content-type"] == b"application/json"
    assert "ce_partitionkey" not in headers, "the key has a place of its own"


async def test_a_message_from_long_ago_is_kept_as_long_as_any_other(kafka_server: Server) -> None:
    """A broker deletes by the time of the record. A message that was moved here has waited elsewhere before."""
    url, long_ago = fresh(kafka_server), 1_000_000_000.0
    async with opened(url) as transport:
        feed = await transport.open_feed(ORDERS)
        await send(transport, message("m-1", time=long_ago))
        (found,) = await asyncio.to_thread(consume, url, f"{prefix_of(url)}orders", 1, "plain")
        assert time.time() - found.timestamp()[1] / 1000 < 3600
        (delivery,) = await take(feed, 1)
        assert delivery.message.time == long_ago


async def test_a_group_of_plain_clients_goes_on_where_a_bus_left_and_the_other_way_round(
    kafka_server: Server,
) -> None:
    url = fresh(kafka_server, "&partitions=1")
    topic, group = f"{prefix_of(url)}orders", f"{prefix_of(url)}billing"
    async with opened(url) as transport:
        feed = await transport.open_feed(ORDERS)
        await send(transport, *(message(f"m-{number}", b"%d" % number) for number in range(6)))
        await feed.settle([(each, ACCEPT) for each in await take(feed, 2)])
    found = await asyncio.to_thread(consume, url, topic, 4, group)
    assert [each.value() for each in found] == [b"2", b"3", b"4", b"5"]
    await asyncio.to_thread(produce, url, topic, {"value": b"6"})
    async with opened(url) as transport:
        feed = await transport.open_feed(ORDERS)
        (delivery,) = await take(feed, 1)
        assert (delivery.body, delivery.attempt) == (b"6", 1)


async def test_plain_clients_read_dead_letters(kafka_server: Server) -> None:
    url = fresh(kafka_server)
    async with opened(url) as transport:
        feed = await transport.open_feed(ORDERS)
        await send(transport, message("m-1", b"1", key="k"))
        (delivery,) = await take(feed, 1)
        await feed.settle([(delivery, DeadLetter("no such order", "line 1"))])
    (dead,) = await asyncio.to_thread(consume, url, f"{prefix_of(url)}waystation..dead", 1, "undertaker")
    headers = dict(dead.headers())
    assert (dead.value(), headers["ce_id"]) == (b"1", b"m-1")
    assert (headers["wsreason"], headers["wsdetail"], headers["wsattempts"]) == (
        b"no such order", b"line 1", b"1",
    )  # fmt: skip
    assert headers["wstopic"] == b"orders"


async def test_a_topic_that_others_make_is_found(kafka_server: Server) -> None:
    """With as many partitions as they like, and what was aborted there is never seen."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    url = fresh(kafka_server)
    name = f"{prefix_of(url)}orders"
    config = {"bootstrap.servers": url.removeprefix("kafka://").partition("?")[0]}

    def write() -> None:
        admin = AdminClient(config)
        admin.create_topics([NewTopic(name, 3)])[name].result(10)
        producer = Producer({**config, "transactional.id": name})
        producer.init_transactions(10)
        for body, commit in ((b"undone", False), (b"done", True)):
            producer.begin_transaction()
            producer.produce(name, body, partition=2)
            producer.flush(10)
            if commit:
                producer.commit_transaction(10)
            else:
                producer.abort_transaction(10)
        producer.close()

    await asyncio.to_thread(write)
    async with opened(url) as transport:
        feed = await transport.open_feed(ORDERS)
        (delivery,) = await take(feed, 1)
        assert delivery.body == b"done"
        await feed.settle([(delivery, ACCEPT)])
        await send(transport, *(message(f"m-{number}", key=f"k-{number}") for number in range(30)))
        await feed.settle([(each, ACCEPT) for each in await take(feed, 30)])
        assert {place.spot[1] for place in transport._members["billing"].places.values()} == {0, 1, 2}
        await until(
            lambda: not any(p.in_flight for p in transport._members["billing"].places.values()), "done"
        )
        (info,) = await transport.groups()
        assert info.in_flight == 0
