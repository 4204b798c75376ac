"""A bus knows whether its subscriptions consume, says so, and opens deaf ones anew."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from waystation import Bus, ConfigurationError, Delivery, Disconnected, SubscriptionHealth
from waystation._core.delivery import Settlement
from waystation._core.limits import MEMBER_RENEWAL_S, STALLED_AFTER_S
from waystation._core.ports import Feed, Subscription
from waystation.testing import VirtualClock
from waystation.transports.memory.transport import MemoryTransport

from .shop import Order, a_bus, consumers, group, orders

LOOK_S = STALLED_AFTER_S / 6


class DeafFeed:
    """A feed that is open and delivers nothing."""

    def __init__(self, inner: Feed) -> None:
        self.inner = inner

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        await asyncio.Event().wait()
        return []

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        await self.inner.extend(deliveries)

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]], /) -> None:
        await self.inner.settle(outcomes)

    async def close(self) -> None:
        await self.inner.close()


class DeafTransport(MemoryTransport):
    """Its first feeds are deaf."""

    def __init__(self, clock: VirtualClock, deaf: int) -> None:
        super().__init__(clock)
        self.deaf, self.opened = deaf, 0

    async def open_feed(self, subscription: Subscription, /) -> Feed:
        self.opened += 1
        feed = await super().open_feed(subscription)
        return DeafFeed(feed) if self.opened <= self.deaf else feed


@asynccontextmanager
async def deaf_shop(
    clock: VirtualClock, deaf: int = 1
) -> AsyncIterator[tuple[Bus, list[int], DeafTransport]]:
    bus, seen, transport = a_bus(clock), list[int](), DeafTransport(clock, deaf)
    bus._transports[0] = transport

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order) -> None:
        seen.append(order.number)

    async with bus.running():
        yield bus, seen, transport


def only(bus: Bus) -> SubscriptionHealth:
    (found,) = bus.health().subscriptions
    return found


async def test_a_deaf_subscription_turns_readiness_red_and_is_opened_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "waystation")
    clock = VirtualClock()
    async with deaf_shop(clock, deaf=2) as (bus, seen, transport):
        await bus.publish(orders, Order(1))
        await clock.advance(STALLED_AFTER_S - LOOK_S)
        assert (seen, bus.health().ready) == ([], True)
        await clock.advance(LOOK_S)
        assert only(bus).state == "stalled"
        assert bus.health().reasons == (
            "billing@orders.placed is stalled: 1 message waits, and nothing was delivered for 30 s",
        )
        assert (bus.health().live, bus.health().ready, transport.opened) == (True, False, 2)
        await clock.advance(STALLED_AFTER_S + LOOK_S)
        assert (seen, transport.opened) == ([1], 3)
        assert (only(bus).state, bus.health().ready) == ("waiting", True)
    assert caplog.text.count("billing@orders.placed is stalled") == 1


async def test_a_group_that_somebody_removed_is_declared_anew() -> None:
    clock = VirtualClock()
    async with deaf_shop(clock, deaf=0) as (bus, seen, _):
        await bus.publish(orders, Order(1))
        await clock.advance(0)
        await bus.inspector().remove_group("billing")
        await bus.publish(orders, Order(2))
        await clock.advance(2 * LOOK_S)
        await bus.publish(orders, Order(3))
        await clock.advance(2 * LOOK_S)
        assert seen[-1] == 3
        assert only(bus).state == "waiting"


async def test_after_a_failure_it_is_resubscribing_until_the_medium_says_that_nothing_waits() -> None:
    clock = VirtualClock()
    async with deaf_shop(clock, deaf=0) as (bus, _, transport):
        (consumer,) = consumers(bus)
        assert consumer._source.feed is not None
        await consumer._source.feed.close()
        await clock.advance(0)
        assert only(bus).state == "resubscribing"
        assert "was closed" in only(bus).reason
        await clock.advance(1)
        assert (only(bus).state, transport.opened) == ("resubscribing", 2)
        assert "waits for a sign" in only(bus).reason
        assert not bus.health().ready
        await clock.advance(LOOK_S)
        assert (only(bus).state, bus.health().ready) == ("waiting", True)


async def test_a_handler_that_holds_its_lane_is_named() -> None:
    clock, go_on = VirtualClock(), asyncio.Event()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order) -> None:
        await go_on.wait()

    async with bus.running():
        await bus.publish_many(orders, [Order(1), Order(2)])
        await clock.advance(STALLED_AFTER_S + 2 * LOOK_S)
        assert only(bus).state == "stalled"
        assert "charge() at " in only(bus).reason
        assert "1 message waits behind it" in only(bus).reason
        go_on.set()
        await clock.advance(LOOK_S)
        assert (only(bus).state, only(bus).accepted) == ("waiting", 2)


async def test_a_member_without_work_is_starved_and_still_ready() -> None:
    clock = VirtualClock()
    async with deaf_shop(clock, deaf=0) as (bus, _, transport):
        other = await transport.open_feed(Subscription(pattern=orders.name, group="billing"))
        (consumer,) = consumers(bus)
        assert consumer._source.feed is not None
        await consumer._source.feed.close()  # while it subscribes again, the other member takes everything
        await bus.publish(orders, Order(1))
        taken = await other.receive(1)
        for _ in range(20):
            await other.extend(taken)
            await clock.advance(LOOK_S / 2)
        assert (only(bus).state, bus.health().ready) == ("starved", True)
        assert only(bus).reason == "other members hold 1 message"
        assert (await group(bus, "billing")).in_flight == 1
        await other.close()


async def test_a_medium_that_cannot_say_what_waits_is_no_reason_to_stop_watching(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = VirtualClock()
    async with deaf_shop(clock, deaf=1) as (bus, seen, transport):

        async def refuse() -> None:
            raise Disconnected("gone")

        with monkeypatch.context() as patched:
            patched.setattr(transport, "groups", refuse)
            await bus.publish(orders, Order(1))
            await clock.advance(2 * STALLED_AFTER_S)
        assert only(bus).state == "waiting"
        await clock.advance(LOOK_S)
        assert seen == [1]


async def test_a_bus_without_running_handlers_is_live_and_not_ready() -> None:
    bus = a_bus()
    assert (bus.health().live, bus.health().ready) == (True, False)
    assert bus.health().reasons == ("the bus is not connected",)
    async with bus:
        assert bus.health().reasons == ("the handlers do not run",)
        async with bus.running():
            assert bus.health().ready
        assert not bus.health().ready


async def test_a_task_that_has_ended_makes_a_bus_not_live() -> None:
    clock = VirtualClock()
    async with deaf_shop(clock, deaf=0) as (bus, _, _):
        consumers(bus)[0]._tasks[1].cancel()
        await clock.advance(0)
        assert not bus.health().live
        assert "a task has ended: waystation billing@orders.placed settle" in bus.health().reasons[0]


def test_no_patience_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="stalled_after"):
        Bus("memory://", stalled_after=0)


async def test_a_process_says_which_groups_it_serves_when_that_changes_and_now_and_then() -> None:
    clock = VirtualClock()
    async with deaf_shop(clock, deaf=1) as (bus, _, transport):
        await clock.advance(0)
        (member,) = await transport.members()
        assert (member.group, member.pattern, member.pid) == ("billing", orders.name, os.getpid())
        assert (member.state, member.since) == ("waiting", clock.time())
        await bus.publish(orders, Order(1))
        await clock.advance(STALLED_AFTER_S)
        (member,) = await transport.members()
        assert (member.state, member.since) == ("resubscribing", clock.time())
        assert "1 message waits" in member.reason
        await clock.advance(LOOK_S)
        (member,) = await transport.members()
        assert (member.state, member.reason) == ("waiting", "")
        heard = member.heard
        await clock.advance(5 * MEMBER_RENEWAL_S)
        (member,) = await transport.members()
        assert member.heard >= heard + 4 * MEMBER_RENEWAL_S
    assert not await transport.members()


@pytest.mark.parametrize("pattern", ["orders.placed", "orders.#"])
async def test_a_group_that_another_process_removed_from_the_file_is_declared_anew(
    tmp_path: Path, pattern: str
) -> None:
    clock, seen = VirtualClock(), asyncio.Queue[int]()
    url = f"sqlite:///{tmp_path}/shop.db"
    bus = Bus(url, clock=clock)

    @bus.subscribe(pattern, group="billing", start="new")
    async def charge(order: Order) -> None:
        seen.put_nowait(order.number)

    async with bus.running(), Bus(url, clock=clock) as other:
        await other.publish(orders, Order(1))
        assert await seen.get() == 1
        await other.inspector().remove_group("billing")
        while await groups(other) == []:
            await clock.advance(LOOK_S)
        await other.publish(orders, Order(3))
        assert await seen.get() == 3
        while not bus.health().ready:
            await clock.advance(LOOK_S)


async def groups(bus: Bus) -> list[str]:
    return [member.group for member in await bus.inspector().groups()]
