"""kafka:// in front of more than it can hold."""

from __future__ import annotations

import asyncio

import pytest

from tests.transports.kafka_stand import ORDERS, fresh, opened, produce, take, until
from waystation._core.delivery import ACCEPT
from waystation._servers.desk import Server
from waystation.transports.kafka.limits import (
    BUFFER_MESSAGES_MAX,
    HAND_OVER_MESSAGES_MAX,
    HAND_OVERS_MAX,
)

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
