"""A file that something else in this process has open is refused."""

import sqlite3
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from waystation import Bus, ConfigurationError


async def test_a_file_that_another_sqlite_library_has_open_is_refused_until_it_is_closed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "shop.db"
    bus = Bus(f"sqlite:///{path}")
    async with bus:
        await bus.publish("orders", 1)
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT count(*) FROM bus_topic").fetchall()
        with pytest.raises(
            ConfigurationError, match=r"shop.db is open in this process through something else"
        ):
            await bus.__aenter__()
    async with bus:
        await bus.publish("orders", 2)


async def test_connections_of_the_same_library_are_no_strangers(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    async with Bus(f"sqlite:///{path}") as bus, Bus(f"sqlite:///{path}") as another:
        await bus.publish("orders", 1)
        await another.publish("orders", 2)
        connection = apsw.Connection(str(path))
        async with Bus(f"sqlite:///{path}") as third:
            await third.publish("orders", 3)
        connection.close()
