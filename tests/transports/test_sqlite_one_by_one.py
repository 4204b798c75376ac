"""Messages that come one by one on `sqlite://`: a member goes straight to each, and misses nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.transports.test_sqlite_receiving import SUBSCRIPTION, opened, send, shown, take, turns
from waystation._core.delivery import ACCEPT
from waystation._core.limits import IDLE_POLL_S
from waystation._core.message import Message
from waystation._store.database import connect
from waystation._store.log import Log
from waystation.testing import VirtualClock
from waystation.transports.sqlite.feed import FRESH_COUNT_MAX


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus.db"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


async def test_a_message_of_which_nobody_was_told_comes_also_while_others_keep_coming_one_by_one(
    path: Path, clock: VirtualClock
) -> None:
    async with opened(path, clock) as transport:
        feed = await transport.open_feed(SUBSCRIPTION)
        await send(transport, -1, key="b")  # from now on its partition has a cursor
        await feed.settle([(delivery, ACCEPT) for delivery in await take(feed, 1)])
        found: list[str] = []
        for number in range(6):
            receiving = asyncio.create_task(take(feed, 1))
            await turns(20)
            if number == 1:
                store = connect(path, patient=True)
                store.execute("BEGIN IMMEDIATE")
                Log(store).append([Message("untold", "t", b"{}", key="a")], clock.time())
                store.execute("COMMIT")
                store.close()
            await send(transport, number, key="b")
            found += [delivery.message.id for delivery in await receiving]
            await feed.settle([(delivery, ACCEPT) for delivery in await receiving])
            await clock.advance(0.4 * IDLE_POLL_S)
        assert found[1] == "m1", "the bell had said where"
        assert "untold" in found


@pytest.mark.parametrize("count", [1, FRESH_COUNT_MAX, FRESH_COUNT_MAX + 1, 100])
async def test_messages_that_came_one_by_one_while_nobody_asked_are_all_there(
    path: Path, clock: VirtualClock, count: int
) -> None:
    async with opened(path, clock) as transport:
        feed = await transport.open_feed(SUBSCRIPTION)
        receiving = asyncio.create_task(feed.receive(10))  # with room, so that all is taken that is free
        await turns(20)
        await send(transport, -1)
        await feed.settle([(delivery, ACCEPT) for delivery in await receiving])
        for number in range(count):
            await send(transport, number)
        await turns(20)
        found = await take(feed, count)
        assert sorted(shown(found)) == sorted((f"m{number}", 1) for number in range(count))
