"""How a delivery ends, and what comes of it."""

from __future__ import annotations

import asyncio

import pytest

from ..._core.delivery import ACCEPT, RELEASE, DeadLetter, Receipt, Retry
from ..._core.errors import SendRejected, SettlementLost
from ..._core.limits import LEASE_RENEWAL_S, LEASE_S
from .rules import rule
from .world import Suite, ids, ids_of


class Settling(Suite):
    """C-07 to C-17, C-32, C-33."""

    @rule(7)
    async def test_c07_what_was_accepted_never_comes_back(self) -> None:
        """Not to another feed, and not to another opening."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send_many(5)
            await world.handle(feed, 5)
            await world.clock.advance(3 * LEASE_S)
            await world.nothing_comes(feed)
            await feed.close()
            await world.nothing_comes(await world.feed())
            if not world.transport.capabilities.persistent:
                return
        async with self.world() as later:
            await later.nothing_comes(await later.feed())

    @rule(7)
    async def test_c07_settling_twice_is_settling_once(self) -> None:
        """And never touches another delivery."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send_many(3)
            first, second, third = await world.take(feed, 3)
            await feed.settle([(first, ACCEPT), (second, ACCEPT)])
            await feed.settle([(first, Retry(0)), (second, DeadLetter("no"))])
            await feed.settle([(third, ACCEPT)])
            await world.nothing_comes(feed)

    @rule(8)
    async def test_c08_deliveries_are_settled_one_by_one_in_any_order(self) -> None:
        """Only what was not accepted comes back."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send_many(4)
            first, second, third, fourth = await world.take(feed, 4)
            await feed.settle([(third, ACCEPT)])
            await feed.settle([(first, ACCEPT), (fourth, ACCEPT)])
            await feed.close()
            again = await world.feed()
            assert ids(await world.handle(again, 1)) == ids([second])
            await world.nothing_comes(again)

    @rule(9)
    @pytest.mark.parametrize("key", [None, "k"])
    async def test_c09_a_retried_message_comes_back_after_its_delay_and_not_before(
        self, key: str | None
    ) -> None:
        """Others pass it meanwhile."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send(world.message(key=key))
            first = await world.take_one(feed)
            await feed.settle([(first, Retry(30.0, "busy"))])
            await world.nothing_comes(feed)
            await world.clock.advance(29.5)
            await world.nothing_comes(feed)
            await world.clock.advance(1.0)
            again = await world.take_one(feed)
            assert (again.message, again.attempt) == (first.message, 2)

    @rule(9)
    async def test_c09_a_delay_ends_while_a_feed_waits(self) -> None:
        """Nobody need send anything for that."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send_many(1)
            await feed.settle([(await world.take_one(feed), Retry(5.0))])

            async def came_back() -> bool:
                return (await world.group()).ready == 1

            await world.eventually(came_back, "the delay ended")
            assert (await world.take_one(feed)).attempt == 2

    @rule(9)
    async def test_c09_a_released_message_comes_at_once_and_counts_no_attempt(self) -> None:
        """As if it had not been delivered."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send_many(3)
            taken = await world.take(feed, 3)
            await feed.settle([(delivery, RELEASE) for delivery in taken])
            again = await world.handle(feed, 3)
            assert sorted(ids(again)) == sorted(ids(taken))
            assert [delivery.attempt for delivery in again] == [1, 1, 1]

    @rule(11)
    async def test_c11_attempts_count_from_one_whoever_receives(self) -> None:
        """A retry counts; who closes without settling has not tried."""
        async with self.world() as world:
            await world.declare()
            await world.send_many(1)
            for attempt in (1, 2, 3, 4):
                feed = await world.feed()
                delivery = await world.take_one(feed)
                assert delivery.attempt == attempt
                await feed.settle([(delivery, Retry(0.0))])
                await feed.close()

    @rule(12)
    async def test_c12_a_dead_letter_is_kept_with_its_reason(self) -> None:
        """Once, whole, and its neighbours go on."""
        async with self.world() as world:
            feed = await world.feed()
            bad, good = await world.send_many(2)
            for delivery in await world.take(feed, 2):
                dead = delivery.message == bad
                await feed.settle([(delivery, DeadLetter("ValueError: no", "line 1") if dead else ACCEPT)])
            (letter,) = await world.inspector.dead()
            assert letter.message == bad
            assert (letter.group, letter.topic, letter.attempts) == ("billing", good.topic, 1)
            assert (letter.reason, letter.detail) == ("ValueError: no", "line 1")
            assert (await world.group()).dead == 1
            await world.nothing_comes(feed)

    @rule(13, "groups")
    @pytest.mark.parametrize("key", [None, "k"])
    async def test_c13_a_dead_letter_can_be_sent_again(self, key: str | None) -> None:
        """To its group alone, as a first attempt with its own id."""
        async with self.world() as world:
            feed, other = await world.feed(), await world.feed("audit")
            await world.send(world.message(key=key))
            await world.handle(other, 1)
            await feed.settle([(await world.take_one(feed), Retry(0))])
            last = await world.take_one(feed)
            await feed.settle([(last, DeadLetter("no"))])
            (letter,) = await world.inspector.dead(group="billing")
            assert await world.inspector.retry_dead([letter.number, letter.number + 1000]) == 1
            (again,) = await world.handle(feed, 1)
            assert (again.message, again.attempt) == (last.message, 1)
            assert not await world.inspector.dead()
            await world.nothing_comes(other)

    @rule(13)
    async def test_c13_a_dead_letter_can_be_deleted(self) -> None:
        """For good."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send_many(3)
            await feed.settle([(delivery, DeadLetter("no")) for delivery in await world.take(feed, 3)])
            first, second, third = await world.inspector.dead()
            assert await world.inspector.purge_dead([first.number, second.number, third.number + 1000]) == 2
            assert [letter.number for letter in await world.inspector.dead()] == [third.number]
            assert not await world.inspector.dead(after=third.number)
            await world.nothing_comes(feed)

    @rule(15)
    async def test_c15_an_unsettled_delivery_comes_back_when_its_lease_ends(self) -> None:
        """Then, not before, and as the next attempt."""
        async with self.world() as world:
            stuck, other = await world.feed(), await world.feed()
            (sent,) = await world.send_many(1)
            await world.take_one(stuck)
            await world.clock.advance(LEASE_S - 0.5)
            assert (await world.group()).in_flight == 1
            await world.clock.advance(1.0)
            again = await world.take_one(other)
            assert (again.message, again.attempt) == (sent, 2)

    @rule(16)
    async def test_c16_a_lease_can_be_kept(self) -> None:
        """For several times its length."""
        async with self.world() as world:
            slow = await world.feed()
            await world.send_many(2)
            taken = await world.take(slow, 2)
            for _ in range(round(5 * LEASE_S / LEASE_RENEWAL_S)):
                await world.clock.advance(LEASE_RENEWAL_S)
                await slow.extend(taken)
            await slow.settle([(delivery, ACCEPT) for delivery in taken])
            await world.nothing_comes(slow)

    @rule(16)
    async def test_c16_what_is_settled_is_passed_over(self) -> None:
        """Whoever keeps leases need not know which of them a settlement has just ended."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send_many(2)
            settled, held = await world.take(feed, 2)
            await feed.settle([(settled, ACCEPT)])
            await feed.extend([settled, held])
            await feed.settle([(held, ACCEPT)])
            await feed.extend([settled, held])
            await world.nothing_comes(feed)

    @rule(17)
    async def test_c17_a_late_settlement_is_refused(self) -> None:
        """It does not touch the new owner, and what else was in the call is settled."""
        async with self.world() as world:
            late, owner = await world.feed(), await world.feed()
            await world.send_many(1)
            lost = await world.take_one(late)
            await world.clock.advance(LEASE_S + 0.5)
            held = await world.take_one(owner)
            assert held.message == lost.message
            with pytest.raises(SettlementLost) as refused:
                await late.extend([lost])
            assert refused.value.deliveries == (lost,)
            with pytest.raises(SettlementLost):
                await late.settle([(lost, ACCEPT)])
            await owner.extend([held])
            await owner.settle([(held, Retry(0))])
            assert (await world.take_one(owner)).attempt == 3

    @rule(17)
    async def test_c17_a_call_with_a_lost_delivery_settles_the_others(self) -> None:
        """All of them."""
        async with self.world() as world:
            late, owner = await world.feed(), await world.feed()
            await world.send_many(1, key="lost")
            lost = await world.take_one(late)
            await world.clock.advance(LEASE_S + 0.5)
            held = await world.take_one(owner)
            sent = await world.send_many(1, key="kept")
            kept = await world.take_one(late)
            assert kept.message == sent[0]
            with pytest.raises(SettlementLost):
                await late.settle([(lost, ACCEPT), (kept, ACCEPT)])
            await owner.settle([(held, ACCEPT)])
            await late.close()
            await world.nothing_comes(owner)

    @rule(32)
    async def test_c32_a_feed_never_gives_more_than_it_was_asked_for(self) -> None:
        """Whatever there is."""
        async with self.world() as world:
            feed = await world.feed()
            sent = await world.send_many(50)
            seen: list[str] = []
            while len(seen) < len(sent):
                deliveries = await feed.receive(3)
                assert 1 <= len(deliveries) <= 3
                seen += ids(deliveries)
                await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
            assert sorted(seen) == sorted(ids_of(sent))

    @rule(33)
    async def test_c33_who_sends_too_fast_is_told_of_every_message(self) -> None:
        """He waits, or is refused; what has a receipt arrives, and nothing else does."""
        async with self.world() as world:
            feed = await world.feed()
            batches = [[world.message(body=b"x" * 1000) for _ in range(100)] for _ in range(40)]
            sending = asyncio.gather(*(world.transport.send(batch) for batch in batches))
            outcomes = [outcome for each in await sending for outcome in each]
            assert len(outcomes) == sum(map(len, batches))
            assert {type(outcome) for outcome in outcomes} <= {Receipt, SendRejected}
            stored = [outcome.message_id for outcome in outcomes if isinstance(outcome, Receipt)]
            found: list[str] = []
            while len(found) < len(stored):
                deliveries = await feed.receive(100)
                found += ids(deliveries)
                await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
            assert sorted(found) == sorted(stored)
            await world.nothing_comes(feed)
