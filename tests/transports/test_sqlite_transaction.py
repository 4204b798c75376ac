"""A transaction's turn and its end, whoever brings that about."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from waystation import Disconnected, TransactionLost
from waystation._core.limits import TRANSACTION_S_MAX
from waystation.testing.clock import VirtualClock
from waystation.transports.sqlite.transport import SqliteTransport


@asynccontextmanager
async def opened(path: Path, clock: VirtualClock) -> AsyncIterator[SqliteTransport]:
    transport = SqliteTransport(str(path), clock=clock)
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


async def test_one_that_is_open_for_too_long_lets_the_next_one_begin(path: Path) -> None:
    clock = VirtualClock()
    async with opened(path, clock) as transport:
        late, next_one = await transport.begin(flush=False), await transport.begin(flush=False)
        await late.execute("CREATE TABLE mine (x)")
        waiting = asyncio.create_task(next_one.execute("CREATE TABLE mine (y)"))
        await clock.advance(TRANSACTION_S_MAX)
        await waiting
        with pytest.raises(TransactionLost, match="open for over 10 s"):
            await late.execute("INSERT INTO mine VALUES (1)")
        await late.rollback()
        await next_one.commit()


async def test_the_transport_closes_once_the_time_of_one_is_up(path: Path) -> None:
    clock = VirtualClock()
    async with opened(path, clock) as transport:
        transaction = await transport.begin(flush=False)
        await transaction.execute("CREATE TABLE mine (x)")
        closing = asyncio.create_task(transport.close())
        await clock.advance(TRANSACTION_S_MAX)
        await closing
        with pytest.raises(TransactionLost):
            await transaction.commit()


async def test_two_first_statements_at_once_share_the_beginning(path: Path) -> None:
    async with opened(path, VirtualClock()) as transport:
        other, transaction = await transport.begin(flush=False), await transport.begin(flush=False)
        await other.execute("CREATE TABLE theirs (x)")
        both = [asyncio.create_task(transaction.execute(f"CREATE TABLE mine_{n} (x)")) for n in range(2)]
        await asyncio.sleep(0)
        await other.commit()
        await asyncio.gather(*both)
        await transaction.commit()


async def test_one_rolled_back_while_it_waits_never_begins(path: Path) -> None:
    async with opened(path, VirtualClock()) as transport:
        other, transaction = await transport.begin(flush=False), await transport.begin(flush=False)
        await other.execute("CREATE TABLE theirs (x)")
        waiting = asyncio.create_task(transaction.execute("CREATE TABLE mine (x)"))
        await asyncio.sleep(0)
        await transaction.rollback(Disconnected("closed"))
        await other.commit()
        with pytest.raises(Disconnected, match="closed"):
            await waiting
        third = await transport.begin(flush=False)
        await third.execute("CREATE TABLE mine (x)")
        await third.commit()


async def test_a_rollback_during_the_commit_changes_nothing(path: Path) -> None:
    async with opened(path, VirtualClock()) as transport:
        transaction = await transport.begin(flush=True)
        await transaction.execute("CREATE TABLE mine (x)")
        committing = asyncio.create_task(transaction.commit())
        await asyncio.sleep(0)
        await transaction.rollback(Disconnected("closed"))
        await committing
        again = await transport.begin(flush=False)
        assert await again.execute("SELECT * FROM mine") == []
        await again.rollback()
