"""Messages that wait for their time."""

from __future__ import annotations

import asyncio
import random

from ..._core.delivery import ACCEPT
from ..._core.ports import Feed
from .world import Suite, ids, ids_of


class Timing(Suite):
    """C-21, C-22."""

    async def test_c21_no_scheduled_message_is_early_and_none_is_late(self) -> None:
        """Many, with due times in no order."""
        async with self.world("delayed_send") as world:
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

    async def test_c21_a_scheduled_message_comes_while_a_feed_waits(self) -> None:
        """Nobody need send anything for that."""
        async with self.world("delayed_send") as world:
            feed = await world.feed()
            later = world.message(deliver_at=world.clock.time() + 60)
            sooner = world.message(deliver_at=world.clock.time() + 30)
            await world.send(later, sooner)
            waiting = asyncio.create_task(world.handle(feed, 2))

            async def came() -> bool:
                return waiting.done()

            await world.eventually(came, "both were delivered")
            assert ids(await waiting) == [sooner.id, later.id]

    async def test_c21_a_time_that_has_passed_is_now(self) -> None:
        """For whoever computed it too slowly."""
        async with self.world("delayed_send") as world:
            feed = await world.feed()
            (sent,) = await world.send_many(1, deliver_at=world.clock.time() - 5)
            assert (await world.take_one(feed)).message == sent

    async def test_c21_a_schedule_outlives_its_sender(self) -> None:
        """In a persistent transport."""
        async with self.world("delayed_send", "persistent") as world:
            await world.declare()
            (sent,) = await world.send_many(1, deliver_at=world.clock.time() + 60)
            clock = world.clock
        await clock.advance(61)
        async with self.world(clock=clock) as later:
            assert (await later.take_one(await later.feed())).message == sent

    async def test_c22_a_cancelled_message_never_comes(self) -> None:
        """And can be cancelled once."""
        async with self.world("delayed_send", "inspectable") as world:
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


async def _collect(feed: Feed, count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        async with asyncio.timeout(10):
            deliveries = await feed.receive(100)
        await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
        found += ids(deliveries)
    return found
