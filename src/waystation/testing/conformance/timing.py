"""Messages that wait for their time."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from ..._core.delivery import ACCEPT
from ..._core.ports import Feed
from .rules import rule
from .world import Suite, ids, ids_of


class Timing(Suite):
    """C-21, C-22, C-46."""

    @rule(21)
    async def test_c21_no_scheduled_message_is_early_and_none_is_late(self) -> None:
        """Many, with due times in no order."""
        async with self.world() as world:
            feed = await world.feed()
            chance = random.Random(21)
            now = world.clock.time()
            sent = [world.message(deliver_at=now + chance.uniform(1.0, 100.0)) for _ in range(300)]
            await world.send(*sent)
            await world.nothing_comes(feed)
            came: list[str] = []
            for _ in range(21):
                await world.clock.advance(5.0)
                due = [message for message in sent if (message.deliver_at or 0.0) <= world.clock.time()]
                came += await _collect(feed, len(due) - len(came))
                assert sorted(came) == sorted(ids_of(due))
            assert len(came) == len(sent)

    @rule(21)
    async def test_c21_a_scheduled_message_comes_while_a_feed_waits(self) -> None:
        """Nobody need send anything for that."""
        async with self.world() as world:
            feed = await world.feed()
            later = world.message(deliver_at=world.clock.time() + 60)
            sooner = world.message(deliver_at=world.clock.time() + 30)
            await world.send(later, sooner)
            waiting = asyncio.create_task(world.handle(feed, 2))

            async def came() -> bool:
                return waiting.done()

            await world.eventually(came, "both were delivered")
            assert ids(await waiting) == [sooner.id, later.id]

    @rule(21)
    async def test_c21_a_time_that_has_passed_is_now(self) -> None:
        """For whoever computed it too slowly."""
        async with self.world() as world:
            feed = await world.feed()
            (sent,) = await world.send_many(1, deliver_at=world.clock.time() - 5)
            assert (await world.take_one(feed)).message == sent

    @rule(21, "persistent")
    async def test_c21_a_schedule_outlives_its_sender(self) -> None:
        """In a persistent transport."""
        async with self.world() as world:
            await world.declare()
            (sent,) = await world.send_many(1, deliver_at=world.clock.time() + 60)
            clock = world.clock
        await clock.advance(61)
        async with self.world(clock=clock) as later:
            assert (await later.take_one(await later.feed())).message == sent

    @rule(22, "inspectable")
    async def test_c22_a_cancelled_message_never_comes(self) -> None:
        """And can be cancelled once."""
        async with self.world() as world:
            feed = await world.feed()
            now = world.clock.time()
            late, early = world.message(deliver_at=now + 20), world.message(deliver_at=now + 10)
            await world.send(late, early)
            listed = await world.inspector.scheduled()
            assert [(info.message, info.due) for info in listed] == [(early, now + 10), (late, now + 20)]
            assert await world.inspector.cancel_scheduled(early.id)
            assert not await world.inspector.cancel_scheduled(early.id)
            await world.clock.advance(21)
            assert ids(await world.handle(feed, 1)) == [late.id]
            assert not await world.inspector.cancel_scheduled(late.id)
            assert not await world.inspector.scheduled()
            await world.nothing_comes(feed)

    @rule(22, "inspectable")
    async def test_c22_a_moved_message_comes_at_its_new_time(self) -> None:
        """Earlier than it would have, or later, or now; also while a feed waits for the old time."""
        async with self.world() as world:
            feed = await world.feed()
            now = world.clock.time()
            first, second, third = (world.message(deliver_at=now + s) for s in (10, 20, 3600))
            await world.send(first, second, third)
            assert await world.inspector.move_scheduled(first.id, now + 30)
            assert await world.inspector.move_scheduled(third.id, datetime.fromtimestamp(now - 1, UTC))
            (moved,) = await world.handle(feed, 1)
            assert moved.message == replace(third, deliver_at=now - 1)
            listed = await world.inspector.scheduled()
            assert [(info.message.id, info.due) for info in listed] == [
                (second.id, now + 20),
                (first.id, now + 30),
            ]
            await world.clock.advance(20.5)
            assert ids(await world.handle(feed, 1)) == [second.id]
            await world.nothing_comes(feed)
            await world.clock.advance(10)
            assert ids(await world.handle(feed, 1)) == [first.id]
            assert not await world.inspector.move_scheduled(first.id, now + 60)
            await world.nothing_comes(feed)

    @rule(22, "inspectable")
    async def test_c22_what_waits_is_found_by_topic_and_time(self) -> None:
        """As many as asked for, the next one first."""
        async with self.world() as world:
            now = world.clock.time()
            for topic, delay_s in (("orders.paid", 30), ("orders.placed", 10), ("parcels.sent", 20)):
                await world.send(world.message(topic=topic, deliver_at=now + delay_s))

            async def found(**wanted: Any) -> list[str]:
                return [info.message.topic for info in await world.inspector.scheduled(**wanted)]

            assert await found() == ["orders.placed", "parcels.sent", "orders.paid"]
            assert await found(limit=2) == ["orders.placed", "parcels.sent"]
            assert await found(pattern="orders.*") == ["orders.placed", "orders.paid"]
            assert await found(pattern="orders.*", limit=1) == ["orders.placed"]
            assert await found(before=datetime.fromtimestamp(now + 30, UTC)) == [
                "orders.placed",
                "parcels.sent",
            ]

    @rule(46, "delayed_send")
    async def test_c46_time_comes_from_the_clock_alone(self) -> None:
        """While it stands still nothing becomes due, however long that lasts."""
        async with self.world() as world:
            feed = await world.feed()
            later = world.message(deliver_at=world.clock.time() + 0.02)
            await world.send(later)
            await asyncio.sleep(0.1)
            await world.nothing_comes(feed)
            await world.clock.advance(0.03)
            assert ids(await world.handle(feed, 1)) == [later.id]


async def _collect(feed: Feed, count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        async with asyncio.timeout(10):
            deliveries = await feed.receive(100)
        await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
        found += ids(deliveries)
    return found
