"""What a publisher may wish for: to overtake others, and to be stored once."""

from __future__ import annotations

import asyncio

from ..._core.delivery import ACCEPT, Receipt, Retry
from ..._core.limits import DEDUPE_WINDOW_S, PRIORITY_TURNS_COUNT
from .rules import rule
from .world import Suite, ids, ids_of


class Publishing(Suite):
    """C-24, C-25."""

    @rule(24)
    async def test_c24_the_highest_priority_comes_first(self) -> None:
        """Of what is ready; within a priority the oldest of a key."""
        async with self.world() as world:
            feed = await world.feed()
            await world.handle(feed, len(await world.send_many(2)))  # one before there was a priority
            sent = [world.message(key="one", priority=priority) for priority in (0, 9, 3, 0, 9, 1, 3)]
            await world.send(*sent[:4])
            await world.send(*sent[4:])
            taken = await world.take(feed, len(sent))
            assert ids(taken) == [sent[index].id for index in (1, 4, 2, 6, 5, 0, 3)]
            await feed.settle([(delivery, ACCEPT) for delivery in taken])
            assert (await world.group()).lag == 0

    @rule(24)
    async def test_c24_an_urgent_message_overtakes_what_waits(self) -> None:
        """It does not wait for the end of what came before."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send_many(50)
            await world.handle(feed, 10)
            (urgent,) = await world.send_many(1, priority=9)
            assert urgent.id in ids(await world.handle(feed, 2)), (
                "only the turn of the oldest may come before"
            )
            assert len(await world.handle(feed, 39)) == 39
            await world.nothing_comes(feed)

    @rule(24)
    async def test_c24_nobody_is_starved(self) -> None:
        """Low and middle priorities end although urgent messages never do."""
        async with self.world() as world:
            feed = await world.feed()
            low, middle = await world.send_many(3), await world.send_many(3, priority=5)
            await world.send_many(3, priority=9)
            waiting = {*ids_of(low), *ids_of(middle)}
            for _ in range(7 * PRIORITY_TURNS_COUNT):
                await world.send_many(1, priority=9)
                waiting -= set(ids(await world.handle(feed, 1)))
            assert not waiting

    @rule(24, "ordered_by_key", "redelivers_unsettled")
    async def test_c24_an_order_by_key_is_kept_within_a_priority(self) -> None:
        """Also when its first message is retried: that holds back those of its own priority."""
        async with self.world() as world:
            feed = await world.feed()
            sent = [world.message(key="one", priority=9) for _ in range(3)]
            await world.send(*sent)
            await feed.settle([(await world.take_one(feed), Retry(5))])
            (low,) = await world.send_many(1, key="two")
            assert ids(await world.handle(feed, 1)) == [low.id]
            await world.clock.advance(6)
            assert ids(await world.handle(feed, 3)) == ids_of(sent)

    @rule(24, "inspectable")
    async def test_c24_a_group_that_goes_back_begins_with_the_urgent(self) -> None:
        """And gets each message once."""
        async with self.world() as world:
            feed = await world.feed()
            await world.declare("audit")  # so that everything is kept
            sent = [world.message(key="one", priority=priority) for priority in (0, 9, 0, 9)]
            await world.send(*sent)
            await world.handle(feed, 4)
            await world.inspector.seek("billing", "orders.placed", "earliest")
            kept = await world.take(feed, 4)
            assert ids(kept) == [sent[index].id for index in (1, 3, 0, 2)]

    @rule(25)
    async def test_c25_a_second_message_with_a_dedupe_key_is_not_stored(self) -> None:
        """Its receipt says so, and has the id of the first."""
        async with self.world() as world:
            feed = await world.feed()
            first, again = world.message(b"1", dedupe_key="a"), world.message(b"2", dedupe_key="a")
            await world.send(first)
            (receipt,) = await world.transport.send([again])
            assert isinstance(receipt, Receipt)
            assert (receipt.message_id, receipt.duplicate) == (first.id, True)
            assert ids(await world.handle(feed, 1)) == [first.id]
            await world.nothing_comes(feed)

    @rule(25)
    async def test_c25_within_a_batch_too_and_the_others_are_stored(self) -> None:
        """In their order; each outcome stands in its message's place."""
        async with self.world() as world:
            feed = await world.feed()
            keys = ["a", None, "b", "a", None, "b", "c"]
            sent = [world.message(key="one", dedupe_key=key) for key in keys]
            receipts = await world.transport.send(sent)
            firsts = [sent[index].id for index in (0, 1, 2, 0, 4, 2, 6)]
            assert all(isinstance(receipt, Receipt) for receipt in receipts)
            assert [receipt.message_id for receipt in receipts if isinstance(receipt, Receipt)] == firsts
            duplicates = [isinstance(receipt, Receipt) and receipt.duplicate for receipt in receipts]
            assert duplicates == [False, False, False, True, False, True, False]
            kept = [message for message, twice in zip(sent, duplicates, strict=True) if not twice]
            assert ids(await world.handle(feed, 5)) == ids_of(kept)

    @rule(25)
    async def test_c25_a_key_belongs_to_its_topic(self) -> None:
        """Whoever publishes elsewhere cannot use it up."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send(world.message(topic="orders.paid", dedupe_key="a"))
            sent = world.message(dedupe_key="a")
            (receipt,) = await world.send(sent)
            assert not receipt.duplicate
            assert ids(await world.handle(feed, 1)) == [sent.id]

    @rule(25)
    async def test_c25_after_the_window_it_is_stored_again(self) -> None:
        """And not before its end; what was refused does not lengthen it."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send(world.message(dedupe_key="a"))
            await world.clock.advance(DEDUPE_WINDOW_S - 1)
            (refused,) = await world.transport.send([world.message(dedupe_key="a")])
            assert isinstance(refused, Receipt)
            assert refused.duplicate
            await world.clock.advance(2)
            (receipt,) = await world.send(world.message(dedupe_key="a"))
            assert not receipt.duplicate
            assert len(await world.handle(feed, 2)) == 2

    @rule(25)
    async def test_c25_of_many_publishers_at_once_one_is_first(self) -> None:
        """All the others are told which."""
        async with self.world() as world:
            feed = await world.feed()
            sent = [world.message(dedupe_key="a") for _ in range(20)]
            outcomes = await asyncio.gather(*(world.transport.send([message]) for message in sent))
            receipts = [receipt for (receipt,) in outcomes if isinstance(receipt, Receipt)]
            assert [receipt.duplicate for receipt in receipts].count(False) == 1
            (stored,) = {receipt.message_id for receipt in receipts}
            assert ids(await world.handle(feed, 1)) == [stored]
            await world.nothing_comes(feed)

    @rule(25, "delayed_send", "inspectable")
    async def test_c25_what_waits_for_its_time_is_stored_once_and_delivered(self) -> None:
        """Its own key does not refuse it when its time has come; once cancelled, it frees the key."""
        async with self.world() as world:
            feed = await world.feed()
            due = world.clock.time() + 60
            cancelled = world.message(dedupe_key="a", deliver_at=due)
            await world.send(cancelled)
            (again,) = await world.transport.send([world.message(dedupe_key="a", deliver_at=due)])
            assert isinstance(again, Receipt)
            assert again.duplicate
            assert await world.inspector.cancel_scheduled(cancelled.id)
            kept = world.message(dedupe_key="a", deliver_at=due)
            await world.send(kept)
            await world.clock.advance(61)
            assert ids(await world.handle(feed, 1)) == [kept.id]
            await world.nothing_comes(feed)

    @rule(25, "persistent")
    async def test_c25_a_key_outlives_its_publisher(self) -> None:
        """In a persistent transport."""
        async with self.world() as world:
            first = world.message(dedupe_key="a")
            await world.send(first)
            clock = world.clock
        async with self.world(clock=clock) as later:
            await later.send_many(1)  # so that the next one has another id
            (receipt,) = await later.transport.send([later.message(dedupe_key="a")])
            assert isinstance(receipt, Receipt)
            assert (receipt.message_id, receipt.duplicate) == (first.id, True)
