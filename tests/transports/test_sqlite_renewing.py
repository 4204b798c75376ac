"""Renewals on `sqlite://` that share a transaction with what came while they waited for the lock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.transports.test_sqlite_receiving import SUBSCRIPTION, opened, send, shown, take, turns
from waystation._core.delivery import ACCEPT, Delivery, Retry
from waystation._core.ports import Feed
from waystation._store.database import connect
from waystation.testing import VirtualClock
from waystation.transports.sqlite import SqliteTransport


async def new(transport: SqliteTransport, feed: Feed) -> list[Delivery]:
    await send(transport, 1, key="a")
    return await take(feed, 1)


async def retried(transport: SqliteTransport, feed: Feed) -> list[Delivery]:
    await feed.settle([(delivery, Retry(0.0)) for delivery in await new(transport, feed)])
    return await take(feed, 1)


@pytest.mark.parametrize("taken", [new, retried])
async def test_what_is_settled_in_the_same_transaction_is_not_lost(
    tmp_path: Path, taken: Callable[[SqliteTransport, Feed], Awaitable[list[Delivery]]]
) -> None:
    async with opened(tmp_path / "bus.db", VirtualClock()) as transport:
        feed = await transport.open_feed(SUBSCRIPTION)
        held = await taken(transport, feed)
        await send(transport, 2, key="a")
        await turns(10)
        other = connect(tmp_path / "bus.db", patient=True)
        other.execute("BEGIN IMMEDIATE")
        settling = asyncio.create_task(feed.settle([(held[0], ACCEPT)]))
        await turns(3)
        receiving = asyncio.create_task(take(feed, 1))  # the next in the same partition, with a new token
        await turns(3)
        extending = asyncio.create_task(feed.extend(held))
        await turns(3)
        other.execute("ROLLBACK")
        other.close()
        await settling
        assert shown(await receiving) == [("m2", 1)]
        await extending
