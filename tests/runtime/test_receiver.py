"""Pulling deliveries and settling them oneself."""

import asyncio
from typing import Any

import msgspec
import pytest

from waystation import Bus, ConfigurationError, Disconnected, Received, SettlementLost, Topic
from waystation._core.inspection import DeadInfo, GroupInfo
from waystation._core.limits import LEASE_S
from waystation.testing import VirtualClock


class Order(msgspec.Struct):
    number: int


orders = Topic("orders.placed", Order)


async def fill(bus: Bus, count: int, key: str | None = None) -> None:
    await bus.publish_many(orders, [Order(n) for n in range(count)], key=key)


async def state(bus: Bus) -> GroupInfo:
    (info,) = await bus.inspector().groups()
    return info


async def dead(bus: Bus) -> list[DeadInfo]:
    return list(await bus.inspector().dead())


async def take(bus: Bus, count: int, **options: Any) -> list[Received[Order]]:
    taken: list[Received[Order]] = []
    async for received in bus.receive(orders, group="audit", **options):
        taken.append(received)
        await received.accept()
        if len(taken) == count:
            break
    await asyncio.sleep(0)
    return taken


async def test_deliveries_come_typed_and_in_order() -> None:
    async with Bus("memory://") as bus:
        await fill(bus, 250, key="k")
        taken = await take(bus, 250)
        assert [received.body for received in taken] == [Order(n) for n in range(250)]
        assert {(received.key, received.attempt) for received in taken} == {("k", 1)}
        assert taken[0].message.topic == "orders.placed"
        assert (await state(bus)).lag == 0


async def test_what_was_not_settled_goes_back_when_the_loop_is_left() -> None:
    async with Bus("memory://") as bus:
        await fill(bus, 3)
        async for received in bus.receive(orders, group="audit"):
            assert received.body == Order(0)
            break
        for _ in range(5):
            await asyncio.sleep(0)
        assert (await state(bus)).ready == 3
        assert [received.attempt for received in await take(bus, 3)] == [1, 1, 1]


async def test_as_a_block_it_stays_open_from_one_loop_to_the_next() -> None:
    async with Bus("memory://") as bus:
        await fill(bus, 4)
        async with bus.receive(orders, group="audit") as receiver:
            for expected in range(4):
                async for received in receiver:
                    assert received.body == Order(expected)
                    await received.accept()
                    break
        assert (await state(bus)).lag == 0
        with pytest.raises(Disconnected, match="again"):
            await anext(receiver)


async def test_a_delivery_waits_for_the_next_message() -> None:
    async with Bus("memory://") as bus, bus.receive(orders, group="audit") as receiver:
        step = asyncio.ensure_future(anext(receiver))
        await asyncio.sleep(0)
        assert not step.done()
        await fill(bus, 1)
        assert (await step).body == Order(0)


async def test_a_retried_delivery_comes_again_after_its_delay_and_counts() -> None:
    clock = VirtualClock()
    async with Bus("memory://", clock=clock) as bus, bus.receive(orders, group="audit") as receiver:
        await fill(bus, 1)
        first = await anext(receiver)
        await first.retry("10s", reason="busy")
        again = asyncio.ensure_future(anext(receiver))
        await clock.advance(9)
        assert not again.done()
        await clock.advance(2)
        assert (await again).attempt == 2


async def test_later_deliveries_of_a_key_wait_behind_a_retried_one() -> None:
    clock = VirtualClock()
    async with Bus("memory://", clock=clock) as bus, bus.receive(orders, group="audit") as receiver:
        await fill(bus, 3, key="k")
        await bus.publish(orders, Order(9), key="other")
        seen: list[tuple[int, int]] = []

        async def consume() -> None:
            async for received in receiver:
                seen.append((received.body.number, received.attempt))
                if received.body.number == 0 and received.attempt == 1:
                    await received.retry(5)
                else:
                    await received.accept()

        consuming = asyncio.create_task(consume())
        await clock.advance(1)
        assert seen == [(0, 1), (9, 1)]
        await clock.advance(5)
        assert seen == [(0, 1), (9, 1), (0, 2), (1, 1), (2, 1)]
        consuming.cancel()


async def test_a_released_delivery_comes_again_without_counting() -> None:
    async with Bus("memory://") as bus, bus.receive(orders, group="audit") as receiver:
        await fill(bus, 1)
        await (await anext(receiver)).release()
        assert (await anext(receiver)).attempt == 1


async def test_a_dead_letter_keeps_its_reason() -> None:
    async with Bus("memory://") as bus, bus.receive(orders, group="audit") as receiver:
        await fill(bus, 1)
        await (await anext(receiver)).dead_letter("no such customer")
        assert [letter.reason for letter in await dead(bus)] == ["no such customer"]


async def test_what_cannot_be_read_or_is_too_late_never_arrives() -> None:
    clock = VirtualClock()
    async with Bus("memory://", clock=clock) as bus, bus.receive(orders, group="audit") as receiver:
        await bus.publish("orders.placed", {"number": "many"})
        await bus.publish(orders, Order(1), expires=1)
        await clock.advance(2)
        await bus.publish(orders, Order(2))
        assert (await anext(receiver)).body == Order(2)
        first, second = await dead(bus)
        assert "number" in first.reason
        assert "expired" in second.reason


async def test_settling_twice_does_nothing() -> None:
    async with Bus("memory://") as bus, bus.receive(orders, group="audit") as receiver:
        await fill(bus, 1)
        received = await anext(receiver)
        await received.accept()
        await received.retry()
        assert (await state(bus)).lag == 0


async def test_at_most_prefetch_deliveries_are_held() -> None:
    async with Bus("memory://") as bus, bus.receive(orders, group="audit", prefetch=2) as receiver:
        await fill(bus, 5)
        held = [await anext(receiver), await anext(receiver)]
        assert (await state(bus)).in_flight == 2
        third = asyncio.ensure_future(anext(receiver))
        await asyncio.sleep(0)
        assert not third.done()
        await held[0].accept()
        assert (await third).body == Order(2)


async def test_the_lease_of_a_held_delivery_is_kept() -> None:
    clock = VirtualClock()
    async with Bus("memory://", clock=clock) as bus, bus.receive(orders, group="audit") as receiver:
        await fill(bus, 2)
        received = await anext(receiver)
        for _ in range(10):
            await clock.advance(LEASE_S / 2)
        assert (await state(bus)).in_flight == 2
        await received.accept()
        assert (await state(bus)).lag == 1


async def test_closing_the_bus_ends_the_loop() -> None:
    bus, seen = Bus("memory://"), list[int]()

    async def consume() -> None:
        async for received in bus.receive(orders, group="audit"):
            seen.append(received.body.number)
            await received.accept()

    async with bus:
        consuming = asyncio.create_task(consume())
        await fill(bus, 2)
        while len(seen) < 2:
            await asyncio.sleep(0)
    await consuming
    assert seen == [0, 1]


async def test_settling_after_the_receiver_was_closed_says_that_it_comes_again() -> None:
    async with Bus("memory://") as bus:
        await fill(bus, 1)
        async with bus.receive(orders, group="audit") as receiver:
            received = await anext(receiver)
        with pytest.raises(SettlementLost, match="comes again"):
            await received.accept()


async def test_a_pattern_and_a_plain_name_receive_anything() -> None:
    async with Bus("memory://") as bus, bus.receive("orders.#", group="audit") as receiver:
        await bus.publish("orders.cancelled", {"why": "rain"})
        received = await anext(receiver)
        assert received.body == {"why": "rain"}
        assert received.message.topic == "orders.cancelled"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"group": "a b"}, "group name"),
        ({"group": "audit", "prefetch": 0}, "prefetch"),
        ({"group": "audit", "prefetch": 1_000_000}, "prefetch"),
    ],
)
async def test_illegal_arguments_are_refused_at_once(arguments: dict[str, Any], complaint: str) -> None:
    async with Bus("memory://") as bus:
        with pytest.raises(ConfigurationError, match=complaint):
            bus.receive(orders, **arguments)


async def test_a_pattern_over_two_media_is_refused() -> None:
    async with Bus({"a.#": "memory://a", "#": "memory://b"}) as bus:
        with pytest.raises(ConfigurationError, match="spans several"):
            bus.receive("#", group="audit")
