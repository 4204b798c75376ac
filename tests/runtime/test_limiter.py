"""How often handlers begin, and how much is held for them meanwhile."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from waystation import Bus, ConfigurationError, Rate, Transaction
from waystation._runtime.handlers import declare
from waystation.testing import VirtualClock

from .shop import Order, a_bus, consumers, orders, until


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("rate", ["10/m", "7/s", "100/s", "5000/s"])
async def test_handlers_begin_at_their_rate_and_no_more_often(rate: str, concurrency: int) -> None:
    clock, begun = VirtualClock(), list[float]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", rate=rate, concurrency=concurrency)
    async def charge(order: Order) -> None:
        begun.append(clock.monotonic())

    per_s = Rate.of(rate).per_s
    count = min(1000, round(per_s * 60))
    async with bus.running():
        started = clock.monotonic()
        await bus.publish_many(orders, [Order(n) for n in range(count)])
        while len(begun) < count:
            await clock.advance(min(1.0, 1 / per_s))
    elapsed = begun[-1] - started
    capacity = Rate.of(rate).capacity
    assert count <= capacity + elapsed * per_s + 1e-6
    assert elapsed <= count / per_s + 0.3, "nor much more slowly"


async def test_what_waits_for_its_turn_is_not_held() -> None:
    clock, begun = VirtualClock(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", rate="1/m")
    async def charge(order: Order) -> None:
        begun.append(order.number)

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(5)])
        await clock.advance(30)
        assert begun == [0]
        assert consumers(bus)[0].counters.in_flight == 0
        await clock.advance(30)
        assert begun == [0, 1]
        await clock.advance(180)
        assert begun == [0, 1, 2, 3, 4]


async def test_a_rest_is_made_up_for_by_a_burst() -> None:
    clock, begun = VirtualClock(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", rate=Rate(1, "1m", burst=3))
    async def charge(order: Order) -> None:
        begun.append(order.number)

    async with bus.running():
        await clock.advance(600)
        await bus.publish_many(orders, [Order(n) for n in range(5)])
        await clock.advance(1)
        assert len(begun) == 3


async def test_one_timer_serves_all_lanes_and_many_messages() -> None:
    class Counting(VirtualClock):
        short = 0

        def call_later(self, delay_s: float, callback: Any) -> Any:
            self.short += 0 < delay_s < 0.2
            return super().call_later(delay_s, callback)

    clock, begun = Counting(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", rate="1000/s", concurrency=8)
    async def charge(order: Order) -> None:
        begun.append(order.number)

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(2000)])
        for _ in range(30):
            await clock.advance(0.1)
    assert len(begun) == 2000
    assert clock.short < 200


async def test_a_batch_is_paid_for_by_the_message() -> None:
    clock, begun = VirtualClock(), list[tuple[float, int]]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", rate=Rate(10, burst=10), batch=20)
    async def charge(batch: list[Order]) -> None:
        begun.append((clock.monotonic(), len(batch)))

    async with bus.running():
        started = clock.monotonic()
        await bus.publish_many(orders, [Order(n) for n in range(100)])
        while sum(count for _, count in begun) < 100:
            await clock.advance(0.1)
    assert begun[-1][0] - started >= (100 - 10 - 20) / 10


async def test_a_transaction_takes_no_more_than_the_rate_allows(tmp_path: Path) -> None:
    clock, begun = VirtualClock(), list[int]()
    bus = Bus(f"sqlite:///{tmp_path}/shop.db", clock=clock)

    @bus.subscribe(orders, group="ledger", rate=Rate(1, "1m", burst=2))
    async def book(order: Order, tx: Transaction) -> None:
        begun.append(order.number)

    async with bus:
        await bus.publish_many(orders, [Order(n) for n in range(9)])
        async with bus.running():
            await until(lambda: consumers(bus)[0].counters.accepted == 2)
            await clock.advance(0)
    assert len(begun) == 2


async def test_a_stop_does_not_wait_for_anybodys_turn() -> None:
    clock, begun = VirtualClock(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", rate=Rate(1, "1h"), ordered=False, concurrency=2)
    async def charge(order: Order) -> None:
        begun.append(order.number)

    async with bus:
        await bus.publish_many(orders, [Order(n) for n in range(3)])
        async with bus.running():
            await clock.advance(0)
            assert await bus.drain(1) == 0
    assert len(begun) == 1


async def test_a_subscription_holds_no_more_than_its_prefetch() -> None:
    bus, go_on, held = a_bus(), asyncio.Event(), list[int]()

    @bus.subscribe(orders, group="billing", prefetch=10, concurrency=4)
    async def charge(order: Order) -> None:
        held.append(consumers(bus)[0].counters.in_flight)
        if order.number == 400:
            await go_on.wait()

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(800)])
        await until(lambda: len(held) > 700)
        go_on.set()
        await until(lambda: consumers(bus)[0].counters.accepted == 800)
    assert 4 <= max(held) <= 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rate": "often"}, "not a rate"),
        ({"prefetch": 0}, "must be from 1"),
        ({"prefetch": 4, "concurrency": 8}, "must be from 8"),
        ({"prefetch": 5, "batch": 10}, "must be from 10"),
        ({"prefetch": 10_000}, "to 4,000"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], said: str) -> None:
    async def charge(order: Any) -> None: ...

    with pytest.raises(ConfigurationError, match=said):
        declare(charge, kind="event", topic="orders.placed", group="billing", **options)
