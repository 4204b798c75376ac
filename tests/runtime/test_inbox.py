"""Effects, marks and settlement in one commit, on the sqlite transport."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from waystation import (
    Accept,
    Bus,
    DeadLetter,
    Endpoint,
    Message,
    RequestFailed,
    RetryPolicy,
    Transaction,
    TransactionLost,
    UnsupportedCapability,
)
from waystation._core.limits import TRANSACTION_S_MAX

from .shop import Bill, ImpatientClock, Order, Wish, bills, consumers, dead, group, orders, until

quotes = Endpoint("prices.quote", Order, Bill)


@pytest.fixture
def bus(tmp_path: Path) -> Bus:
    policy = RetryPolicy(max_attempts=3, first_delay="1ms", max_delay="1ms")
    return Bus(f"sqlite:///{tmp_path}/shop.db", retry=policy)


async def rows(bus: Bus) -> list[int]:
    async with bus.transaction() as tx:
        return [number for (number,) in await tx.execute("SELECT number FROM charged ORDER BY rowid")]


async def make_table(bus: Bus) -> None:
    async with bus.transaction() as tx:
        await tx.execute("CREATE TABLE charged (number INTEGER UNIQUE)")


async def insert(tx: Transaction, *numbers: int) -> None:
    await tx.executemany("INSERT INTO charged VALUES (?)", [(number,) for number in numbers])


async def test_effects_and_settlement_are_one_commit(bus: Bus) -> None:
    @bus.subscribe(orders, group="billing")
    async def charge(order: Order, tx: Transaction) -> None:
        await insert(tx, order.number)

    async with bus:
        await make_table(bus)
        async with bus.running():
            await bus.publish_many(orders, [Order(n) for n in range(1000)])
            await until(lambda: consumers(bus)[0].counters.accepted == 1000)
            assert sorted(await rows(bus)) == list(range(1000))
            assert (await group(bus, "billing")).lag == 0


async def test_a_message_seen_before_is_accepted_without_running(bus: Bus) -> None:
    @bus.subscribe(orders, group="billing")
    async def charge(order: Order, tx: Transaction) -> None:
        await insert(tx, order.number)

    async with bus:
        await make_table(bus)
        async with bus.running():
            receipt = await bus.publish(orders, Order(1))
            await bus.publish(orders, Order(1), message_id=receipt.message_id)
            await until(lambda: consumers(bus)[0].counters.accepted == 2)
            assert await rows(bus) == [1]


async def test_a_handler_that_raises_undoes_only_itself(bus: Bus) -> None:
    attempts = list[int]()

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order, tx: Transaction) -> None:
        await insert(tx, order.number)
        if order.number == 2:
            attempts.append(order.number)
            if len(attempts) < 3:
                raise Wish

    async with bus:
        await make_table(bus)
        async with bus.running():
            await bus.publish_many(orders, [Order(n) for n in range(5)])
            await until(lambda: consumers(bus)[0].counters.accepted == 5)
            assert sorted(await rows(bus)) == [0, 1, 2, 3, 4]
            assert consumers(bus)[0].counters.retried == 2


async def test_a_statement_that_fails_is_its_handlers_failure(bus: Bus) -> None:
    @bus.subscribe(orders, group="billing")
    async def charge(order: Order, tx: Transaction) -> None:
        await insert(tx, order.number % 3)  # UNIQUE: the fourth cannot be

    async with bus:
        await make_table(bus)
        async with bus.running():
            await bus.publish_many(orders, [Order(n) for n in range(4)])
            await until(lambda: consumers(bus)[0].counters.accepted == 3)
            await until(lambda: consumers(bus)[0].counters.dead == 1)
            assert sorted(await rows(bus)) == [0, 1, 2]
            assert "UNIQUE" in (await dead(bus))[0].reason


async def test_what_is_published_inside_is_part_of_the_commit(bus: Bus) -> None:
    got = list[int]()

    @bus.subscribe(orders, group="billing", publishes=bills)
    async def charge(order: Order, tx: Transaction) -> Bill:
        await tx.publish(bills, Bill(10 + order.number))
        await bus.publish(bills, Bill(20 + order.number))
        if order.number == 1:
            raise Wish
        return Bill(30 + order.number)

    @bus.subscribe(bills, group="post")
    async def post(bill: Bill, message: Message) -> None:
        assert message.causation_id
        got.append(bill.number)

    async with bus.running():
        await bus.publish_many(orders, [Order(0), Order(1)])
        await until(lambda: consumers(bus)[0].counters.dead == 1)
        await until(lambda: len(got) >= 3)
    assert sorted(got) == [10, 20, 30]


async def test_a_retried_message_holds_back_its_key(bus: Bus) -> None:
    failed = list[int]()

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order, tx: Transaction) -> None:
        await insert(tx, order.number)
        if order.number == 1 and len(failed) < 2:
            failed.append(1)
            raise Wish

    async with bus:
        await make_table(bus)
        async with bus.running():
            await bus.publish_many(orders, [Order(n) for n in range(6)], key="a")
            await until(lambda: consumers(bus)[0].counters.accepted == 6)
            assert await rows(bus) == [0, 1, 2, 3, 4, 5]


async def test_a_batch_has_one_savepoint_and_skips_what_was_seen(bus: Bus) -> None:
    batches = list[list[int]]()

    @bus.subscribe(orders, group="billing", batch=100)
    async def charge(many: list[Order], messages: list[Message], tx: Transaction) -> None:
        assert len(many) == len(messages)
        batches.append([order.number for order in many])
        await insert(tx, *batches[-1])
        if len(batches) == 1:
            raise Wish

    async with bus:
        await make_table(bus)
        receipt, *_ = await bus.publish_many(orders, [Order(n) for n in range(3)])
        await bus.publish(orders, Order(0), message_id=receipt.message_id)
        await bus.publish("orders.placed", "what")
        async with bus.running():
            await until(lambda: consumers(bus)[0].counters.accepted == 4)
            assert sorted(await rows(bus)) == [0, 1, 2]
            assert len(await dead(bus)) == 1


async def test_a_batch_in_a_transaction_is_accepted_whole_or_not_at_all(bus: Bus) -> None:
    @bus.subscribe(orders, group="billing", retry=RetryPolicy(max_attempts=1))
    async def charge(many: list[Order], tx: Transaction) -> list[Accept | DeadLetter]:
        await insert(tx, *[order.number for order in many])
        return [DeadLetter("bad") for _ in many]

    async with bus:
        await make_table(bus)
        async with bus.running():
            await bus.publish(orders, Order(1))
            await until(lambda: consumers(bus)[0].counters.dead == 1)
            assert "whole batch" in (await dead(bus))[0].reason
            assert await rows(bus) == []


async def test_a_responder_answers_after_its_commit(bus: Bus) -> None:
    @bus.respond(quotes)
    async def quote(order: Order, tx: Transaction) -> Bill:
        await insert(tx, order.number)
        if order.number == 2:
            raise Wish("sold out")
        return Bill(order.number)

    async with bus:
        await make_table(bus)
        async with bus.running():
            assert await bus.request(quotes, Order(1), timeout=10) == Bill(1)
            with pytest.raises(RequestFailed, match="sold out"):
                await bus.request(quotes, Order(2), timeout=10)
            with pytest.raises(RequestFailed, match="DecodeError"):
                await bus.request(Endpoint(quotes.name, str, Bill), "no order", timeout=10)
            assert await rows(bus) == [1]


async def test_the_message_that_breaks_its_transaction_is_found_and_the_others_are_kept(bus: Bus) -> None:
    @bus.subscribe(orders, group="billing")
    async def charge(order: Order, tx: Transaction) -> None:
        await insert(tx, order.number)
        if order.number == 2:
            raise TransactionLost("as when it was open for too long")

    async with bus:
        await make_table(bus)
        async with bus.running():
            await bus.publish_many(orders, [Order(n) for n in range(5)])
            await until(lambda: consumers(bus)[0].counters.accepted == 4)
            await until(lambda: consumers(bus)[0].counters.dead == 1)
            assert sorted(await rows(bus)) == [0, 1, 3, 4]


async def test_a_cancelled_handler_leaves_nothing(bus: Bus) -> None:
    began, calls = asyncio.Event(), list[int]()

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order, tx: Transaction) -> None:
        calls.append(order.number)
        await insert(tx, order.number)
        if calls.count(1) == 1 and order.number == 1:
            began.set()
            await asyncio.Event().wait()

    async with bus:
        await make_table(bus)
        await bus.publish_many(orders, [Order(0), Order(1)])
        async with bus.running():
            await began.wait()
            assert await bus.drain(0) == 1
        assert 1 not in await rows(bus)
        async with bus.running():
            await until(lambda: calls.count(1) == 2)
            await until(lambda: consumers(bus)[0].counters.in_flight == 0)
            assert sorted(await rows(bus)) == [0, 1]


async def test_a_handler_that_keeps_its_transaction_open_for_too_long_is_stopped(tmp_path: Path) -> None:
    clock, calls = ImpatientClock(TRANSACTION_S_MAX), list[int]()
    bus = Bus(f"sqlite:///{tmp_path}/shop.db", clock=clock, retry=RetryPolicy(max_attempts=1))

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order, tx: Transaction) -> None:
        calls.append(order.number)
        await insert(tx, order.number)
        if order.number == 1:
            clock.now_is_later()
            await asyncio.Event().wait()

    async with bus:
        await make_table(bus)
        await bus.publish_many(orders, [Order(n) for n in range(3)])
        async with bus.running():
            await until(lambda: consumers(bus)[0].counters.accepted == 2)
            await until(lambda: consumers(bus)[0].counters.dead == 1)
            assert sorted(await rows(bus)) == [0, 2]
            assert "open for 10 s" in (await dead(bus))[0].reason


async def test_a_transport_without_transactions_is_refused_before_any_io() -> None:
    bus = Bus("memory://")

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order, tx: Transaction) -> Any: ...

    with pytest.raises(UnsupportedCapability, match=r"charge\(\).* 'memory' does not"):
        async with bus.running():
            pass
