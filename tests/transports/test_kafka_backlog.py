"""kafka:// in front of more than it can hold."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.transports.kafka_stand import ORDERS, fresh, message, opened, produce, send, take, until
from waystation._core.delivery import ACCEPT
from waystation._servers.desk import Server
from waystation.testing import VirtualClock
from waystation.transports.kafka.limits import (
    BUFFER_MESSAGES_MAX,
    COMMIT_S,
    HAND_OVER_MESSAGES_MAX,
    HAND_OVERS_MAX,
    LEAVE_S,
    WINDOW_OFFSETS_MAX,
)
from waystation.transports.kafka.marks import Mark

_COUNT = 3 * (BUFFER_MESSAGES_MAX + HAND_OVERS_MAX * HAND_OVER_MESSAGES_MAX)


@pytest.mark.timeout(60)
async def test_what_nobody_takes_stays_at_the_broker_and_comes_when_there_is_room(
    kafka_server: Server,
) -> None:
    async with opened(fresh(kafka_server, "&partitions=1")) as transport:
        name = transport._names.topic("orders")
        await asyncio.to_thread(produce, kafka_server.url, name, *[{"value": b"{}"}] * _COUNT)
        feed = await transport.open_feed(ORDERS)
        member = transport._members["billing"]
        await until(lambda: bool(member.room.paused), "the partition is full")
        (place,) = member.places.values()
        # What was on its way when it was found to be full still comes, and no more.
        assert len(place.fresh) < BUFFER_MESSAGES_MAX + (HAND_OVERS_MAX + 1) * HAND_OVER_MESSAGES_MAX
        assert place.next_offset < _COUNT

        numbers: list[int] = []
        while len(numbers) < _COUNT:
            deliveries = await take(feed, 1)
            deliveries += await feed.receive(HAND_OVER_MESSAGES_MAX)
            numbers += [each.index for each in deliveries]
            await feed.settle([(each, ACCEPT) for each in deliveries])
            assert len(place.fresh) < BUFFER_MESSAGES_MAX + (HAND_OVERS_MAX + 1) * HAND_OVER_MESSAGES_MAX
        assert numbers == list(range(_COUNT))


@pytest.mark.timeout(60)
async def test_a_message_that_is_held_for_long_makes_its_partition_wait_and_nothing_else(
    kafka_server: Server,
) -> None:
    async with opened(fresh(kafka_server, "&partitions=1")) as transport:
        name = transport._names.topic("orders")
        count = WINDOW_OFFSETS_MAX + 2000
        await asyncio.to_thread(produce, kafka_server.url, name, *[{"value": b"{}"}] * count)
        feed = await transport.open_feed(ORDERS)
        held = await take(feed, 1)
        numbers: list[int] = []
        while len(numbers) < WINDOW_OFFSETS_MAX - 1:
            deliveries = await feed.receive(HAND_OVER_MESSAGES_MAX)
            numbers += [each.index for each in deliveries]
            await feed.settle([(each, ACCEPT) for each in deliveries])
        receiving = asyncio.ensure_future(feed.receive(HAND_OVER_MESSAGES_MAX))
        (place,) = transport._members["billing"].places.values()
        await until(lambda: place.next_offset > WINDOW_OFFSETS_MAX, "more is there")
        assert not receiving.done()
        await feed.settle([(each, ACCEPT) for each in held])
        async with asyncio.timeout(10):
            first, *_ = await receiving
        assert first.index == WINDOW_OFFSETS_MAX


async def test_while_a_message_is_tried_alone_the_others_wait_and_nothing_else(kafka_server: Server) -> None:
    async with opened(fresh(kafka_server, "&partitions=1")) as transport:
        await send(transport, *(message(f"m-{number}") for number in range(3)))
        spot = (transport._names.topic("orders"), 0)
        two_have_died_of_it = Mark(floor=0, claimed=2, suspects=2)
        await transport._broker.place(transport._names.group("billing"), {spot: two_have_died_of_it})
        feed = await transport.open_feed(ORDERS)
        async with asyncio.timeout(10):
            (alone,) = await feed.receive(10)
        receiving = asyncio.ensure_future(feed.receive(10))
        await transport.facts()  # this program does other things meanwhile
        assert not receiving.done()
        await feed.settle([(alone, ACCEPT)])
        async with asyncio.timeout(10):
            (second,) = await receiving
        assert (alone.attempt, second.attempt, second.message.id) == (3, 3, "m-1")


async def test_a_partition_that_was_full_arrives_again_after_a_seek(kafka_server: Server) -> None:
    async with opened(fresh(kafka_server, "&partitions=1")) as transport:
        name = transport._names.topic("orders")
        await asyncio.to_thread(produce, kafka_server.url, name, *[{"value": b"{}"}] * _COUNT)
        feed = await transport.open_feed(ORDERS)
        member = transport._members["billing"]
        await until(lambda: bool(member.room.paused), "the partition is full")
        member.seek((name, 0), _COUNT - 1)
        (last,) = await take(feed, 1)
        assert last.index == _COUNT - 1


@pytest.mark.timeout(60)
async def test_a_full_partition_that_was_elsewhere_for_a_while_arrives_again(kafka_server: Server) -> None:
    url = fresh(kafka_server, "&partitions=2")
    async with opened(url) as transport, opened(url) as other:
        name = transport._names.topic("orders")
        records = [{"value": b"{}", "partition": number % 2} for number in range(2 * _COUNT)]
        await asyncio.to_thread(produce, kafka_server.url, name, *records)
        feed = await transport.open_feed(ORDERS)
        member = transport._members["billing"]
        await until(lambda: len(member.room.paused) == 2, "both partitions are full")
        guest = await other.open_feed(ORDERS)
        await until(lambda: len(member.places) == 1, "one of them moves")
        await guest.close()
        await until(lambda: len(member.places) == 2, "it is back")
        taken: set[str] = set()
        while len(taken) < 2 * _COUNT:
            deliveries = await take(feed, 1)
            deliveries += await feed.receive(HAND_OVER_MESSAGES_MAX)
            taken |= {each.message.id for each in deliveries}
            await feed.settle([(each, ACCEPT) for each in deliveries])


@pytest.mark.timeout(60)
async def test_while_records_arrive_one_at_a_time_settling_and_leaving_take_no_longer(
    kafka_server: Server,
) -> None:
    clock = VirtualClock(time.time())  # which stands still: they arrive so until something is taken
    url = fresh(kafka_server, "&partitions=1")
    async with opened(url, clock) as transport:
        name = transport._names.topic("orders")
        await asyncio.to_thread(produce, kafka_server.url, name, *[{"value": b"{}"}] * _COUNT)
        feed = await transport.open_feed(ORDERS)
        member = transport._members["billing"]
        await until(lambda: any(place.is_full for place in member.places.values()), "the partition is full")
        (place,) = member.places.values()
        before = place.next_offset
        deliveries = await take(feed, 10)
        async with asyncio.timeout(COMMIT_S):
            await feed.settle([(each, ACCEPT) for each in deliveries])
        await until(lambda: place.next_offset > before, "they do arrive")
        assert not member.room.paused
        async with asyncio.timeout(LEAVE_S):
            await transport.close()
    async with opened(url) as transport:
        feed = await transport.open_feed(ORDERS)
        (next_one,) = await take(feed, 1)
        assert (next_one.index, next_one.attempt) == (10, 1)
