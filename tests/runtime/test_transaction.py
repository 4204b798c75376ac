"""Rows and messages in one commit, or in none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from waystation import (
    Bus,
    ConfigurationError,
    Disconnected,
    Durability,
    Topic,
    Transaction,
    TransportError,
    UnsupportedCapability,
)


class Order(msgspec.Struct):
    number: int


orders = Topic("orders.placed", Order)
shipping = Topic("orders.ship", Order)


@asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[Bus]:
    bus = Bus({"far.#": "memory://", "#": f"sqlite:///{folder}/shop.db"})
    async with bus:
        async with bus.transaction() as tx:
            await tx.execute("CREATE TABLE sold (number INTEGER)")
        yield bus


@asynccontextmanager
async def undone(bus: Bus) -> AsyncIterator[Transaction]:
    """A transaction whose block raises at its end."""
    try:
        async with bus.transaction() as tx:
            yield tx
            raise ZeroDivisionError
    except ZeroDivisionError:
        return


async def sold(bus: Bus) -> list[int]:
    async with bus.transaction() as tx:
        return [number for (number,) in await tx.execute("SELECT number FROM sold ORDER BY number")]


async def published(bus: Bus, topic: str = "orders.placed") -> list[bytes]:
    found = await bus.inspector("orders").browse(topic, start="earliest", limit=100)
    return [message.body for _, message in found]


async def test_rows_and_messages_happen_together(tmp_path: Path) -> None:
    async with shop(tmp_path) as bus:
        async with bus.transaction() as tx:
            await tx.executemany("INSERT INTO sold VALUES (?)", [(1,), (2,)])
            receipt = await tx.publish(orders, Order(1), key="1")
            assert receipt.durability is Durability.SENT
            assert tx.is_open
        assert not tx.is_open
        assert await sold(bus) == [1, 2]
        assert await published(bus) == [b'{"number":1}']


async def test_nothing_happens_if_the_block_raises(tmp_path: Path) -> None:
    async with shop(tmp_path) as bus:
        async with undone(bus) as tx:
            await tx.execute("INSERT INTO sold VALUES (1)")
            await tx.publish(orders, Order(1))
        assert await sold(bus) == []
        assert await published(bus) == []


async def test_nothing_happens_if_it_is_cancelled(tmp_path: Path) -> None:
    async with shop(tmp_path) as bus:
        begun = asyncio.Event()

        async def work() -> None:
            async with bus.transaction() as tx:
                await tx.execute("INSERT INTO sold VALUES (1)")
                begun.set()
                await asyncio.Event().wait()

        working = asyncio.create_task(work())
        await begun.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert await sold(bus) == []


async def test_what_the_bus_publishes_inside_joins_it(tmp_path: Path) -> None:
    async with shop(tmp_path) as bus:
        async with undone(bus):
            await bus.publish(orders, Order(1))
            await bus.publish_many(orders, [Order(2), Order(3)])
            await bus.send(shipping, Order(4))
            async with bus.batch() as batch:
                batch.publish(orders, Order(5))
                batch.send(shipping, Order(6))
        assert await published(bus, "#") == []
        async with bus.transaction():
            receipts = await bus.publish_many(orders, [Order(2), Order(3)])
            async with bus.batch() as batch:
                batch.publish(orders, Order(5))
            receipts += batch.receipts
        assert {receipt.durability for receipt in receipts} == {Durability.SENT}
        assert len(await published(bus)) == 3


async def test_a_command_sent_inside_is_kept_for_its_handler(tmp_path: Path) -> None:
    async with shop(tmp_path) as bus, bus.transaction() as tx:
        await tx.execute("INSERT INTO sold VALUES (1)")
        await tx.send(shipping, Order(1))
        await bus.send("orders.pack", 1)
    async with bus:
        groups = await bus.inspector("orders").groups()
        assert {(info.group, info.lag) for info in groups} == {("orders.ship", 1), ("orders.pack", 1)}


async def test_a_transaction_inside_another_is_a_part_of_it(tmp_path: Path) -> None:
    async with shop(tmp_path) as bus:
        async with bus.transaction() as outer:
            await outer.execute("INSERT INTO sold VALUES (1)")
            async with bus.transaction() as inner:
                await inner.execute("INSERT INTO sold VALUES (2)")
            async with undone(bus) as inner:
                await inner.execute("INSERT INTO sold VALUES (3)")
                await bus.publish(orders, Order(3))
            await bus.publish(orders, Order(1))
        assert await sold(bus) == [1, 2]
        assert await published(bus) == [b'{"number":1}']


async def test_a_task_that_outlives_the_transaction_publishes_at_once(tmp_path: Path) -> None:
    async with shop(tmp_path) as bus:
        over = asyncio.Event()

        async def later() -> Durability:
            await over.wait()
            return (await bus.publish(orders, Order(1))).durability

        async with bus.transaction():
            task = asyncio.create_task(later())
        over.set()
        assert await task is Durability.FLUSHED


async def test_a_topic_of_another_medium_cannot_be_part_of_it(tmp_path: Path) -> None:
    async with shop(tmp_path) as bus:
        with pytest.raises(ConfigurationError, match="another transport"):
            async with bus.transaction():
                await bus.publish("far.away", 1)


async def test_another_bus_is_not_part_of_it(tmp_path: Path) -> None:
    async with shop(tmp_path) as bus, Bus("memory://") as other, bus.transaction():
        assert (await other.publish(orders, Order(1))).durability is Durability.RECEIVED


async def test_a_transaction_that_has_ended_is_refused(tmp_path: Path) -> None:
    async with shop(tmp_path) as bus:
        async with bus.transaction() as tx:
            pass
        with pytest.raises(TransportError):
            await tx.execute("SELECT 1")


async def test_a_bus_that_closes_rolls_back_what_other_tasks_have_open(tmp_path: Path) -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def work(bus: Bus) -> None:
        async with bus.transaction() as tx:
            await tx.execute("INSERT INTO sold VALUES (1)")
            begun.set()
            await closed.wait()
            await tx.execute("INSERT INTO sold VALUES (2)")

    async def wait_for_the_lock(bus: Bus) -> None:
        async with bus.transaction() as tx:
            await tx.execute("INSERT INTO sold VALUES (3)")

    async with shop(tmp_path) as bus:
        working = asyncio.create_task(work(bus))
        await begun.wait()
        waiting = asyncio.create_task(wait_for_the_lock(bus))
        publishing = asyncio.create_task(bus.publish(orders, Order(4)))
        await asyncio.sleep(0)
    closed.set()
    for task in (working, waiting):
        with pytest.raises(Disconnected, match="the bus was closed while this transaction was open"):
            await task
    assert (await publishing).durability is Durability.FLUSHED
    async with bus:
        assert await sold(bus) == []
        assert await published(bus) == [b'{"number":4}']


async def test_a_transaction_left_after_its_bus_says_that_it_was_rolled_back(tmp_path: Path) -> None:
    async with shop(tmp_path) as bus:
        first, second = bus.transaction(), bus.transaction()
        tx = await first.__aenter__()
        await tx.execute("INSERT INTO sold VALUES (1)")
    with pytest.raises(Disconnected, match="it was rolled back"):
        await first.__aexit__(None, None, None)
    with pytest.raises(Disconnected):
        await second.__aenter__()
    async with bus:
        assert await sold(bus) == []


async def test_an_error_that_leaves_a_transaction_after_its_bus_stays_what_it_is(tmp_path: Path) -> None:
    async with shop(tmp_path) as bus:
        transaction = bus.transaction()
        await (await transaction.__aenter__()).execute("INSERT INTO sold VALUES (1)")
    error = ZeroDivisionError()
    assert not await transaction.__aexit__(ZeroDivisionError, error, None)


async def test_a_bus_that_closes_lets_a_commit_be_finished(tmp_path: Path) -> None:
    opened: list[Transaction] = []

    async def work(bus: Bus) -> None:
        async with bus.transaction() as tx:
            opened.append(tx)
            await tx.execute("INSERT INTO sold VALUES (1)")

    async with shop(tmp_path) as bus:
        working = asyncio.create_task(work(bus))
        while not opened or opened[0].is_open:
            await asyncio.sleep(0)
    await working
    async with bus:
        assert await sold(bus) == [1]


async def test_a_medium_without_transactions_refuses() -> None:
    async with Bus("memory://") as bus:
        with pytest.raises(UnsupportedCapability, match=r"bus\.transaction\(\)"):
            async with bus.transaction():
                pytest.fail("there is no transaction")


async def test_a_handler_that_takes_a_transaction_publishes_with_its_effects(tmp_path: Path) -> None:
    async with shop(tmp_path) as bus:
        handled = asyncio.Event()

        @bus.subscribe(orders, group="billing")
        async def bill(order: Order, tx: Transaction) -> None:
            await tx.execute("INSERT INTO sold VALUES (?)", (order.number,))
            await bus.send(shipping, order)

        @bus.handle(shipping)
        async def ship(order: Order) -> None:
            handled.set()

        async with bus.running():
            await bus.publish(orders, Order(7))
            await handled.wait()
        assert await sold(bus) == [7]
