"""Runs in which the power is cut while a file is made, or brought from one version to the next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from waystation._core.delivery import ACCEPT, Receipt
from waystation._core.message import Message
from waystation._store import database
from waystation._store.schema import VERSION
from waystation.testing.history import History

from .cuts import cut
from .disk import Disk
from .judge import Finding, Tally, conclude
from .obstacles import NEXT_ROWS, next_version
from .store import damage_in, opened
from .town import Town
from .worker import SUBSCRIPTION, TEXT, TOPIC, direct


async def first_starts(folder: Path, seed: int, count: int, longest_ms: int) -> Finding:
    """Cut the power while a file is made: it is there as a whole or not at all, and works either way (F-12)."""
    whole = folder / "whole.db"
    database.create(whole)
    expected = tables_of(whole)

    async def check(path: Path) -> list[str]:
        found = tables_of(path) if path.exists() else set()
        wrong = [] if found in (set(), expected) else [f"half made: {sorted(found)}"]
        return wrong + await use(path)

    return await _interrupted("first starts", folder, seed, count, longest_ms, "begin", lambda _: None, check)


async def migrations(folder: Path, seed: int, count: int, longest_ms: int) -> Finding:
    """Cut the power while an older file is brought up to date: it is old or new, and works either way (F-11)."""

    async def check(path: Path) -> list[str]:
        wrong = half_migrated(path)
        with next_version():
            return wrong + await use(path)

    return await _interrupted(
        "migrations", folder, seed, count, longest_ms, "migrate", database.create, check
    )


def tables_of(path: Path) -> set[str]:
    """Return the names of everything that a file's schema has, and its version."""
    connection = direct(path)
    try:
        names = {
            row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'bus_%'")
        }
        return names | {f"version {connection.pragma('user_version')}"} if names else set()
    finally:
        connection.close()


def half_migrated(path: Path) -> list[str]:
    """Say what is wrong with a file that is neither of this version nor of the next."""
    connection = direct(path)
    try:
        version = connection.pragma("user_version")
        new = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'bus_next%'").get
        rows = connection.execute("SELECT count(*) FROM bus_next").get if new else 0
    finally:
        connection.close()
    known = {(VERSION, 0, 0), (VERSION + 1, 2, NEXT_ROWS)}
    return (
        [] if (version, new, rows) in known else [f"half migrated: version {version}, {new} new, {rows} rows"]
    )


async def use(path: Path) -> list[str]:
    """Send a message through a file and receive it; say what is wrong."""
    wrong = []
    async with opened(path) as transport:
        (outcome,) = await transport.send([Message("m", TOPIC, b"m", content_type=TEXT)])
        if not isinstance(outcome, Receipt):
            wrong.append(f"it takes no message: {outcome}")
        feed = await transport.open_feed(SUBSCRIPTION)
        await feed.settle([(delivery, ACCEPT) for delivery in await feed.receive(2)])
    return wrong + damage_in(path)


async def _interrupted(
    part: str,
    folder: Path,
    seed: int,
    count: int,
    longest_ms: int,
    role: str,
    prepare: Callable[[Path], object],
    check: Callable[[Path], Awaitable[list[str]]],
) -> Finding:
    disk = Disk(folder)
    town = Town(folder, disk.path / "bus.db", seed)
    problems: list[str] = []
    met = 0
    try:
        for _ in range(count):
            for left in disk.path.glob("bus.db*"):
                if left.is_file():
                    left.unlink()
            prepare(town.path)
            town.start(role, "b")
            town.wait_until(lambda: town.is_at_work("b"), "it begins")
            town.pause(longest_ms / 1000)
            life = town.lives["b"]
            cut(town, disk)
            (begun,) = [fault for fault in History.read(folder).faults if fault.what == "begin"]
            met += begun.began_ns == begun.ended_ns
            problems += [f"{life.name}: {each}" for each in await check(town.path)]
            life.history.rename(life.history.with_suffix(".done"))
        tally = Tally(cuts=count, operations=count, met_by_a_fault=met)
        return conclude(part, seed, problems, tally, folder)
    finally:
        town.close()
        disk.unmount()
