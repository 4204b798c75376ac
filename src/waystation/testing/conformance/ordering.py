"""Messages of one key are handled in the order in which they were sent, whatever happens to one of them."""

from __future__ import annotations

import pytest

from ..._core.delivery import ACCEPT, RELEASE, DeadLetter, Retry, Settlement
from ..._core.limits import LEASE_S
from .rules import rule
from .world import Suite, ids, ids_of


class Ordering(Suite):
    """C-18 to C-20."""

    @rule(18)
    async def test_c18_a_key_keeps_the_order_of_sending(self) -> None:
        """Over many batches."""
        async with self.world() as world:
            feed = await world.feed()
            sent = [message for _ in range(20) for message in await world.send_many(10, key="k")]
            handled: list[str] = []
            while len(handled) < len(sent):
                deliveries = await feed.receive(16)
                handled += ids(deliveries)
                await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
            assert handled == ids_of(sent)

    @rule(19, "groups")
    async def test_c19_keys_do_not_wait_for_each_other(self) -> None:
        """While one member handles a key, another gets others, and never the same one."""
        async with self.world() as world:
            slow, fast = await world.feed(), await world.feed()
            for number in range(64):
                await world.send_many(2, key=f"k{number}")
            held = await world.take_one(slow)
            for delivery in await world.handle(fast, 32):
                assert delivery.message.key != held.message.key

    @rule(20)
    async def test_c20_a_retried_message_holds_back_its_key_and_no_other(self) -> None:
        """What was delivered behind it is released, what comes later waits too."""
        async with self.world() as world:
            feed = await world.feed()
            a1, a2 = world.message(key="a"), world.message(key="a")
            b1 = world.message(key="b")
            await world.send(a1, a2, b1)
            outcomes: dict[str, Settlement] = {a1.id: Retry(30.0), a2.id: RELEASE, b1.id: ACCEPT}
            taken = await world.take(feed, 3)
            await feed.settle([(delivery, outcomes[delivery.message.id]) for delivery in taken])
            a3, b2 = world.message(key="a"), world.message(key="b")
            await world.send(a3, b2)
            assert ids(await world.handle(feed, 1)) == [b2.id]
            await world.nothing_comes(feed)
            await world.clock.advance(30.5)
            again = await world.take_one(feed)
            assert (again.message, again.attempt) == (a1, 2)
            await world.nothing_comes(feed)
            await feed.settle([(again, ACCEPT)])
            rest = await world.handle(feed, 2)
            assert ids(rest) == [a2.id, a3.id]
            assert [delivery.attempt for delivery in rest] == [1, 1]

    @rule(20)
    async def test_c20_a_whole_batch_that_is_retried_keeps_its_order(self) -> None:
        """As a batch handler that raises does."""
        async with self.world() as world:
            feed = await world.feed()
            sent = await world.send_many(4, key="k")
            await feed.settle([(delivery, Retry(1.0)) for delivery in await world.take(feed, 4)])
            await world.clock.advance(1.5)
            again = await world.handle(feed, 4)
            assert ids(again) == ids_of(sent)
            assert [delivery.attempt for delivery in again] == [2, 2, 2, 2]

    @rule(20)
    @pytest.mark.parametrize("outcome", [ACCEPT, DeadLetter("no")])
    async def test_c20_a_key_goes_on_when_its_head_is_settled_for_good(self, outcome: Settlement) -> None:
        """Accepted or given up."""
        async with self.world() as world:
            feed = await world.feed()
            sent = await world.send_many(3, key="k")
            for attempt in (1, 2, 3):
                head = await world.take_one(feed)
                assert (head.message, head.attempt) == (sent[0], attempt)
                await feed.settle([(head, Retry(0.0) if attempt < 3 else outcome)])
            assert ids(await world.handle(feed, 2)) == ids_of(sent[1:])

    @rule(20, "redelivers_unsettled")
    async def test_c20_order_survives_a_member_that_dies(self) -> None:
        """What it had comes back before what it had not."""
        async with self.world() as world:
            dying = await world.feed()
            sent = await world.send_many(6, key="k")
            await world.take(dying, 3)
            await world.clock.advance(LEASE_S + 0.5)
            assert ids(await world.handle(await world.feed(), 6)) == ids_of(sent)

    @rule(20, "groups")
    async def test_c20_order_survives_a_member_that_leaves(self) -> None:
        """Also when it settled some."""
        async with self.world() as world:
            leaving, staying = await world.feed(), await world.feed()
            sent = await world.send_many(6, key="k")
            taken = await world.take(leaving, 4)
            await leaving.settle([(delivery, ACCEPT) for delivery in taken[:2]])
            await leaving.close()
            rest = await world.handle(staying, 4)
            assert ids(rest) == ids_of(sent[2:])
            assert {delivery.attempt for delivery in rest} == {1}
