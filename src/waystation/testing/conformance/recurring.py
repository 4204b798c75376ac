"""Messages that recur: published once at each time, whoever and how many try."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..._core.message import Message
from ..._core.ports import Recurrence, Recurring
from .rules import rule
from .world import TOPIC, Suite, World, ids

NIGHTLY = Recurrence("nightly", TOPIC, "0 2 * * * (UTC)")
DAY = 86_400.0


class Recurs(Suite):
    """C-47."""

    @rule(47)
    async def test_c47_a_recurring_message_is_published_once_by_all_that_try(self) -> None:
        """And each is told when the next is."""
        async with self.world() as world:
            feed = await world.feed()
            due = world.clock.time() + 60
            begun = await asyncio.gather(*(_recur(world, None, due + number) for number in range(4)))
            assert set(begun) == {begun[0]}, "whoever is first says when"
            assert begun[0] is not None
            due = begun[0]
            await world.clock.advance(120)
            for _ in range(3):
                messages = [world.message() for _ in range(4)]
                told = await asyncio.gather(*(_recur(world, due, due + DAY, [each]) for each in messages))
                assert set(told) == {due + DAY}
                (came,) = await world.handle(feed, 1)
                assert came.message in messages
                assert await _recur(world, due, due + DAY, [world.message()]) == due + DAY, "asked again"
                await world.nothing_comes(feed)
                due += DAY

    @rule(47)
    async def test_c47_a_time_may_bring_no_message_or_several(self) -> None:
        """For what was missed: skipped, or made up for."""
        async with self.world() as world:
            feed = await world.feed()
            due = world.clock.time() - DAY
            assert await _recur(world, None, due) == due
            assert await _recur(world, due, due + 1, []) == due + 1
            made_up = [world.message(key="k") for _ in range(3)]
            assert await _recur(world, due + 1, due + DAY, made_up) == due + DAY
            assert ids(await world.handle(feed, 3)) == [message.id for message in made_up]

    @rule(47)
    async def test_c47_a_changed_rule_replaces_the_one_of_its_name(self) -> None:
        """Who knows the old one only publishes no more."""
        async with self.world() as world:
            feed = await world.feed()
            now = world.clock.time()
            hourly = Recurrence(NIGHTLY.name, TOPIC, "0 * * * * (UTC)")
            await _recur(world, None, now)
            assert await _recur(world, None, now + 5, what=hourly) == now + 5
            assert await _recur(world, now, now + DAY, [world.message()]) is None
            assert await _recur(world, now + 5, now + DAY, [world.message()]) is None
            last = world.message()
            assert await _recur(world, now + 5, now + 3605, [last], what=hourly) == now + 3605
            assert ids(await world.handle(feed, 1)) == [last.id]
            await world.nothing_comes(feed)

    @rule(47, "persistent")
    async def test_c47_what_recurs_outlives_every_process(self) -> None:
        """In a persistent transport."""
        async with self.world() as world:
            due = world.clock.time() + DAY
            await _recur(world, None, due)
            clock = world.clock
        await clock.advance(60)
        async with self.world(clock=clock) as later:
            assert await _recur(later, None, clock.time() + DAY) == due

    @rule(47, "inspectable")
    async def test_c47_what_recurs_can_be_listed_paused_and_removed(self) -> None:
        """While it is paused its time goes on; a removed one begins anew when it is declared."""
        async with self.world() as world:
            feed = await world.feed()
            now = world.clock.time()
            other = Recurrence("report", "reports.daily", "every 86400s")
            await _recur(world, None, now + 50)
            await _recur(world, None, now + 20, what=other)
            listed = await world.inspector.recurring()
            assert [(info.name, info.topic, info.rule, info.due, info.paused) for info in listed] == [
                (other.name, other.topic, other.rule, now + 20, False),
                (NIGHTLY.name, NIGHTLY.topic, NIGHTLY.rule, now + 50, False),
            ]
            assert await world.inspector.pause_recurring(NIGHTLY.name)
            assert await _recur(world, None, now + 1) == now + 50, "declaring does not end a pause"
            assert await _recur(world, now + 50, now + DAY, [world.message()]) == now + DAY
            assert await world.inspector.pause_recurring(NIGHTLY.name, paused=False)
            await world.nothing_comes(feed)
            last = world.message()
            assert await _recur(world, now + DAY, now + 2 * DAY, [last]) == now + 2 * DAY
            assert ids(await world.handle(feed, 1)) == [last.id]
            assert await world.inspector.remove_recurring(other.name)
            assert not await world.inspector.remove_recurring(other.name)
            assert not await world.inspector.pause_recurring(other.name)
            assert await _recur(world, now + 20, now + DAY, [world.message()], what=other) is None
            assert [info.name for info in await world.inspector.recurring()] == [NIGHTLY.name]


async def _recur(
    world: World,
    due: float | None,
    next_due: float,
    messages: Sequence[Message] = (),
    *,
    what: Recurrence = NIGHTLY,
) -> float | None:
    assert isinstance(world.transport, Recurring)
    return await world.transport.recur(what, due, next_due, messages)
