"""What a publisher may wish for: to be stored once."""

from __future__ import annotations

import asyncio

from ..._core.delivery import Receipt
from ..._core.limits import DEDUPE_WINDOW_S
from .rules import rule
from .world import Suite, ids, ids_of


class Publishing(Suite):
    """C-25."""

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
