"""Subscriptions that pause: by their circuit breaker, and by hand."""

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from waystation import (
    Bus,
    CircuitBreaker,
    ConfigurationError,
    Endpoint,
    Message,
    Reject,
    RequestFailed,
    RetryPolicy,
    Router,
    Transaction,
)
from waystation.testing import VirtualClock
from waystation.testing.embedded import EmbeddedBus
from waystation.transports.memory import MemoryTransport

from .shop import Bill, Faults, FaultyTransport, Order, Wish, a_bus, consumers, dead, group, orders, until

BREAKER = CircuitBreaker(failures=3, window=60, pause=30)


async def test_when_most_fail_it_pauses_tries_one_and_resumes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "waystation")
    clock, calls, bank_open = VirtualClock(), list[tuple[float, int]](), asyncio.Event()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", breaker=BREAKER, retry=RetryPolicy(first_delay=1, jitter=False))
    async def charge(order: Order) -> None:
        calls.append((clock.monotonic() - started, order.number))
        if not bank_open.is_set():
            raise Wish("the bank is closed")

    async with bus.running():
        started = clock.monotonic()
        await bus.publish_many(orders, [Order(n) for n in range(50)])
        await clock.advance(29.9)
        assert calls == [(0, 0), (0, 1), (0, 2)], "nothing is attempted during the pause"
        assert consumers(bus)[0].counters.in_flight == 0
        await clock.advance(1)
        assert len(calls) == 4, "one message is tried, and that is all"
        bank_open.set()
        await clock.advance(60)
        assert (await group(bus, "billing")).lag == 0
        assert len(calls) == 54
    assert caplog.text.count("paused for 30 s: of 3 messages 3 have failed") == 1
    assert caplog.text.count("paused for 30 s: the message that was tried has failed too") == 1
    assert caplog.text.count("resumed, a message was handled") == 1


async def test_the_pause_shows_with_its_reason() -> None:
    clock = VirtualClock()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", breaker=BREAKER)
    async def charge(order: Order) -> None:
        raise Wish

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(9)])
        await clock.advance(10)
        (found,) = bus.health().subscriptions
        assert (found.state, found.reason) == ("paused", "3 messages have failed; one is tried in 20 s")


async def test_what_is_held_is_given_back_without_counting_an_attempt() -> None:
    clock, attempts = VirtualClock(), dict[int, list[int]]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", breaker=BREAKER, retry=RetryPolicy(max_attempts=1))
    async def charge(order: Order) -> None:
        attempts.setdefault(order.number, []).append(len(attempts))
        if len(attempts) <= 13:
            raise Wish

    async with bus.running():
        await bus.publish_many(
            orders, [Order(n) for n in range(40)], key=lambda order: "ab"[order.number % 2]
        )
        for _ in range(20):
            await clock.advance(30)
        assert sorted(attempts) == list(range(40))
        assert {len(each) for each in attempts.values()} == {1}
        assert len(await dead(bus)) == 13


async def test_messages_that_are_at_fault_do_not_pause_it() -> None:
    bus, seen = a_bus(), list[int]()

    @bus.subscribe(orders, group="billing", breaker=BREAKER)
    async def charge(order: Order) -> None:
        seen.append(order.number)
        raise Reject("no")

    async with bus.running():
        await bus.publish_many("orders.placed", [b"\0"] * 10)
        await bus.publish_many(orders, [Order(n) for n in range(10)])
        await until(lambda: consumers(bus)[0].counters.dead == 20)


async def test_a_message_tried_that_is_at_fault_makes_room_for_the_next() -> None:
    clock, calls, good = VirtualClock(), list[int](), asyncio.Event()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", breaker=BREAKER, retry=RetryPolicy(max_attempts=1))
    async def charge(order: Order) -> None:
        calls.append(order.number)
        if order.number < 3:
            raise Wish
        if order.number < 6:
            raise Reject("not ours")

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(10)])
        await clock.advance(29)
        assert calls == [0, 1, 2]
        await clock.advance(2)
        good.set()
        assert calls == list(range(10))


async def test_order_by_key_holds_across_a_pause() -> None:
    clock, done, failing = VirtualClock(), dict[str, list[int]](), [True]
    bus = a_bus(clock)

    @bus.subscribe(
        orders,
        group="billing",
        breaker=BREAKER,
        concurrency=4,
        retry=RetryPolicy(first_delay=1, max_attempts=99),
    )
    async def charge(order: Order, message: Message) -> None:
        await clock.sleep(0.01 * (order.number % 5))
        if failing[0]:
            raise Wish
        done.setdefault(message.key or "", []).append(order.number)

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(60)], key=lambda order: str(order.number % 7))
        await clock.advance(65)
        failing[0] = False
        for _ in range(30):
            await clock.advance(5)
        assert sum(map(len, done.values())) == 60
    assert all(numbers == sorted(numbers) for numbers in done.values())


async def test_in_threads_and_in_transactions_too(tmp_path: Path) -> None:
    clock, plain, booked = VirtualClock(), list[int](), list[int]()
    bus = Bus(f"sqlite:///{tmp_path}/shop.db", clock=clock, retry=RetryPolicy(first_delay=60, jitter=False))
    lock = threading.Lock()

    @bus.subscribe(orders, group="billing", breaker=BREAKER)
    def charge(order: Order) -> None:
        with lock:
            plain.append(order.number)
        raise Wish

    @bus.subscribe(orders, group="ledger", breaker=BREAKER)
    async def book(order: Order, tx: Transaction) -> None:
        booked.append(order.number)
        raise Wish

    async with bus:
        await bus.publish_many(orders, [Order(n) for n in range(20)])
        async with bus.running():
            await until(lambda: all(consumer.valve.paused for consumer in consumers(bus)))
    assert (len(plain), len(booked)) == (3, 3)


async def test_requests_that_fail_pause_their_responder() -> None:
    clock = VirtualClock()
    bus, quotes = a_bus(clock), Endpoint("prices.quote", Order, Bill)

    @bus.respond(quotes, breaker=CircuitBreaker(failures=1, pause=5))
    async def quote(order: Order) -> Bill:
        raise Wish("no prices today")

    async with bus.running():
        with pytest.raises(RequestFailed):
            await bus.request(quotes, Order(1))
        await until(lambda: consumers(bus)[0].valve.paused != "")


async def test_a_handler_can_be_paused_and_resumed_by_hand() -> None:
    clock, calls, go_on = VirtualClock(), list[int](), asyncio.Event()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order) -> None:
        calls.append(order.number)
        if order.number == 0:
            await go_on.wait()

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(6)], key="a")
        await clock.advance(0)
        bus.pause(charge, reason="the bank asked us to")
        assert calls == [0]
        go_on.set()
        await clock.advance(60)
        assert calls == [0], "what runs goes on, and that is all"
        (found,) = bus.health().subscriptions
        assert (found.state, found.reason) == ("paused", "the bank asked us to")
        bus.resume(charge)
        bus.resume(charge)
        await clock.advance(0)
        assert calls == list(range(6))
        bus.pause(charge)
        await bus.publish(orders, Order(7))
        await clock.advance(5)
        assert calls == list(range(6)), "what arrives while it waits is given back"
        assert (await group(bus, "billing")).lag == 1


async def test_what_arrives_while_a_paused_subscription_waits_is_given_back() -> None:
    clock, calls = VirtualClock(), list[int]()
    medium = MemoryTransport(clock)
    bus = EmbeddedBus.over(FaultyTransport(medium, Faults()), clock=clock)  # its feeds must be waited for

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order) -> None:
        calls.append(order.number)

    async with bus.running():
        await clock.advance(0)
        bus.pause(charge)
        await bus.publish(orders, Order(7))
        await clock.advance(5)
        assert calls == []
        (found,) = await medium.groups()
        assert (found.ready, found.in_flight) == (1, 0)


async def test_order_by_key_holds_when_what_was_given_back_is_not_back_yet() -> None:
    clock, calls, go_on = VirtualClock(), list[int](), asyncio.Event()
    faults = Faults()
    bus = EmbeddedBus.over(FaultyTransport(MemoryTransport(clock), faults), clock=clock)

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order) -> None:
        calls.append(order.number)
        if order.number == 0:
            await go_on.wait()

    async with bus.running():
        await bus.publish_many(orders, [Order(-1)] * 20)  # so many that some are fetched ahead from here on
        await until(lambda: len(calls) == 20)
        await bus.publish(orders, Order(0), key="another")
        await bus.publish_many(orders, [Order(1), Order(2)], key="a")
        await until(lambda: consumers(bus)[0].counters.in_flight == 3)
        faults.settling.clear()
        bus.pause(charge)
        bus.resume(charge)
        await bus.publish(orders, Order(3), key="a")
        await clock.advance(0)
        go_on.set()
        await clock.advance(0)
        faults.settling.set()
        await clock.advance(5)
        assert calls[20:] == [0, 1, 2, 3]


async def test_what_does_not_run_cannot_be_paused() -> None:
    bus = a_bus()

    async def charge(order: Order) -> None: ...

    async with bus.running():
        with pytest.raises(ConfigurationError, match="no handler that runs here"):
            bus.pause(charge)


async def test_a_paused_subscription_can_be_drained() -> None:
    clock, calls = VirtualClock(), list[int]()
    bus = a_bus(clock)
    router = Router()

    @router.subscribe(orders, group="billing", concurrency=2)
    async def charge(order: Order) -> None:
        calls.append(order.number)
        await asyncio.Event().wait()

    bus.include(router)
    async with bus:
        await bus.publish_many(orders, [Order(n) for n in range(6)], key="a")
        async with bus.running():
            await clock.advance(0)
            bus.pause(charge)
            draining = asyncio.create_task(bus.drain(1))
            await clock.advance(1)
            assert await draining == 1
        assert (await group(bus, "billing")).lag == 6
