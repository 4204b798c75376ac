"""Going back to what was settled, or past what waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from ..._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Retry, Settlement
from ..._core.errors import ConfigurationError, SettlementLost
from .rules import rule
from .world import TOPIC, Suite, World, ids, ids_of


class Replaying(Suite):
    """C-28."""

    @rule(28, "groups", "replay")
    async def test_c28_a_group_can_go_back_to_an_offset_or_a_time(self) -> None:
        """It gets exactly what follows; the other group keeps its place."""
        async with self.world() as world:
            feed, other = await world.feed(), await world.feed("audit")
            sent = []
            for _ in range(5):
                sent += await world.send_many(1)
                await world.clock.advance(10)
            offsets = [offset for offset, _ in await world.inspector.browse(TOPIC, start="earliest", limit=9)]
            await world.handle(feed, 5)
            await world.inspector.seek("billing", TOPIC, offsets[3])
            assert sorted(ids(await world.handle(feed, 2))) == sorted(ids_of(sent[3:]))
            await world.inspector.seek("billing", TOPIC, datetime.fromtimestamp(sent[1].time, UTC))
            assert sorted(ids(await world.handle(feed, 4))) == sorted(ids_of(sent[1:]))
            await world.inspector.seek("billing", TOPIC, "earliest")
            assert sorted(ids(await world.handle(feed, 5))) == sorted(ids_of(sent))
            assert sorted(ids(await world.handle(other, 5))) == sorted(ids_of(sent))

    @rule(28, "groups")
    async def test_c28_a_group_can_skip_what_waits(self) -> None:
        """By going to what is new."""
        async with self.world() as world:
            feed = await world.feed()
            await world.send_many(5)
            await world.inspector.seek("billing", TOPIC, "new")
            await world.nothing_comes(feed)

    @rule(28, "groups", "replay", "redelivers_unsettled")
    async def test_c28_who_held_something_loses_it_cleanly(self) -> None:
        """His late settlements are refused, whatever they say; each message comes once more, as a first attempt."""
        async with self.world() as world:
            feed = await world.feed()
            sent = await world.send_many(4)
            held = await world.take(feed, 4)
            (info,) = await world.inspector.seek("billing", TOPIC, "earliest")
            assert (info.again, info.skipped, info.taken_back, info.lag) == (0, 0, 4, 4)
            outcomes: list[Settlement] = [ACCEPT, Retry(0), DeadLetter("no"), RELEASE]
            for delivery, outcome in zip(held, outcomes, strict=True):
                with pytest.raises(SettlementLost):
                    await feed.settle([(delivery, outcome)])
            info_now = await world.group()
            assert (info_now.lag, info_now.dead) == (4, 0)
            again = await world.handle(feed, 4)
            assert sorted(_tried(again)) == sorted((message.id, 1) for message in sent)
            await world.nothing_comes(feed)

    @rule(28, "groups", "replay", "redelivers_unsettled", "ordered_by_key")
    async def test_c28_nothing_comes_twice_of_what_was_retried_or_waits(self) -> None:
        """From the place on everything is a first attempt. Before it, what was tried stays; dead letters stay dead."""
        async with self.world() as world:
            feed, other = await world.feed(), await world.feed("audit")
            sent = await _in_trouble(world)
            kept = await world.inspector.browse(TOPIC, start=0, limit=9)
            (place,) = [offset for offset, message in kept if message.id == sent[3]]
            (info,) = await world.inspector.seek("billing", TOPIC, place, dry_run=True)
            assert (info.again, info.skipped, info.taken_back, info.lag) == (2, 0, 0, 7)
            assert (await world.group()).lag == 5, "a dry run has changed something"
            assert await world.inspector.seek("billing", TOPIC, place) == [info]
            assert (await world.group()).lag == 7
            await world.clock.advance(100)
            comes = _tried(await world.handle(feed, 7))
            assert sorted(comes) == sorted([(sent[0], 2), *((name, 1) for name in sent[3:])])
            assert len(await world.inspector.dead(group="billing")) == 1
            assert sorted(ids(await world.handle(other, 9))) == sorted(sent)
            await world.nothing_comes(feed)

    @rule(28, "groups", "redelivers_unsettled", "ordered_by_key")
    async def test_c28_skipping_forgets_what_was_never_tried(self) -> None:
        """Also what stood in a row behind another; not what was tried and waits for its retry."""
        async with self.world() as world:
            feed = await world.feed()
            await world.declare("audit")
            sent = await _in_trouble(world)
            (info,) = await world.inspector.seek("billing", TOPIC, "new")
            assert (info.again, info.skipped, info.taken_back, info.lag) == (0, 3, 0, 2)
            await world.clock.advance(100)
            assert sorted(_tried(await world.handle(feed, 2))) == sorted([(sent[0], 2), (sent[4], 2)])
            await world.nothing_comes(feed)

    @rule(28, "groups")
    async def test_c28_what_does_not_exist_is_refused_by_name(self) -> None:
        """And the one that was meant is named; nothing moves."""
        async with self.world() as world:
            await world.declare()
            await world.declare("audit", "bills.#")
            await world.send(world.message(), world.message(topic="bills.written"))
            with pytest.raises(
                ConfigurationError, match="no group 'biling' on any topic: did you mean 'billing'"
            ):
                await world.inspector.seek("biling", TOPIC, "new")
            with pytest.raises(ConfigurationError, match=f"did you mean '{TOPIC}'"):
                await world.inspector.seek("billing", "orders.plced", "new")
            with pytest.raises(ConfigurationError, match="'billing' does not read 'bills"):
                await world.inspector.seek("billing", "bills.written", "new")
            assert {info.lag for info in await world.inspector.groups()} == {1}


def _tried(deliveries: Sequence[Delivery]) -> list[tuple[str, int]]:
    return [(delivery.message.id, delivery.attempt) for delivery in deliveries]


async def _in_trouble(world: World) -> list[str]:
    """Send nine messages of three keys; "billing" has retried two, buried one, parked three and settled the others.

    Returns the ids in the order of sending.
    """
    member = await world.feed()
    sent = []
    for key in "abcabcabc":
        sent += await world.send_many(1, key=key)
    taken = {delivery.message.id: delivery for delivery in await world.take(member, 9)}
    one = [taken[message.id] for message in sent]
    await member.settle([(one[2], DeadLetter("no")), (one[1], ACCEPT)])
    await member.settle([(one[5], ACCEPT), (one[8], ACCEPT)])
    await member.settle([(one[0], Retry(60)), (one[3], RELEASE), (one[6], RELEASE)])
    await member.settle([(one[4], Retry(60)), (one[7], RELEASE)])
    await member.close()
    return ids_of(sent)
