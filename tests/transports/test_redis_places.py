"""What groups hold on a server: what the conformance suite does not ask, because only a server of others can do it."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from contextlib import suppress

import pytest

from tests.store.tier import TIER
from tests.transports.redis_stand import (
    ORDERS,
    base_of,
    fresh,
    handle,
    ids,
    message,
    opened,
    plain,
    send,
    take,
)
from waystation._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Receipt, Retry, Settlement
from waystation._core.errors import SendRejected, SettlementLost
from waystation._core.limits import LEASE_S
from waystation._core.message import Message
from waystation._core.ports import Feed, Subscription, Topology
from waystation._servers.desk import Server
from waystation.testing import VirtualClock
from waystation.transports.redis.feed import GroupFeed
from waystation.transports.redis.limits import TAKE_BYTES_MAX


async def test_what_a_dead_member_had_comes_by_itself(redis_server: Server) -> None:
    """One of its messages may have killed it: the others must not be blamed when that happens again."""
    url, clock = fresh(redis_server), VirtualClock()
    async with opened(url, clock) as transport:
        sent = [message() for _ in range(5)]
        await send(transport, *sent)
        dying = await transport.open_feed(ORDERS)
        await take(dying, 5)
        await send(transport, message())
        for company in (5, 1, 1):  # the first one kills whoever gets it
            await clock.advance(LEASE_S + 0.5)
            dying = await transport.open_feed(ORDERS)
            came = await dying.receive(100)
            assert ids(came) == [each.id for each in sent[:company]]
        assert came[0].attempt == 3
        await clock.advance(LEASE_S + 0.5)
        feed = await transport.open_feed(ORDERS)
        attempts = [(delivery.message.id, delivery.attempt) for delivery in await handle(feed, 5)]
        assert attempts == [(sent[0].id, 4), *((each.id, 2) for each in sent[1:])]
        assert [delivery.attempt for delivery in await handle(feed, 1)] == [1]


async def test_a_thousand_suspects_come_a_hundred_at_a_time(redis_server: Server) -> None:
    """One by one they would stall their group for a while after each death of a process."""
    url = fresh(redis_server)
    async with opened(url) as transport:
        await send(transport, *(message() for _ in range(1000)))
        dying = await transport.open_feed(ORDERS)
        await take(dying, 1000)
        assert isinstance(dying, GroupFeed)
        await dying.abandon()
        feed = await transport.open_feed(ORDERS)
        for _ in range(10):
            came = await feed.receive(1000)
            assert {delivery.attempt for delivery in came} == {2}
            assert len(came) == 100
            await feed.settle([(delivery, ACCEPT) for delivery in came])


async def test_who_holds_something_gets_no_suspect(redis_server: Server) -> None:
    url, clock = fresh(redis_server), VirtualClock()
    async with opened(url, clock) as transport:
        await send(transport, message(), message())
        dying, busy = await transport.open_feed(ORDERS), await transport.open_feed(ORDERS)
        (first,) = await take(dying, 1)
        (held,) = await take(busy, 1)
        await clock.advance(LEASE_S - 1)
        await busy.extend([held])
        await clock.advance(1.5)
        waiting = asyncio.ensure_future(busy.receive(10))
        await send(transport, message())
        assert isinstance(busy, GroupFeed)
        await clock.advance(1.5)
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        await busy.settle([(held, ACCEPT)])
        (suspect,) = await waiting
        assert (suspect.message, suspect.attempt) == (first.message, 2)


async def test_what_a_dead_process_of_this_machine_held_is_given_back_at_once(redis_server: Server) -> None:
    """By whoever supervises it; nobody else loses anything."""
    url = fresh(redis_server)
    async with opened(url) as dying, opened(url) as other:
        await send(other, *(message() for _ in range(4)))
        taken = await take(await dying.open_feed(ORDERS), 2)
        assert await other.release_process(os.getpid() + 1) == 0
        assert await other.release_process(os.getpid()) == 1
        came = await handle(await other.open_feed(ORDERS), 4)
        assert {
            delivery.attempt for delivery in came if delivery.message in [each.message for each in taken]
        } == {2}


async def test_two_busy_members_keep_the_order_of_each_key(redis_server: Server) -> None:
    """Also while both read ahead, some messages are retried and some members leave."""
    url, dice = fresh(redis_server), random.Random(7)
    sent: list[Message] = []
    seen: dict[str, list[str]] = {}

    async def member() -> None:
        async with opened(url) as transport:
            feed = await transport.open_feed(ORDERS)
            for _ in range(30):
                try:
                    async with asyncio.timeout(1.0):
                        deliveries = await feed.receive(dice.choice((5, 200, 1000)))
                except TimeoutError:
                    break
                await settle_some(feed, deliveries)
            await feed.close()

    async def settle_some(feed: Feed, deliveries: Sequence[Delivery]) -> None:
        outcomes: list[tuple[Delivery, Settlement]] = []
        again: set[str | None] = set()
        for delivery in deliveries:
            if delivery.key in again or (delivery.attempt == 1 and dice.random() < 0.02):
                again.add(delivery.key)
                outcomes.append((delivery, Retry(0.01)))
            else:
                seen.setdefault(delivery.key or "", []).append(delivery.message.id)
                outcomes.append((delivery, ACCEPT))
        await feed.settle(outcomes)

    async with opened(url) as transport:
        for _ in range(10):
            batch = [message(key=f"k{dice.randrange(40)}") for _ in range(300)]
            sent += batch
            await send(transport, *batch)
        while sum(map(len, seen.values())) < len(sent):
            await asyncio.gather(*(member() for _ in range(3)))
        (info,) = await transport.groups()
        assert (info.lag, info.dead) == (0, 0)
    for key, handled in seen.items():
        assert handled == [each.id for each in sent if each.key == key]


async def test_who_takes_a_message_takes_those_that_were_parked_behind_it(redis_server: Server) -> None:
    """And they stay in their order, whether they come again or their owner dies."""
    url, clock = fresh(redis_server), VirtualClock()
    async with opened(url, clock) as transport:
        sent = [message(key="k") for _ in range(4)]
        await send(transport, *sent, message())
        first, second = await transport.open_feed(ORDERS), await transport.open_feed(ORDERS)
        (head,) = await take(first, 1)
        assert [delivery.key for delivery in await handle(second, 1)] == [None]
        await first.settle([(head, ACCEPT)])
        behind = await second.receive(10)
        assert [(each.message.id, each.attempt) for each in behind] == [(each.id, 1) for each in sent[1:]]
        await second.settle([(behind[1], Retry(5.0)), (behind[2], RELEASE), (behind[0], ACCEPT)])
        await clock.advance(5.0)
        again = await second.receive(10)
        assert [(each.message.id, each.attempt) for each in again] == [(sent[2].id, 2), (sent[3].id, 1)]
        assert isinstance(second, GroupFeed)
        await second.abandon()
        came = await handle(first, 2)
        assert [(each.message.id, each.attempt) for each in came] == [(sent[2].id, 3), (sent[3].id, 2)]


async def test_what_waits_behind_a_retry_is_not_taken_with_what_is_before_it(redis_server: Server) -> None:
    """The retry is in the middle of what was parked, and not due."""
    url, clock = fresh(redis_server), VirtualClock()
    async with opened(url, clock) as transport:
        sent = [message(key="k") for _ in range(3)]
        await send(transport, *sent)
        first, second = await transport.open_feed(ORDERS), await transport.open_feed(ORDERS)
        before, later = await take(first, 2)
        await first.settle([(later, Retry(5.0))])
        await first.settle([(before, RELEASE)])
        assert ids(await handle(second, 1)) == [sent[0].id]
        await clock.advance(4.0)
        assert await _what_comes(second, 10) == []
        await clock.advance(1.5)
        assert ids(await handle(second, 2)) == [sent[1].id, sent[2].id]


async def test_what_is_parked_costs_the_server_few_commands(redis_server: Server) -> None:
    """It is parked, let out and taken many at a time: one by one it made a busy group several times as slow."""
    url = fresh(redis_server)
    async with opened(url) as transport, plain(url) as client:
        await send(transport, *(message(key=f"k{number % 100}") for number in range(1000)))
        first, second = await transport.open_feed(ORDERS), await transport.open_feed(ORDERS)
        heads = await take(first, 100)
        await client.config_resetstat()
        assert await _what_comes(second, 1000) == []
        (info,) = await transport.groups()
        assert (info.in_flight, info.waiting) == (100, 900)
        await first.settle([(delivery, ACCEPT) for delivery in heads])
        parked = await take(second, 900)
        await second.settle([(delivery, ACCEPT) for delivery in parked])
        assert (await transport.groups())[0].lag == 0
        stats = await client.info("commandstats")
        assert sum(each["calls"] for each in stats.values()) < 450


async def test_who_has_work_does_not_look_far_past_what_is_parked(redis_server: Server) -> None:
    """It would park all that others have to settle first, ever more of it. Who has nothing else looks on."""
    url = fresh(redis_server)
    async with opened(url) as transport:
        heads = [message(key=f"k{number}") for number in range(100)]
        await send(transport, *heads, message())
        behind = [message(key=f"k{number % 100}") for number in range(2000)]
        await send(transport, *behind, message())
        first, second = await transport.open_feed(ORDERS), await transport.open_feed(ORDERS)
        taken = await take(first, 100)
        (work,) = await take(second, 1)
        assert await _what_comes(second, 1000) == []
        (info,) = await transport.groups()
        assert 0 < info.waiting < 1000
        await second.settle([(work, ACCEPT)])
        assert [delivery.key for delivery in await take(second, 1)] == [None]
        (info,) = await transport.groups()
        assert info.waiting == 2000
        await first.settle([(delivery, ACCEPT) for delivery in taken])
        came: list[str] = []
        while len(came) < 2000:
            parked = await first.receive(1000)
            await first.settle([(delivery, ACCEPT) for delivery in parked])
            came += ids(parked)
        places = {each.id: place for place, each in enumerate(behind)}
        for key in range(100):
            of_key = [places[each] for each in came if places[each] % 100 == key]
            assert of_key == list(range(key, 2000, 100))


async def test_entries_that_somebody_deletes_are_counted_as_lost(redis_server: Server) -> None:
    """And everything else comes, though maybe twice: what was settled cannot be told from what was not."""
    url, clock = fresh(redis_server), VirtualClock()
    async with opened(url, clock) as transport, plain(url) as client:
        sent = [message() for _ in range(6)]
        await send(transport, *sent)
        dying = await transport.open_feed(ORDERS)
        taken = await take(dying, 6)
        await dying.settle([(taken[0], ACCEPT)])
        stream = f"{base_of(url)}topic:orders"
        entries = await client.xrange(stream)
        await client.xdel(stream, entries[2][0], entries[3][0])
        await dying.settle([(taken[3], Retry(0))])
        await clock.advance(LEASE_S + 0.5)
        came = ids(await handle(await transport.open_feed(ORDERS), 4))
        assert set(came) >= {sent[index].id for index in (1, 4, 5)}
        facts = await transport.facts()
        assert facts["deleted by others before they were settled"].startswith("LOST ")


async def test_settling_goes_on_while_memory_is_full(redis_server: Server) -> None:
    """Nothing more is taken in, by a sentence; what waits can be worked off, which makes room."""
    url = fresh(redis_server)
    async with opened(url) as transport, plain(url) as client:
        await send(transport, *(message(b"x" * 1000) for _ in range(200)))
        before = (await client.config_get("maxmemory"))["maxmemory"]
        try:
            await client.config_set("maxmemory", 1_000_000)
            (outcome,) = await transport.send([message()])
            assert isinstance(outcome, SendRejected)
            assert "memory is full" in str(outcome)
            feed = await transport.open_feed(ORDERS)
            taken = await take(feed, 200)
            await feed.settle([(taken[0], Retry(0)), *((delivery, ACCEPT) for delivery in taken[1:])])
            await handle(feed, 1)
        finally:
            await client.config_set("maxmemory", before)
        await send(transport, message())


async def test_a_server_that_was_told_to_forget_its_scripts_is_told_again(redis_server: Server) -> None:
    url = fresh(redis_server)
    async with opened(url) as transport, plain(url) as client:
        feed = await transport.open_feed(ORDERS)
        for _ in range(3):
            await client.script_flush()
            outcomes = await asyncio.gather(*(transport.send([message()]) for _ in range(20)))
            assert all(isinstance(outcome, Receipt) for (outcome,) in outcomes)
            await handle(feed, 20)


async def test_one_call_takes_only_so_many_bytes(redis_server: Server) -> None:
    """However many messages are asked for."""
    url = fresh(redis_server)
    body = b"x" * (1024 * 1024)
    async with opened(url) as transport:
        await send(transport, *(message(body) for _ in range(20)))
        feed = await transport.open_feed(ORDERS)
        came = 0
        while came < 20:
            deliveries = await feed.receive(1000)
            assert sum(len(delivery.body) for delivery in deliveries) <= TAKE_BYTES_MAX + len(body)
            await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
            came += len(deliveries)


async def test_more_headers_than_an_entry_has_fields_for(redis_server: Server) -> None:
    url = fresh(redis_server)
    sent = message(headers={f"h{number}": "v" for number in range(5000)})
    async with opened(url) as transport:
        await send(transport, sent)
        (came,) = await handle(await transport.open_feed(ORDERS), 1)
        assert came.message == sent


async def test_a_group_that_was_removed_ends_its_feeds(redis_server: Server) -> None:
    """And what it held is nobody's."""
    url = fresh(redis_server)
    async with opened(url) as transport, opened(url) as other:
        await send(transport, message(), message())
        feed = await transport.open_feed(ORDERS)
        (held,) = await take(feed, 1)
        assert await other.remove_group("billing")
        with pytest.raises(SettlementLost):
            await feed.settle([(held, ACCEPT)])
        with pytest.raises(Exception, match="was removed"):
            await asyncio.wait_for(feed.receive(1), 5)


async def test_offsets_are_found_in_a_long_topic(redis_server: Server) -> None:
    """Wherever they are, and whoever has added the entries before."""
    url = fresh(redis_server)
    audit = Subscription(pattern="orders", group="audit")
    async with opened(url) as transport, plain(url) as client:
        await transport.declare(Topology(subscriptions=(audit,)))
        sent = [message() for _ in range(3000)]
        for first in range(0, 3000, 500):
            await send(transport, *sent[first : first + 500])
            await client.xadd(f"{base_of(url)}topic:orders", {"data": "1", "ce_id": f"plain-{first}"})
        for offset in (0, 1, 499, 500, 501, 1337, 3004, 3005):
            ((found, first_there),) = await transport.browse("orders", start=offset, limit=1)
            assert found == offset
            batch, place = divmod(offset, 501)
            wanted = f"plain-{batch * 500}" if place == 500 else sent[batch * 500 + place].id
            assert first_there.id == wanted
        assert not await transport.browse("orders", start=3006, limit=1)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range({"pr": 2, "faults": 50, "soak": 500}[TIER]))
async def test_nothing_is_lost_and_nothing_is_left_behind(redis_server: Server, seed: int) -> None:
    """Members that come, die, leave, retry, release, bury and expire: in the end every message is settled once.

    And of all that a place needs for its work nothing is left, so that a long-running group does not grow.
    """
    url, clock, dice = fresh(redis_server), VirtualClock(), random.Random(seed)
    settled: list[str] = []
    async with opened(url, clock) as transport, plain(url) as client:
        sent: list[Message] = []
        feeds: list[Feed] = []
        for _ in range(60):
            batch = [
                message(
                    key=dice.choice((None, f"k{dice.randrange(8)}")),
                    priority=dice.choice((0, 0, 0, 0, 5, 9)),
                    deliver_at=clock.time() + 3 if dice.random() < 0.1 else None,
                )
                for _ in range(dice.randrange(40))
            ]
            sent += batch
            await send(transport, *batch)
            if len(feeds) < 3:
                feeds.append(await transport.open_feed(ORDERS))
            feed = dice.choice(feeds)
            came = await _what_comes(feed, dice.choice((1, 10, 100)))
            settled += await _work_through(feed, came, dice)
            if dice.random() < 0.15:
                feeds.remove(feed)
                assert isinstance(feed, GroupFeed)
                await (feed.close() if dice.random() < 0.5 else feed.abandon())
            await clock.advance(dice.choice((0.0, 0.5, 2.0, 11.0)))
        for feed in feeds:
            await feed.close()
        last = await transport.open_feed(ORDERS)
        while (await transport.groups())[0].lag or await transport.scheduled():
            for delivery in await _what_comes(last, 100):
                await last.settle([(delivery, ACCEPT)])
                settled.append(delivery.message.id)
            await clock.advance(1.0)
        assert len(settled) == len(set(settled))
        letters = [letter.message.id for letter in await transport.dead(limit=10_000)]
        assert sorted([*settled, *letters]) == sorted(each.id for each in sent)
        left = await client.keys(f"{base_of(url)}place:*")
        assert left == [f"{base_of(url)}place:billing:orders".encode()]


async def _what_comes(feed: Feed, limit: int) -> Sequence[Delivery]:
    """Return what is there, perhaps nothing."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            return await feed.receive(limit)
    return []


async def _work_through(feed: Feed, deliveries: Sequence[Delivery], dice: random.Random) -> list[str]:
    """Settle some of what came, in any way; return what was accepted."""
    outcomes: list[tuple[Delivery, Settlement]] = []
    for delivery in deliveries:
        outcome = dice.choice(
            (ACCEPT, ACCEPT, ACCEPT, Retry(dice.choice((0, 1, 20))), RELEASE, DeadLetter("no"), None)
        )
        if outcome is not None:
            outcomes.append((delivery, outcome))
    dice.shuffle(outcomes)
    for first in range(0, len(outcomes), 7):
        await feed.settle(outcomes[first : first + 7])
    return [delivery.message.id for delivery, outcome in outcomes if outcome is ACCEPT]
