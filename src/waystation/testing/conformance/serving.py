"""Who serves a group: what processes say of themselves, and how long it is believed."""

from __future__ import annotations

from dataclasses import replace

from ..._core.inspection import MemberInfo, Roster
from ..._core.limits import MEMBER_LEASE_S
from .rules import rule
from .world import Suite, World


class Serving(Suite):
    """C-48."""

    @rule(48)
    async def test_c48_a_process_says_how_it_is_and_is_believed_for_a_while(self) -> None:
        """What it says takes the place of what it said before; what it says no more is forgotten."""
        async with self.world() as world:
            said = [_member(world, "billing", "orders.#"), _member(world, "audit", "orders.placed")]
            await _roster(world).announce(said)
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
