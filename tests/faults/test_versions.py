"""A store written by one version and opened by another (F-44)."""

from __future__ import annotations

from pathlib import Path

import pytest

from waystation._core.delivery import ACCEPT, Receipt
from waystation._core.errors import StoreVersion
from waystation._core.message import Message
from waystation._store import database
from waystation._store.schema import APPLICATION_ID, MIGRATIONS, PAGE_BYTES, VERSION
from waystation.transports.sqlite import SqliteTransport

from .beginnings import half_migrated
from .obstacles import next_version
from .store import damage_in, info, opened
from .worker import SUBSCRIPTION, TEXT, TOPIC, direct


def make(path: Path, version: int) -> None:
    """A file as an earlier version of this program has made it."""
    connection = direct(path)
    connection.execute(
        f"PRAGMA page_size={PAGE_BYTES}; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL"
    )
    for step in MIGRATIONS[:version]:
        connection.execute(step)
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", version)
    connection.close()


def shape(path: Path) -> dict[str, list[tuple[str, ...]]]:
    """The columns of every table and index, whatever way they came to be."""
    connection = direct(path)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'bus_%'")]
    columns = {
        name: [
            tuple(map(str, row)) for row in connection.execute(f"SELECT * FROM pragma_table_xinfo('{name}')")
        ]
        for name in names
    }
    connection.close()
    return columns


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_a_file_of_every_earlier_version_becomes_like_a_new_one(tmp_path: Path, version: int) -> None:
    make(tmp_path / "old.db", version)
    database.create(tmp_path / "old.db")
    database.create(tmp_path / "new.db")
    assert shape(tmp_path / "old.db") == shape(tmp_path / "new.db")


async def send(transport: SqliteTransport, *ids: str) -> None:
    outcomes = await transport.send([Message(id_, TOPIC, id_.encode(), content_type=TEXT) for id_ in ids])
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)


async def test_the_next_version_reads_what_this_one_wrote(tmp_path: Path) -> None:
    path = tmp_path / "bus.db"
    async with opened(path) as transport:
        await send(transport, "a", "b", "c")
        feed = await transport.open_feed(SUBSCRIPTION)
        await feed.settle([(delivery, ACCEPT) for delivery in await feed.receive(1)])
    with next_version():
        async with opened(path) as transport:
            assert (await info(transport)).lag == 2
            await send(transport, "d")
            feed = await transport.open_feed(SUBSCRIPTION)
            seen: list[str] = []
            while len(seen) < 3:
                deliveries = await feed.receive(9)
                await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
                seen += [delivery.message.id for delivery in deliveries]
            assert sorted(seen) == ["b", "c", "d"]
    assert half_migrated(path) == []
    assert damage_in(path) == []


async def test_this_version_refuses_what_the_next_one_wrote_and_leaves_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "bus.db"
    with next_version():
        async with opened(path) as transport:
            await send(transport, "a")
    with pytest.raises(StoreVersion, match="pip install -U waystation"):
        async with opened(path):
            pass
    with next_version():
        async with opened(path) as transport:
            assert (await info(transport)).lag == 1


async def test_a_process_of_this_version_that_is_open_meets_no_half_migrated_file(tmp_path: Path) -> None:
    """A rolling upgrade: the new version migrates while the old one still works."""
    path = tmp_path / "bus.db"
    async with opened(path) as old:
        await send(old, "a")
        with next_version():
            async with opened(path) as new:
                await send(new, "b")
                await send(old, "c")
                assert (await info(new)).lag == 3
    assert half_migrated(path) == []
