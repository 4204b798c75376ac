"""Who serves a group: what processes say of themselves, how long it is believed, and groups that end with them."""

from __future__ import annotations

from dataclasses import replace

from ..._core.inspection import MemberInfo, Roster
from ..._core.limits import MEMBER_LEASE_S, TEMPORARY_GROUP_LEASE_S
from ..._core.ports import Feed, Subscription, Topology
from .rules import rule
from .world import TOPIC, Suite, World, ids, ids_of


class Serving(Suite):
    """C-48."""

    @rule(48)
    async def test_c48_a_process_says_how_it_is_and_is_believed_for_a_while(self) -> None:
        """What it says takes the place of what it said before; what it says no more is forgotten."""
        async with self.world() as world:
            said = [_member(world, "billing", "orders.#"), _member(world, "audit", "orders.placed")]
            await world.declare("audit")
            assert await _roster(world).announce(said) == ["billing"], "this group is not there"
            heard = replace(said[1], heard=world.clock.time()), replace(said[0], heard=world.clock.time())
            assert tuple(await _roster(world).members()) == heard
            stalled = replace(said[0], state="stalled", reason="12 messages wait")
            await _roster(world).announce([stalled])
            (found,) = await _roster(world).members()
            assert (found.state, found.reason, found.since) == ("stalled", "12 messages wait", stalled.since)
            await world.clock.advance(MEMBER_LEASE_S - 1)
            assert await _roster(world).members()
            await world.clock.advance(2)
            assert not await _roster(world).members()

    @rule(48)
    async def test_c48_a_process_that_serves_nobody_any_more_says_so(self) -> None:
        """It need not be waited for."""
        async with self.world() as world:
            await _roster(world).announce([_member(world, "billing", "orders.placed")])
            await _roster(world).announce([])
            assert not await _roster(world).members()

    @rule(48, "multi_process")
    async def test_c48_processes_know_of_each_other(self) -> None:
        """Each sees all, and speaks for itself only."""
        async with self.world() as one, self.world(clock=one.clock) as other:
            await _roster(one).announce([_member(one, "billing", "orders.placed", pid=1)])
            await _roster(other).announce([_member(one, "billing", "orders.placed", pid=2)])
            assert [member.pid for member in await _roster(one).members()] == [1, 2]
            await _roster(one).announce([])
            assert [member.pid for member in await _roster(one).members()] == [2]


def _member(world: World, group: str, pattern: str, pid: int = 4711) -> MemberInfo:
    since = world.clock.time() - 5
    return MemberInfo(group=group, pattern=pattern, pid=pid, state="waiting", reason="", since=since)


def _roster(world: World) -> Roster:
    assert isinstance(world.transport, Roster), "a transport that claims 'members' is a Roster"
    return world.transport


class Broadcasting(Suite):
    """C-49."""

    @rule(49, "groups", "inspectable")
    async def test_c49_each_instance_gets_what_is_sent_from_now_on(self) -> None:
        """And nothing of it is left when its group was removed."""
        async with self.world() as world:
            await world.send_many(1)
            feeds = [await _instance(world, name) for name in ("broadcast.1", "broadcast.2")]
            sent = await world.send_many(20)
            for feed in feeds:
                assert sorted(ids(await world.handle(feed, 20))) == sorted(ids_of(sent))
            for feed, name in zip(feeds, ("broadcast.1", "broadcast.2"), strict=True):
                await feed.close()
                assert await world.inspector.remove_group(name)
            assert not await world.inspector.groups()

    @rule(49, "groups", "inspectable", "members", "multi_process")
    async def test_c49_the_group_of_an_instance_that_is_gone_is_forgotten(self) -> None:
        """That of one which announces itself is not, and a lasting one never is."""
        async with self.world() as world:
            await world.declare()
            await _instance(world, "broadcast.gone")
            feed = await _instance(world, "broadcast.here")
            await world.clock.advance(TEMPORARY_GROUP_LEASE_S / 2)
            await _roster(world).announce([_member(world, "broadcast.here", TOPIC)])

            async def is_gone() -> bool:
                await _roster(world).announce([_member(world, "broadcast.here", TOPIC)])
                return {info.group for info in await world.inspector.groups()} == {
                    "billing",
                    "broadcast.here",
                }

            await world.eventually(is_gone, "the group of the instance that said nothing was forgotten")
            sent = await world.send_many(1)
            assert ids(await world.handle(feed, 1)) == ids_of(sent)


async def _instance(world: World, group: str) -> Feed:
    """Become the only member of a temporary group."""
    subscription = Subscription(pattern=TOPIC, group=group, start="new", temporary=True)
    await world.transport.declare(Topology(subscriptions=(subscription,)))
    return await world.transport.open_feed(subscription)
