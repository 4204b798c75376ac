"""A member that has lost its leases while it lives: what it does is neither settled nor kept."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from waystation import Bus, Delivery, Message, Rate, SettlementLost, Transaction
from waystation._core.delivery import RELEASE
from waystation._core.limits import LEASE_RENEWAL_S
from waystation.testing import VirtualClock

from .shop import (
    Bill,
    Faults,
    FaultyFeed,
    FaultyTransport,
    Order,
    a_bus,
    bills,
    consumer_of,
    consumers,
    orders,
    until,
)


async def test_a_handler_whose_lease_was_lost_is_cancelled_and_what_waits_is_forgotten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, faults = VirtualClock(), Faults()
    bus, began, cancelled = a_bus(clock), list[int](), list[int]()

    async def charge(order: Order) -> None:
        began.append(order.number)
        if len(began) == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(order.number)
                raise

    async with bus:
        transport = FaultyTransport(bus._transports[0], faults)
        async with consumer_of(bus, charge, transport) as consumer:
            await bus.publish_many(orders, [Order(n) for n in range(2)], key="a")
            await clock.advance(0)
            feed = consumer._source.feed
            assert isinstance(feed, FaultyFeed)
            await feed.inner.close()  # as another member sees it: everything may be had again
            faults.extend = [SettlementLost("gone", deliveries=consumer._unsettled())]
            await clock.advance(LEASE_RENEWAL_S)
            assert (began, cancelled) == ([0], [0])
            assert consumer.counters.in_flight == 0
            assert consumer.counters.handled == 0
    assert "1 handlers were cancelled" in caplog.text


async def test_only_the_lane_that_lost_its_delivery_is_interrupted() -> None:
    clock, faults, go_on = VirtualClock(), Faults(), asyncio.Event()
    bus, done, cancelled = a_bus(clock), list[int](), list[int]()

    async def charge(order: Order) -> None:
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            cancelled.append(order.number)
            raise
        done.append(order.number)

    async with bus:
        transport = FaultyTransport(bus._transports[0], faults)
        async with consumer_of(bus, charge, transport, concurrency=4) as consumer:
            await bus.publish_many(orders, [Order(n) for n in range(4)])
            await clock.advance(0)
            faults.extend = [SettlementLost("gone", deliveries=numbered(consumer._unsettled(), 2))]
            await clock.advance(LEASE_RENEWAL_S)
            assert cancelled == [2]
            go_on.set()
            await clock.advance(0)
            assert sorted(done) == [0, 1, 2, 3], "released, it came again"


async def test_a_plain_function_runs_to_its_end_but_its_message_is_not_settled_as_done() -> None:
    clock, faults, go_on, began = VirtualClock(), Faults(), threading.Event(), threading.Event()
    bus = a_bus(clock)

    def charge(order: Order) -> None:
        if order.number == 1:
            began.set()
            go_on.wait()

    async with bus:
        transport = FaultyTransport(bus._transports[0], faults)
        async with consumer_of(bus, charge, transport) as consumer:
            await bus.publish_many(orders, [Order(n) for n in range(5)], key="a")
            await until(began.is_set)
            lost = numbered(consumer._unsettled(), 1)
            faults.extend = [SettlementLost("gone", deliveries=lost)]
            await clock.advance(LEASE_RENEWAL_S)
            go_on.set()
            await until(lambda: consumer.counters.accepted == 5)
    settled = [(delivery.body, settlement) for batch in faults.settled for delivery, settlement in batch]
    assert dict(reversed(settled))[lost[0].body] is RELEASE, "the first time"


async def test_nothing_of_a_transaction_is_kept_when_one_of_its_leases_was_lost(tmp_path: Path) -> None:
    clock, began, attempts = VirtualClock(), asyncio.Event(), list[int]()
    bus = Bus(f"sqlite:///{tmp_path}/shop.db", clock=clock)

    @bus.subscribe(orders, group="ledger")
    async def book(order: Order, tx: Transaction, message: Message) -> None:
        attempts.append(order.number)
        await tx.execute("INSERT INTO booked VALUES (?)", (order.number,))
        await tx.publish(bills, Bill(order.number))
        if order.number == 2:
            began.set()
            await asyncio.Event().wait()

    async with bus:
        async with bus.transaction() as tx:
            await tx.execute("CREATE TABLE booked (number INTEGER)")
        await bus.publish_many(orders, [Order(n) for n in range(3)], key="a")
        async with bus.running():
            await began.wait()
            (consumer,) = consumers(bus)
            lost = SettlementLost("gone", deliveries=consumer._unsettled())
            assert consumer._lanes.lose(lost) == 1
            await until(lambda: consumer.counters.in_flight == 0)
            assert attempts == [0, 1, 2]
            assert consumer.counters.handled == 1, "the first came alone"
        async with bus.transaction() as tx:
            assert await tx.execute("SELECT number FROM booked") == [(0,)]


def numbered(deliveries: Sequence[Delivery], number: int) -> list[Delivery]:
    return [delivery for delivery in deliveries if delivery.body == b'{"number":%d}' % number]


async def test_who_has_lost_all_that_waited_fetches_again() -> None:
    clock, faults = VirtualClock(), Faults()
    bus, done = a_bus(clock), list[int]()

    async def charge(order: Order) -> None:
        done.append(order.number)

    async with bus:
        transport = FaultyTransport(bus._transports[0], faults)
        async with consumer_of(bus, charge, transport, rate=Rate(1, "1h"), prefetch=1) as consumer:
            await bus.publish_many(orders, [Order(n) for n in range(2)])
            await clock.advance(3600 - 0.2)
            held = consumer._unsettled()
            assert (done, len(held)) == ([0], 1), "the second one waits for its turn"
            assert consumer._intake._bell.has_waiter
            consumer._keeper._lost(SettlementLost("gone", deliveries=held))
            assert consumer.counters.in_flight == 0
            assert not consumer._intake._bell.has_waiter


@pytest.mark.parametrize("medium", ["memory", "sqlite"])
async def test_a_group_that_is_sent_back_while_it_works_does_everything_once_more_and_settles_nothing_wrongly(
    medium: str, tmp_path: Path
) -> None:
    clock, began, done = VirtualClock(), list[tuple[int, int]](), list[int]()
    first_round = asyncio.Event()
    bus = Bus("memory://" if medium == "memory" else f"sqlite:///{tmp_path}/shop.db", clock=clock)

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order, delivery: Delivery) -> None:
        began.append((order.number, delivery.attempt))
        if len(began) == 2:
            await first_round.wait()
        done.append(order.number)

    @bus.subscribe(orders, group="audit")
    async def note(order: Order) -> None:
        """Another group, which notices nothing."""

    async with bus:
        await bus.publish_many(orders, [Order(n) for n in range(4)], key="a")
        async with bus.running():
            await until(lambda: len(began) == 2)
            (info,) = await bus.inspector().seek("billing", orders.name, "earliest")
            assert info.lag == 4
            while len(done) < 5:  # the one that has ended, and all four
                await clock.advance(LEASE_RENEWAL_S)
                await asyncio.sleep(0.001)
            assert began == [(0, 1), (1, 1), (0, 1), (1, 1), (2, 1), (3, 1)]
            assert done == [0, 0, 1, 2, 3]
            while any(group.lag for group in await bus.inspector().groups()):
                await asyncio.sleep(0.001)
