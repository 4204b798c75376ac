"""Looking in: counts, offsets, and what is not kept."""

from __future__ import annotations

from ..._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Retry
from ..._core.message import Message
from .rules import rule
from .world import TOPIC, Suite, ids, ids_of


class Looking(Suite):
    """C-28 (what takes nothing), C-29, C-31."""

    @rule(28, "replay")
    async def test_c28_browsing_takes_nothing(self) -> None:
        """It shows messages with rising offsets, from anywhere."""
        async with self.world() as world:
            feed = await world.feed()
            sent = await world.send_many(5)
            rows = await world.inspector.browse("orders.*", start="earliest", limit=100)
            assert [message for _, message in rows] == sent
            assert [offset for offset, _ in rows] == sorted({offset for offset, _ in rows})
            later = await world.inspector.browse(TOPIC, start=rows[2][0], limit=2)
            assert [message for _, message in later] == sent[2:4]
            assert not await world.inspector.browse(TOPIC, start="new", limit=100)
            assert sorted(ids(await world.handle(feed, 5))) == sorted(ids_of(sent))

    @rule(29, "redelivers_unsettled")
    async def test_c29_lag_counts_what_is_not_settled(self) -> None:
        """Ready, in flight, waiting and dead, each in its column."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send_many(10)
            await world.clock.advance(5)
            info = await world.group()
            assert (info.lag, info.ready, info.in_flight, info.waiting, info.dead) == (10, 10, 0, 0, 0)
            assert info.oldest_age_s is not None
            assert abs(info.oldest_age_s - 5) < 0.5
            taken = await world.take(feed, 10)
            assert (await world.group()).in_flight == 10
            done = [(delivery, ACCEPT) for delivery in taken[:5]]
            await feed.settle([*done, (taken[5], Retry(60)), (taken[6], DeadLetter("no"))])
            info = await world.group()
            assert (info.lag, info.ready, info.in_flight, info.waiting, info.dead) == (4, 0, 3, 1, 1)
            await feed.close()
            info = await world.group()
            assert (info.lag, info.ready, info.in_flight, info.waiting) == (4, 3, 0, 1)

    @rule(29, "redelivers_unsettled", "delayed_send", "ordered_by_key")
    async def test_c29_lag_is_what_a_model_counts(self) -> None:
        """After a bit of everything: settled out of order, retried, parked behind a retry, scheduled, dead."""
        async with self.world() as world:
            feed = await world.feed()
            begins = world.clock.time()
            sent: list[Message] = []
            for number in range(6):
                sent += await world.send_many(3, key=f"k-{number}")
                await world.clock.advance(1)
            later = world.message(deliver_at=world.clock.time() + 50)
            await world.send(later)
            assert (await world.group()).lag == 18, "what is not due is nobody's yet"
            by_key: dict[str | None, list[Delivery]] = {}
            for delivery in await world.take(feed, 18):
                by_key.setdefault(delivery.key, []).append(delivery)
            await feed.settle([(delivery, ACCEPT) for delivery in [*by_key["k-5"], *by_key["k-1"]]])
            first, second, third = by_key["k-0"]
            await feed.settle([(first, Retry(100)), (second, RELEASE), (third, RELEASE)])
            await feed.settle([(delivery, DeadLetter("no")) for delivery in by_key["k-3"]])
            await feed.settle([(delivery, Retry(0)) for delivery in by_key["k-4"][:1]])
            await feed.settle([(delivery, RELEASE) for delivery in by_key["k-4"][1:]])
            info = await world.group()
            assert (info.lag, info.in_flight, info.ready + info.waiting, info.dead) == (9, 3, 6, 3)
            assert info.oldest_age_s is not None
            assert abs(info.oldest_age_s - (world.clock.time() - begins)) < 0.5
            await feed.close()
            feed = await world.feed()
            await world.handle(feed, 6)
            await world.clock.advance(60)
            info = await world.group()
            assert (info.lag, info.waiting, info.ready) == (4, 3, 1), (
                "the first key's, and what has become due"
            )
            await world.handle(feed, 1)
            await world.clock.advance(60)
            await world.handle(feed, 3)
            info = await world.group()
            assert (info.lag, info.oldest_age_s) == (0, None)

    @rule(29, "delayed_send")
    async def test_c29_the_age_of_what_was_scheduled_counts_from_its_time(self) -> None:
        """Waiting on purpose is no lag; also when its first attempt has failed."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send(world.message(deliver_at=world.clock.time() + 3600))
            await world.clock.advance(3605)
            delivery = await world.take_one(feed)
            for outcome in (None, Retry(60)):
                if outcome is not None:
                    await feed.settle([(delivery, outcome)])
                age_s = (await world.group()).oldest_age_s
                assert age_s is not None
                assert age_s < 10

    @rule(29)
    async def test_c29_a_group_with_nothing_to_do_has_no_age(self) -> None:
        """Neither before its first message nor after its last."""
        async with self.world() as world:
            feed = await world.feed()
            assert (await world.group()).oldest_age_s is None
            await world.send_many(3)
            await world.handle(feed, 3)
            info = await world.group()
            assert (info.lag, info.oldest_age_s) == (0, None)

    @rule(29)
    async def test_c29_topics_are_listed_with_their_groups(self) -> None:
        """By name; what a topic has kept is known where that can be read again."""
        async with self.world() as world:
            await world.declare("b", "orders.placed")
            await world.declare("a", "orders.#")
            await world.send(world.message(b"12345"), world.message(b"123"))
            await world.send(world.message(topic="orders.paid"))
            paid, placed = await world.inspector.topics()
            assert (paid.name, placed.name) == ("orders.paid", "orders.placed")
            assert (paid.groups, placed.groups) == (("a",), ("a", "b"))
            if world.transport.capabilities.replay:
                assert (paid.messages, placed.messages, placed.next_offset) == (1, 2, 2)
                assert placed.newest is not None

    @rule(29, "groups")
    async def test_c29_a_group_can_be_forgotten(self) -> None:
        """With its place and its dead letters; declared again, it is a new one."""
        async with self.world() as world:
            feed, other = await world.feed(), await world.feed("audit")
            sent = await world.send_many(2)
            await feed.settle([(delivery, DeadLetter("no")) for delivery in await world.take(feed, 2)])
            await feed.close()
            assert await world.inspector.remove_group("billing")
            assert not await world.inspector.remove_group("billing")
            assert not await world.inspector.dead()
            assert {info.group for info in await world.inspector.groups()} == {"audit"}
            assert sorted(ids(await world.handle(other, 2))) == sorted(ids_of(sent))

    @rule(31, "groups")
    async def test_c31_what_every_group_has_settled_is_not_kept(self) -> None:
        """The storage of a long-running queue does not grow."""
        async with self.world() as world:
            feed, other = await world.feed(), await world.feed("audit")
            await world.send_many(1000)
            for member in (feed, other):
                left = 1000
                while left:
                    deliveries = await member.receive(1000)
                    await member.settle([(delivery, ACCEPT) for delivery in deliveries])
                    left -= len(deliveries)
                    if member is feed:
                        assert sum(info.messages for info in await world.inspector.topics()) == 1000

            async def is_small() -> bool:
                return sum(info.messages for info in await world.inspector.topics()) < 100

            await world.eventually(is_small, "settled messages were removed")
