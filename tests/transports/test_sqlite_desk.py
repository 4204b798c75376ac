"""Write transactions beside an event loop: who shares one, who is undone alone, and whose turn it is."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from tests.transports.faulty_disk import failing_at, failing_from, faulty_disk
from waystation._core.errors import Disconnected, StoreUnavailable
from waystation._store.database import connect, create
from waystation.transports.sqlite import desk as desks
from waystation.transports.sqlite.desk import Desk, Site
from waystation.transports.sqlite.flusher import Flusher
from waystation.transports.sqlite.turnstile import Turnstile


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Desk]:
    create(folder / "bus.db")
    keeper = connect(folder / "bus.db", patient=True)
    assert keeper.execute("SELECT count(*) FROM bus_topic").get == 0, "so that there is a log"
    flusher = Flusher(folder / "bus.db", folder / "unflushed")
    desk = Desk(
        Site(
            path=folder / "bus.db",
            turnstile=folder / "writer.lock",
            flusher=flusher,
            on_long_wal=lambda: None,
        )
    )
    try:
        yield desk
    finally:
        await desk.close()
        flusher.close()
        keeper.close()


@pytest.fixture
def blocker(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Somebody else with the write lock, until a test says ROLLBACK."""
    create(tmp_path / "bus.db")
    connection = connect(tmp_path / "bus.db", patient=True)
    connection.execute("CREATE TABLE rows (x)")
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


def put(desk: Desk, number: int) -> Callable[[], int]:
    def work() -> int:
        desk.connection.execute("INSERT INTO rows VALUES (?)", (number,))
        return number

    return work


def fail(desk: Desk, number: int, error: Exception) -> Callable[[], int]:
    def work() -> int:
        put(desk, number)()
        raise error

    return work


def rows(connection: apsw.Connection) -> list[int]:
    return [int(str(row[0])) for row in connection.execute("SELECT x FROM rows ORDER BY rowid")]


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_work_that_comes_while_one_waits_for_the_lock_shares_its_transaction(
    tmp_path: Path, blocker: apsw.Connection
) -> None:
    told: list[int] = []
    with faulty_disk() as disk:
        async with opened(tmp_path) as desk:
            work = [desk.write(put(desk, number), then=told.append, flush=True) for number in range(5)]
            writes = [asyncio.create_task(each) for each in work]
            await turns()
            assert rows(blocker) == []
            disk.heal()
            blocker.execute("ROLLBACK")
            assert await asyncio.gather(*writes) == [0, 1, 2, 3, 4]
            assert rows(blocker) == told == [0, 1, 2, 3, 4]
            assert disk.flushes <= 2, "for the first one, and for the others together"


@pytest.mark.parametrize("flushed", [0, 1, 2])
async def test_work_that_asks_for_a_flush_gets_one_whenever_it_joins(
    tmp_path: Path, blocker: apsw.Connection, flushed: int
) -> None:
    flushes: dict[int, int] = {}
    with faulty_disk() as disk:
        async with opened(tmp_path) as desk:

            async def write(number: int) -> None:
                await desk.write(put(desk, number), flush=number == flushed)
                flushes[number] = disk.flushes

            writes = []
            for number in range(3):
                writes.append(asyncio.create_task(write(number)))
                await turns()
            disk.heal()
            blocker.execute("ROLLBACK")
            await asyncio.gather(*writes)
            assert flushes[flushed] == 1, "it was told of a flush that there was not"
            assert sorted(rows(blocker)) == [0, 1, 2]


@pytest.mark.parametrize("error", [ValueError("mine"), apsw.ConstraintError("ours")])
async def test_work_that_fails_is_undone_alone_and_told_to_its_owner_only(
    tmp_path: Path, blocker: apsw.Connection, error: Exception
) -> None:
    told: list[int] = []
    async with opened(tmp_path) as desk:
        work = [put(desk, 0), fail(desk, 1, error), put(desk, 2)]
        writes = [asyncio.create_task(desk.write(each, then=told.append)) for each in work]
        await turns()
        blocker.execute("ROLLBACK")
        first, second, third = await asyncio.gather(*writes, return_exceptions=True)
        assert (first, third) == (0, 2)
        assert isinstance(second, ValueError if isinstance(error, ValueError) else StoreUnavailable)
        assert rows(blocker) == told == [0, 2]


async def test_when_the_commit_fails_everybody_is_told_and_nothing_is_there(
    tmp_path: Path, blocker: apsw.Connection
) -> None:
    told: list[int] = []
    with faulty_disk() as disk:
        async with opened(tmp_path) as desk:
            writes = [
                asyncio.create_task(desk.write(put(desk, n), then=told.append, flush=True)) for n in range(3)
            ]
            await turns()
            blocker.execute("ROLLBACK")
            disk.on_write = failing_from(1, apsw.IOError("no write"))
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            disk.heal()
            assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
            assert rows(blocker) == told == []


async def test_after_a_failed_flush_nobody_is_told_of_one_again(tmp_path: Path) -> None:
    with faulty_disk() as disk:
        create(tmp_path / "bus.db")
        async with opened(tmp_path) as desk:
            await desk.write(lambda: desk.connection.execute("CREATE TABLE rows (x)").get, flush=True)
            disk.on_flush = failing_at(disk.flushes + 1, apsw.IOError("no flush"))
            for number in range(2):
                with pytest.raises(StoreUnavailable, match="a flush failed"):
                    await desk.write(put(desk, number), flush=True)
            assert await desk.write(put(desk, 2)) == 2, "what needs no flush goes on"
            assert await desk.write(put(desk, 9)) == 9, "the desk kept its turn or its transaction"


@pytest.mark.parametrize("chosen", [0, 1, 2])
async def test_work_cancelled_before_it_began_is_not_done_and_the_rest_is(
    tmp_path: Path, blocker: apsw.Connection, chosen: int
) -> None:
    async with opened(tmp_path) as desk:
        writes = [asyncio.create_task(desk.write(put(desk, n))) for n in range(3)]
        await turns()
        writes[chosen].cancel()
        await turns()
        blocker.execute("ROLLBACK")
        await asyncio.wait(writes)
        assert writes[chosen].cancelled()
        assert rows(blocker) == [n for n in range(3) if n != chosen]


async def test_after_closing_work_is_refused_and_what_waited_too(
    tmp_path: Path, blocker: apsw.Connection
) -> None:
    async with opened(tmp_path) as desk:
        first = asyncio.create_task(desk.write(put(desk, 0)))
        await turns()
        closing = asyncio.create_task(desk.close())
        await turns()
        late = asyncio.create_task(desk.write(put(desk, 1)))
        await turns()
        blocker.execute("ROLLBACK")
        assert await first == 0
        await closing
        await asyncio.wait([late])
        assert late.exception() is None or isinstance(late.exception(), Disconnected)
        with pytest.raises(Disconnected):
            await desk.write(put(desk, 2))
    assert rows(blocker) == ([0, 1] if late.exception() is None else [0])


# --- whose turn it is --------------------------------------------------------------------------------------------


async def test_only_one_is_in_the_turnstile_and_the_next_is_woken(tmp_path: Path) -> None:
    first, second = Turnstile(tmp_path / "lock"), Turnstile(tmp_path / "lock")
    assert await first.enter(1.0)
    waiting = asyncio.create_task(second.enter(10.0))
    await asyncio.wait([waiting], timeout=0.02)
    assert not waiting.done()
    first.leave()
    assert await waiting
    assert not first._try()
    second.leave()
    assert first._try()
    first.close()
    second.close()


async def test_whoever_waits_too_long_or_is_cancelled_holds_nothing(tmp_path: Path) -> None:
    first, second, third = (Turnstile(tmp_path / "lock") for _ in range(3))
    assert await first.enter(1.0)
    assert not await second.enter(0.01)
    waiting = asyncio.create_task(second.enter(10.0))
    await turns()
    first.leave()
    waiting.cancel()
    await asyncio.wait([waiting])
    if not waiting.cancelled():
        second.leave()
    assert await third.enter(5.0), "the turnstile was held by somebody who had given up"
    for turnstile in (first, second, third):
        turnstile.close()


async def test_a_process_that_is_stopped_in_the_turnstile_keeps_nobody_out(
    tmp_path: Path, blocker: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "_TURN_S", 0.05)
    blocker.execute("ROLLBACK")
    code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX);"
    code += "print('in', flush=True); sys.stdin.read()"
    async with opened(tmp_path) as desk:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "writer.lock")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"in\n"
        process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(5):
            for number in range(20):
                assert await desk.write(put(desk, number)) == number
        assert rows(blocker) == list(range(20))
        process.kill()
        process.communicate()


async def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    turnstile = Turnstile(tmp_path / "lock")
    assert not turnstile._try()
    os.close(descriptor)  # what the kernel does for the dead
    assert await turnstile.enter(5.0)
    turnstile.close()
