"""Handlers that take longer than they may: cancelled where they wait, failed in any case."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from waystation import (
    Endpoint,
    Handler,
    HandlerTimeout,
    RequestFailed,
    RetryPolicy,
    StreamEndpoint,
    Transaction,
)
from waystation.testing import VirtualClock

from .shop import Bill, Order, a_bus, consumers, dead, orders, until

quotes = Endpoint("prices.quote", Order, Bill)
statements = StreamEndpoint("bills.state", Order, Bill)


async def test_a_handler_that_takes_too_long_is_cancelled_and_has_failed_and_its_lane_goes_on() -> None:
    clock, began, cancelled = VirtualClock(), list[int](), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", max_duration="30s", retry=RetryPolicy(max_attempts=1))
    async def charge(order: Order) -> None:
        began.append(order.number)
        if order.number == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(order.number)
                raise

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(3)])
        await clock.advance(29.9)
        assert (began, cancelled) == ([0, 1], [])
        await clock.advance(0.1)
        assert (began, cancelled) == ([0, 1, 2], [1])
        (letter,) = await dead(bus)
        assert letter.reason.startswith("HandlerTimeout: it ran longer than max_duration=30 s")
        assert "await asyncio.Event().wait()" in letter.detail, "where it was"
        await bus.publish(orders, Order(1))
        await clock.advance(30)
        assert cancelled == [1, 1]


async def test_each_call_has_the_whole_time() -> None:
    clock, seen = VirtualClock(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", max_duration=10)
    async def charge(order: Order) -> None:
        await clock.sleep(7)
        seen.append(order.number)

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(10)])
        await clock.advance(70)
        assert seen == list(range(10))
        assert consumers(bus)[0].counters.retried == 0


async def test_one_timer_watches_a_lane_whatever_it_handles() -> None:
    class Counting(VirtualClock):
        limits = 0

        def call_later(self, delay_s: float, callback: Any) -> Any:
            self.limits += delay_s == 77
            return super().call_later(delay_s, callback)

    clock, seen = Counting(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", max_duration=77)
    async def charge(order: Order) -> None:
        seen.append(order.number)

    async with bus.running():
        for _ in range(5):
            await bus.publish_many(orders, [Order(n) for n in range(100)])
            await clock.advance(1)
        assert len(seen) == 500
        assert clock.limits == 1
        await clock.advance(77)
        assert clock.limits == 1, "an idle lane is not watched"


async def test_a_handler_that_catches_its_cancellation_has_failed_all_the_same() -> None:
    clock, attempts = VirtualClock(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", max_duration=5, retry=RetryPolicy(max_attempts=1))
    async def charge(order: Order) -> None:
        attempts.append(order.number)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            async with asyncio.timeout(None):
                await asyncio.sleep(0)

    async with bus.running():
        await bus.publish_many(orders, [Order(0), Order(1)])
        await clock.advance(10)
        assert attempts == [0, 1]
        assert len(await dead(bus)) == 2


async def test_a_plain_function_is_waited_for_and_has_failed_all_the_same() -> None:
    clock, go_on, began = VirtualClock(), threading.Event(), threading.Event()
    bus, seen = a_bus(clock), list[int]()

    @bus.subscribe(orders, group="billing", max_duration=5, retry=RetryPolicy(max_attempts=1))
    def charge(order: Order) -> None:
        began.set()
        if order.number == 0:
            go_on.wait()
        seen.append(order.number)

    async with bus.running():
        await bus.publish_many(orders, [Order(0), Order(1)])
        await until(began.is_set)
        await clock.advance(6)
        assert seen == []
        go_on.set()
        await until(lambda: consumers(bus)[0].counters.handled == 2)
        (letter,) = await dead(bus)
        assert letter.reason.startswith("HandlerTimeout")
    assert seen == [0, 1]


async def test_a_plain_function_behind_middleware_is_waited_for_too() -> None:
    clock, go_on, began = VirtualClock(), threading.Event(), threading.Event()
    bus = a_bus(clock)

    def looking(handler: Handler) -> Handler:
        return handler

    @bus.subscribe(
        orders, group="billing", max_duration=5, middleware=[looking], retry=RetryPolicy(max_attempts=1)
    )
    def charge(order: Order) -> None:
        began.set()
        go_on.wait()

    async with bus.running():
        await bus.publish(orders, Order(0))
        await until(began.is_set)
        await clock.advance(6)
        assert consumers(bus)[0].counters.handled == 0
        go_on.set()
        await until(lambda: consumers(bus)[0].counters.dead == 1)


async def test_whoever_asks_is_told() -> None:
    clock = VirtualClock()
    bus = a_bus(clock)

    @bus.respond(quotes, max_duration=2)
    async def quote(order: Order) -> Bill:
        await asyncio.Event().wait()
        return Bill(order.number)

    async with bus.running():
        asking = asyncio.create_task(bus.request(quotes, Order(1), timeout=30))
        await clock.advance(2)
        with pytest.raises(RequestFailed, match="HandlerTimeout"):
            await asking


async def test_a_stream_ends_where_it_is() -> None:
    clock = VirtualClock()
    bus, parts = a_bus(clock), list[Bill]()

    @bus.respond(statements, max_duration=2)
    async def state(order: Order) -> AsyncIterator[Bill]:
        yield Bill(1)
        await asyncio.Event().wait()

    async def ask() -> None:
        async for part in bus.request_stream(statements, Order(1)):
            parts.append(part)

    async with bus.running():
        for _ in range(2):
            asking = asyncio.create_task(ask())
            await clock.advance(3)
            with pytest.raises(RequestFailed, match="HandlerTimeout"):
                await asking
    assert parts == [Bill(1), Bill(1)]


async def test_a_batch_has_one_time_for_all_and_fails_together() -> None:
    clock = VirtualClock()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", batch=10, max_duration=2, retry=RetryPolicy(max_attempts=1))
    async def charge(batch: list[Order]) -> None:
        await asyncio.Event().wait()

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(3)])
        await clock.advance(6)
        assert len(await dead(bus)) == 3


async def test_in_a_transaction_only_the_part_of_the_late_one_is_undone(tmp_path: Any) -> None:
    from waystation import Bus

    clock = VirtualClock()
    bus = Bus(f"sqlite:///{tmp_path}/shop.db", clock=clock)

    @bus.subscribe(orders, group="ledger", max_duration=2, retry=RetryPolicy(max_attempts=1))
    async def book(order: Order, tx: Transaction) -> None:
        await tx.execute("INSERT INTO booked VALUES (?)", (order.number,))
        if order.number == 1:
            await asyncio.Event().wait()

    async with bus:
        async with bus.transaction() as tx:
            await tx.execute("CREATE TABLE booked (number INTEGER)")
        await bus.publish_many(orders, [Order(n) for n in range(3)], key="a")
        async with bus.running():
            for _ in range(200):
                await clock.advance(0.1)
                if consumers(bus)[0].counters.handled == 3:
                    break
            assert len(await dead(bus)) == 1
        async with bus.transaction() as tx:
            assert await tx.execute("SELECT number FROM booked") == [(0,), (2,)]


async def test_a_stop_is_not_taken_for_a_late_handler() -> None:
    clock = VirtualClock()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", max_duration=5)
    async def charge(order: Order) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    async with bus.running():
        await bus.publish(orders, Order(0))
        await clock.advance(5)
        draining = asyncio.create_task(bus.drain(3))
        await clock.advance(3)
        assert await draining == 1


def test_the_error_says_the_limit() -> None:
    assert HandlerTimeout("late", limit_s=2.5).limit_s == 2.5
