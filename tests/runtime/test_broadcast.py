"""A broadcast: every running instance of a program gets every message, under a group that ends with it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from waystation import Bus, ConfigurationError
from waystation._core.limits import STALLED_AFTER_S
from waystation.testing import VirtualClock

from .shop import Order, a_bus, orders, until


def instance(url: str, seen: asyncio.Queue[int]) -> Bus:
    bus = Bus(url)

    @bus.subscribe(orders, broadcast=True)
    async def refresh(order: Order) -> None:
        seen.put_nowait(order.number)

    return bus


async def groups(bus: Bus) -> list[str]:
    return [info.group for info in await bus.inspector().groups()]


async def test_every_running_instance_gets_what_comes_from_its_start_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    seen, also_seen = asyncio.Queue[int](), asyncio.Queue[int]()
    one, other = instance(url, seen), instance(url, also_seen)
    async with one:
        await one.publish(orders, Order(0))
        async with one.running():
            await one.publish(orders, Order(1))
            async with other.running():
                await one.publish(orders, Order(2))
                assert [await seen.get(), await seen.get()] == [1, 2]
                assert await also_seen.get() == 2
                assert len(await groups(one)) == 2
            assert len(await groups(one)) == 1
        assert await groups(one) == []


async def test_an_instance_that_starts_again_has_a_new_group_and_may_begin_early() -> None:
    clock, seen = VirtualClock(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, broadcast=True, start="earliest")
    async def refresh(order: Order) -> None:
        seen.append(order.number)

    async with bus:
        await bus.publish(orders, Order(1))
        names = []
        for _ in range(2):
            async with bus.running():
                await clock.advance(0)
                names += await groups(bus)
    assert seen[:1] == [1]
    assert len(set(names)) == 2
    assert all(name.startswith("broadcast.") for name in names)


async def test_an_instance_whose_group_was_forgotten_while_it_stood_still_goes_on_with_what_is_new() -> None:
    clock, seen = VirtualClock(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, broadcast=True)
    async def refresh(order: Order) -> None:
        seen.append(order.number)

    async with bus.running():
        await clock.advance(0)
        (group,) = await groups(bus)
        await bus.inspector().remove_group(group)
        await clock.advance(STALLED_AFTER_S)
        await bus.publish(orders, Order(2))
        await until(lambda: seen == [2])
        assert await groups(bus) == [group]


async def test_two_handlers_of_a_program_may_both_listen() -> None:
    bus, seen = a_bus(), list[str]()

    @bus.subscribe(orders, broadcast=True)
    async def one(order: Order) -> None:
        seen.append("one")

    @bus.subscribe("orders.*", broadcast=True)
    async def other(order: Order) -> None:
        seen.append("other")

    async with bus.running():
        await bus.publish(orders, Order(1))
        await until(lambda: sorted(seen) == ["one", "other"])


def test_a_subscription_has_a_group_or_is_a_broadcast() -> None:
    subscribe: Any = Bus("memory://").subscribe
    with pytest.raises(ConfigurationError, match="group= is missing: name who shares the messages"):
        subscribe(orders)(print)
    with pytest.raises(ConfigurationError, match="a broadcast goes to all; leave one of them out"):
        subscribe(orders, group="billing", broadcast=True)(print)
