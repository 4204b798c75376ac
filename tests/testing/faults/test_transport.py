"""What each kind of fault does to a handler's process, on `memory://`."""

import asyncio

import pytest

from waystation._core.delivery import ACCEPT, Delivery
from waystation._core.errors import Disconnected, SettlementLost
from waystation._core.inspection import Inspector
from waystation._core.limits import LEASE_S
from waystation._core.message import Message
from waystation._core.ports import Feed, Subscription, Topology, Transactional
from waystation.testing import VirtualClock
from waystation.testing.faults import Fault, Kind, Nemesis, faulty
from waystation.testing.faults.transport import FaultyTransport
from waystation.transports.memory import MemoryTransport

BILLING = Subscription(pattern="orders", group="billing")
AUDIT = Subscription(pattern="orders", group="audit")


class Town:
    """An open transport under a schedule; the group `billing` is the process under attack."""

    def __init__(self, *faults: Fault) -> None:
        self.clock = VirtualClock()
        self.nemesis = Nemesis(faults, clock=self.clock, groups={"billing"})
        wrapped = faulty(MemoryTransport(self.clock), self.nemesis)
        assert isinstance(wrapped, FaultyTransport)
        self.transport = wrapped

    async def open(self) -> Feed:
        await self.transport.open()
        await self.transport.declare(Topology(subscriptions=(BILLING, AUDIT)))
        return await self.transport.open_feed(BILLING)

    async def send(self, *keys: str | None) -> None:
        messages = [Message(id=f"m{n}", topic="orders", body=b"", key=key) for n, key in enumerate(keys)]
        await self.transport.send(messages)


def ids(deliveries: object) -> list[str]:
    assert isinstance(deliveries, (list, tuple))
    return [each.message.id for each in deliveries if isinstance(each, Delivery)]


async def test_a_send_may_happen_twice() -> None:
    town = Town(Fault(1, Kind.DUPLICATE))
    feed = await town.open()
    await town.send(None)
    assert ids(await feed.receive(9)) == ["m0", "m0"]


async def test_a_dropped_connection_gives_back_what_was_taken() -> None:
    town = Town(Fault(2, Kind.DROP_AFTER))
    feed = await town.open()
    await town.send(None)
    with pytest.raises(Disconnected):
        await feed.receive(9)
    again = await (await town.transport.open_feed(BILLING)).receive(9)
    assert [(each.message.id, each.attempt) for each in again] == [("m0", 1)]


@pytest.mark.parametrize(("kind", "comes_again"), [(Kind.DROP_BEFORE, True), (Kind.DROP_AFTER, False)])
async def test_a_settlement_is_lost_with_its_connection_or_only_its_answer_is(
    kind: Kind, *, comes_again: bool
) -> None:
    town = Town(Fault(3, kind))
    feed = await town.open()
    await town.send(None)
    (delivery,) = await feed.receive(9)
    with pytest.raises(Disconnected):
        await feed.settle([(delivery, ACCEPT)])
    assert isinstance(town.transport, Inspector)
    (group,) = [each for each in await town.transport.groups() if each.group == "billing"]
    assert group.lag == comes_again


@pytest.mark.parametrize(("kind", "comes_again"), [(Kind.CRASH_BEFORE, True), (Kind.CRASH_AFTER, False)])
async def test_what_a_dead_process_held_comes_when_its_lease_ends(kind: Kind, *, comes_again: bool) -> None:
    town = Town(Fault(3, kind))
    feed = await town.open()
    await town.send(None)
    (delivery,) = await feed.receive(9)
    if comes_again:
        with pytest.raises(SettlementLost):
            await feed.settle([(delivery, ACCEPT)])
    else:
        await feed.settle([(delivery, ACCEPT)])
    assert town.nemesis.crashed.is_set()
    await feed.close()
    town.nemesis.revive()
    inspector = town.transport
    assert isinstance(inspector, Inspector)

    async def states() -> list[tuple[int, int]]:
        found = await inspector.groups()
        return [(each.ready, each.in_flight) for each in found if each.group == "billing"]

    assert await states() == [(0, int(comes_again))]
    await town.clock.advance(LEASE_S + 1)
    assert await states() == [(int(comes_again), 0)]


async def test_keys_change_places_and_messages_of_a_key_do_not() -> None:
    town = Town(Fault(2, Kind.REORDER))
    feed = await town.open()
    await town.send("a", "b", "a", "b")
    assert ids(await feed.receive(9)) == ["m1", "m3", "m0", "m2"]


async def test_a_call_may_be_late() -> None:
    town = Town(Fault(1, Kind.DELAY, 5.0))
    await town.open()
    begun = town.clock.time()
    advancing = town.clock.advance(6.0)
    await asyncio.gather(town.send(None), advancing)
    assert town.clock.time() == begun + 6.0
    assert town.nemesis.steps == 1


async def test_what_the_test_itself_pulls_is_left_alone() -> None:
    town = Town(*(Fault(step, Kind.DROP_BEFORE) for step in range(2, 9)))
    await town.open()
    await town.send(None)
    audit = await town.transport.open_feed(AUDIT)
    (delivery,) = await audit.receive(9)
    await audit.settle([(delivery, ACCEPT)])


async def test_the_wrapped_transport_can_do_what_the_other_can() -> None:
    wrapped = Town().transport
    assert isinstance(wrapped, Inspector)
    assert not isinstance(wrapped, Transactional)
    assert wrapped.capabilities.name == "memory"
