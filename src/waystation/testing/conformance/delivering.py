"""What is sent arrives: whole, at every group, at one member of each, from where the group began."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from ..._core.delivery import ACCEPT
from ..._core.errors import ConfigurationError
from ..._core.limits import NAME_CHARS_MAX
from ..._core.message import BYTES, Message
from ..._core.ports import Feed, Subscription, Topology
from .rules import rule
from .world import TOPIC, Suite, World, ids, ids_of

BODIES = (b"", b"1", bytes(range(256)), b"x" * (1024 * 1024))

ILLEGAL_NAMES = (
    "",
    ".",
    "a..b",
    "a.",
    ".a",
    "a b",
    "a\0b",
    "a\n",
    "caf\u00e9",
    "\U0001f600",
    "a/b",
    "a;b",
    "'--",
    "a" * 1024,
)

LEGAL_NAMES = ("a", "A-1.b_2", "0.1.2", "-", "drop-table", "a" * NAME_CHARS_MAX, ".".join("abcdefgh" * 5))


class Delivering(Suite):
    """C-01 to C-06, C-30, C-38, C-40, C-43."""

    @rule(1)
    async def test_c01_a_message_arrives_as_it_was_sent(self) -> None:
        """Every attribute and every byte."""
        async with self.world() as world:
            feed = await world.feed()
            for body in BODIES:
                sent = Message(
                    id=f"id-{len(body)}-\u20ac",
                    topic=TOPIC,
                    body=body,
                    key="kl\u00fcssel \U0001f511",
                    headers={"x-name": "\u540d\u524d", "empty": ""},
                    content_type=BYTES,
                    type="Order",
                    source="shop",
                    time=world.clock.time() + 0.123456,
                    correlation_id="c-1",
                    causation_id="c-0",
                    reply_to="_reply.somebody",
                    expires_at=world.clock.time() + 3600.5,
                    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                )
                await world.send(sent)
                (delivery,) = await world.handle(feed, 1)
                assert delivery.message == sent
                assert delivery.attempt == 1
                assert delivery.error is None

    @rule(2)
    async def test_c02_every_group_gets_every_message(self) -> None:
        """Groups do not disturb each other."""
        async with self.world() as world:
            feeds = [await world.feed(group) for group in ("billing", "shipping", "audit")]
            sent = await world.send_many(10)
            for feed in feeds:
                assert set(ids(await world.handle(feed, 10))) == set(ids_of(sent))

    @rule(3)
    async def test_c03_each_message_reaches_one_member_of_a_group(self) -> None:
        """Two members that receive at the same time share what there is."""
        async with self.world() as world:
            total = 200
            seen: list[str] = []
            done = asyncio.Event()

            async def work(feed: Feed) -> None:
                while True:
                    deliveries = await feed.receive(7)
                    await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
                    seen.extend(ids(deliveries))
                    if len(seen) >= total:
                        done.set()

            members = [asyncio.create_task(work(await world.feed())) for _ in range(2)]
            sent = [message for _ in range(10) for message in await world.send_many(total // 10)]
            async with asyncio.timeout(10):
                await done.wait()
            for member in members:
                member.cancel()
            await asyncio.gather(*members, return_exceptions=True)
            assert sorted(seen) == sorted(ids_of(sent))

    @rule(5)
    async def test_c05_messages_wait_for_a_group_that_is_away(self) -> None:
        """Between two feeds, and between two openings of a persistent transport."""
        async with self.world() as world:
            await (await world.feed()).close()
            sent = await world.send_many(5)
            if not world.transport.capabilities.persistent:
                assert set(ids(await world.handle(await world.feed(), 5))) == set(ids_of(sent))
                return
        async with self.world() as later:
            assert set(ids(await later.handle(await later.feed(), 5))) == set(ids_of(sent))

    @rule(6, "inspectable", "replay")
    async def test_c06_a_new_group_begins_where_it_says(self) -> None:
        """At the earliest message, at new ones only, at an offset, or at a time."""
        async with self.world() as world:
            await world.transport.declare(Topology(topics=(TOPIC,)))
            old = []
            for _ in range(5):
                old += await world.send_many(1)
                await world.clock.advance(10)
            offsets = [offset for offset, _ in await world.inspector.browse(TOPIC, start="earliest", limit=9)]
            third = datetime.fromtimestamp(old[2].time, UTC)
            earliest = await world.feed("earliest")
            newest = await world.feed("newest", start="new")
            offset = await world.feed("offset", start=offsets[3])
            moment = await world.feed("moment", start=third)
            new = await world.send_many(1)
            assert set(ids(await world.handle(earliest, 6))) == set(ids_of(old + new))
            assert ids(await world.handle(newest, 1)) == ids_of(new)
            assert set(ids(await world.handle(offset, 3))) == set(ids_of(old[3:] + new))
            assert set(ids(await world.handle(moment, 4))) == set(ids_of(old[2:] + new))

    @rule(6)
    async def test_c06_a_group_that_exists_keeps_its_place(self) -> None:
        """Whatever a later declaration says."""
        async with self.world() as world:
            await world.declare()
            sent = await world.send_many(3)
            feed = await world.feed(start="new")
            assert set(ids(await world.handle(feed, 3))) == set(ids_of(sent))

    @rule(6)
    async def test_c06_a_pattern_reads_topics_that_come_later_from_their_beginning(self) -> None:
        """Also while its feed waits."""
        async with self.world() as world:
            feed = await world.feed("audit", "orders.*", start="new")
            waiting = asyncio.create_task(world.take(feed, 3))
            sent = []
            for topic in ("orders.paid", "orders.sent", "orders.lost"):
                sent += await world.send_many(1, topic=topic)
            await world.send_many(1, topic="orders.placed.twice")
            await world.clock.advance(2)
            assert set(ids(await waiting)) == set(ids_of(sent))

    @rule(30)
    async def test_c30_a_reply_reaches_its_address_and_no_other(self) -> None:
        """It is gone when it was read."""
        async with self.world() as world:
            mine, other = [
                await world.transport.open_feed(Subscription(pattern=f"_reply.{name}", group=None))
                for name in ("mine", "other")
            ]
            await world.send(
                world.message(b"1", topic="_reply.mine"), world.message(b"2", topic="_reply.other")
            )
            for feed, body in ((mine, b"1"), (other, b"2")):
                delivery = await world.take_one(feed)
                assert delivery.message.body == body
                await feed.settle([(delivery, ACCEPT)])
                await feed.close()

    @rule(30)
    async def test_c30_a_reply_that_nobody_awaits_harms_nobody(self) -> None:
        """A late one, for example."""
        async with self.world() as world:
            await world.send(world.message(topic="_reply.gone"))
            feed = await world.feed()
            await world.nothing_comes(feed)

    @rule(38)
    @pytest.mark.parametrize("name", LEGAL_NAMES)
    async def test_c38_a_legal_name_works(self, name: str) -> None:
        """As a topic and as a group."""
        async with self.world() as world:
            feed = await world.feed(group=name, pattern=name)
            await world.send(world.message(topic=name))
            assert (await world.take_one(feed)).message.topic == name

    @rule(38)
    @pytest.mark.parametrize("name", ILLEGAL_NAMES)
    async def test_c38_an_illegal_name_is_refused(self, name: str) -> None:
        """By the same error everywhere, and nothing of the declaration happens."""
        async with self.world() as world:
            with pytest.raises(ConfigurationError):
                await world.transport.declare(Topology(topics=("good", name)))
            with pytest.raises(ConfigurationError):
                await world.declare(pattern=name)
            with pytest.raises(ConfigurationError):
                await world.declare(group=name)
            if world.transport.capabilities.inspectable:
                assert not await world.inspector.topics()
                assert not await world.inspector.groups()

    @rule(38, "groups", "inspectable")
    async def test_c38_patterns_reach_what_they_say(self) -> None:
        """A dot is a dot, `*` one word, `#` at least one."""
        async with self.world() as world:
            topics = ("a", "a.b", "a.b.c", "aXb", "b.b")
            expected = {"a.*": {"a.b"}, "a.#": {"a.b", "a.b.c"}, "*.b": {"a.b", "b.b"}, "#": set(topics)}
            feeds = {pattern: await world.feed(f"g{i}", pattern) for i, pattern in enumerate(expected)}
            for topic in topics:
                await world.send(world.message(topic=topic))
            for pattern, feed in feeds.items():
                handled = await world.handle(feed, len(expected[pattern]))
                assert {delivery.message.topic for delivery in handled} == expected[pattern]
            assert not any(info.lag for info in await world.inspector.groups())

    @rule(40)
    async def test_c40_a_receipt_says_what_the_transport_claims(self) -> None:
        """Never more than `capabilities.send`."""
        async with self.world() as world:
            receipts = await world.send(world.message(), world.message(key="k"))
            assert {receipt.durability for receipt in receipts} == {world.transport.capabilities.send}

    @rule(43, "groups")
    async def test_c43_declaring_at_the_same_time_is_declaring_once(self) -> None:
        """Eight at once."""
        async with self.world() as world:
            await asyncio.gather(*(world.declare() for _ in range(8)))
            sent = await world.send_many(2)
            assert set(ids(await world.handle(await world.feed(), 2))) == set(ids_of(sent))

    @rule(43, "multi_process")
    async def test_c43_eight_transports_may_meet_for_the_first_time(self) -> None:
        """Each makes the same things in a new place."""
        async with self.world() as world:
            others = [World(self.make(world.clock), world.clock) for _ in range(7)]
            try:
                await asyncio.gather(*(other.transport.open() for other in others))
                await asyncio.gather(*(each.declare() for each in (world, *others)))
                (sent,) = await others[0].send_many(1)
                assert (await world.take_one(await world.feed())).message == sent
            finally:
                await asyncio.gather(*(other.close() for other in others))
