"""Recurring messages on `sqlite://`: several processes on one file, and disks that are full or fail."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from tests.transports.faulty_disk import failing_from, faulty_disk
from waystation._core.delivery import ACCEPT
from waystation._core.errors import StoreUnavailable
from waystation._core.message import Message
from waystation._core.ports import Recurrence, Subscription, Topology
from waystation._runtime.clock import SystemClock
from waystation.transports.sqlite import SqliteTransport, sender

TICK = Recurrence("tick", "ticks", "every 1s")
ROOT = Path(__file__).parents[2]

SUBSCRIPTION = Subscription(pattern="ticks", group="g")


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteTransport]:
    transport = SqliteTransport(str(path), clock=SystemClock())
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


def tick(number: float) -> list[Message]:
    return [Message(f"tick@{number:g}", "ticks", b"{}", deliver_at=number)]


async def test_two_that_race_through_the_times_publish_each_once(tmp_path: Path) -> None:
    """Each goes on from what it is told, as fast as it can, and asks some times twice."""
    path, times = tmp_path / "bus.db", 60

    async def race(transport: SqliteTransport, seed: int) -> None:
        chance = random.Random(seed)
        due = await transport.recur(TICK, None, 1.0, ())
        while due is not None and due <= times:
            told = await transport.recur(TICK, due, due + 1.0, tick(due))
            assert told is not None
            assert told > due
            if chance.random() < 0.3:
                assert await transport.recur(TICK, due, due + 1.0, tick(due)) is not None
            due = told

    async with opened(path) as one, opened(path) as other:
        await asyncio.gather(race(one, 1), race(one, 2), race(other, 3), race(other, 4))
        found = await one.browse("ticks", start="earliest", limit=1000)
    assert sorted(message.deliver_at or 0.0 for _, message in found) == [float(n + 1) for n in range(times)]


RACER = """
import asyncio, sys
from tests.transports.test_sqlite_recurring import TICK, opened, tick
from pathlib import Path

async def main():
    async with opened(Path(sys.argv[1])) as transport:
        due = await transport.recur(TICK, None, 1.0, ())
        while due <= 100_000:
            due = await transport.recur(TICK, due, due + 1.0, tick(due))
            print(due, flush=True)

asyncio.run(main())
"""


@pytest.mark.timeout(60)  # five interpreters are started
async def test_processes_that_are_killed_neither_lose_a_time_nor_publish_it_twice(tmp_path: Path) -> None:
    path, chance = tmp_path / "bus.db", random.Random(41)

    async def race() -> asyncio.subprocess.Process:
        racer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RACER, str(path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert racer.stdout is not None
        await racer.stdout.readline()
        return racer

    racers = [await race(), await race()]
    for _ in range(3):
        racer = racers.pop(0)
        assert racer.stdout is not None
        for _ in range(chance.randrange(1, 30)):
            await racer.stdout.readline()
        racer.kill()
        await racer.communicate()
        racers.append(await race())
    for racer in racers:
        racer.kill()
        await racer.communicate()
    async with opened(path) as transport:
        (kept,) = await transport.recurring()
        found = await transport.browse("ticks", start="earliest", limit=1_000_000)
    times = sorted(message.deliver_at or 0.0 for _, message in found)
    assert times == [float(number) for number in range(1, int(kept.due))]
    assert len(times) > 10


async def test_a_waiting_receiver_of_another_process_is_woken(tmp_path: Path) -> None:
    async with opened(tmp_path / "bus.db") as one, opened(tmp_path / "bus.db") as other:
        await other.declare(Topology(("ticks",), (SUBSCRIPTION,)))
        feed = await other.open_feed(SUBSCRIPTION)
        receiving = asyncio.create_task(feed.receive(10))
        await asyncio.sleep(0)
        await one.recur(TICK, None, 1.0, ())
        await one.recur(TICK, 1.0, 2.0, tick(1.0))
        deliveries = await receiving
        assert [delivery.message.id for delivery in deliveries] == ["tick@1"]
        await feed.settle([(delivery, ACCEPT) for delivery in deliveries])


async def test_on_a_full_disk_nothing_happens_and_the_time_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "bus.db") as transport:
        await transport.recur(TICK, None, 1.0, ())
        monkeypatch.setattr(sender, "_free_bytes", lambda _: 0)
    async with opened(tmp_path / "bus.db") as transport:
        with pytest.raises(StoreUnavailable, match="free some space"):
            await transport.recur(TICK, 1.0, 2.0, tick(1.0))
        assert await transport.recur(TICK, None, 9.0, ()) == 1.0


async def test_after_a_flush_that_failed_asking_again_tells(tmp_path: Path) -> None:
    with faulty_disk() as disk:
        async with opened(tmp_path / "bus.db") as transport:
            await transport.recur(TICK, None, 1.0, ())
            disk.heal()
            disk.on_flush = failing_from(1, apsw.IOError("the flush failed"))
            for _ in range(2):  # the second time nothing is to be done, and still it is not certain
                with pytest.raises(StoreUnavailable):
                    await transport.recur(TICK, 1.0, 2.0, tick(1.0))
            disk.heal()
    async with opened(tmp_path / "bus.db") as transport:
        assert await transport.recur(TICK, 1.0, 2.0, tick(1.0)) == 2.0
        found: Sequence[tuple[int, Message]] = await transport.browse("ticks", start="earliest", limit=9)
        assert [message.id for _, message in found] == ["tick@1"]
