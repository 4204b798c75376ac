"""The supervisor's own access to the store of a run: setting it up, draining it, and reading its books."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from waystation._core.inspection import GroupInfo
from waystation._core.ports import Clock, Topology
from waystation._runtime.clock import SystemClock
from waystation.testing.checkers import liveness
from waystation.transports.sqlite import SqliteTransport

from .judge import Books
from .town import Town
from .worker import SUBSCRIPTION, TOPIC, direct

#: How long draining may take after the last fault, back-off and the end of leases included, in seconds.
SETTLED_WITHIN_S = 30.0


@dataclass
class Drained:
    """What was found at the end of a run."""

    books: Books
    problems: list[str] = field(default_factory=list)


@asynccontextmanager
async def opened(path: Path, clock: Clock | None = None) -> AsyncIterator[SqliteTransport]:
    """This process's own access, with the group declared, and tables for effects and for an outbox."""
    transport = SqliteTransport(str(path), clock=clock or SystemClock())
    await transport.open()
    try:
        await transport.declare(Topology((TOPIC, "done"), (SUBSCRIPTION,)))
        transaction = await transport.begin(flush=True)
        for table in ("effects", "outbox"):
            await transaction.execute(f"CREATE TABLE IF NOT EXISTS {table} (id TEXT)")
        await transaction.commit()
        yield transport
    finally:
        await transport.close()


async def drain(town: Town, *, release: bool = True, clock: Clock | None = None, **options: float) -> Drained:
    """Have all that is left handled by fresh receivers, after everybody has ended; then read the books.

    Args:
        release: Whether what the dead held is given back at once, as by their supervisor; else their leases must end.
        options: Of the receivers.
    """
    healed_s = time.monotonic()
    emptied_s: float | None = None
    async with opened(town.path, clock) as transport:
        for pid in town.dead_pids if release else ():
            await transport.release_process(pid)
        for name in ("drain", "empty"):
            town.start("consume", name, batch_max=1000, pause_s=0.0, easy=1, **options)
        try:
            async with asyncio.timeout(2 * SETTLED_WITHIN_S):
                while (await info(transport)).lag or await transport.scheduled(limit=1):
                    await asyncio.sleep(0.02)
            emptied_s = time.monotonic()
        except TimeoutError:
            pass  # what is owed says it
        for name in ("drain", "empty"):
            town.terminate(name)
        books = await read_books(transport)
    wrong = liveness(healed_s=healed_s, settled_s=emptied_s, owed=books.owed, limit_s=SETTLED_WITHIN_S)
    return Drained(books, [] if wrong is None else [wrong])


async def read_books(transport: SqliteTransport) -> Books:
    """Ask the store what it has."""
    books = await info(transport)
    (topic,) = [each for each in await transport.topics() if each.name == TOPIC]
    dead = [letter.message.id for letter in await transport.dead(limit=10**9)]
    kept = [message.id for _, message in await transport.browse(TOPIC, start="earliest", limit=10**9)]
    waiting = [each.message.id for each in await transport.scheduled(limit=10**9)]
    return Books(
        stored=topic.next_offset, owed=books.lag, dead=dead, kept=frozenset([*kept, *waiting, *dead])
    )


async def info(transport: SqliteTransport) -> GroupInfo:
    """What the group has to do."""
    (found,) = [each for each in await transport.groups() if each.topic == TOPIC]
    return found


def ids_in(path: Path, table: str) -> list[str]:
    """The ids in a table of the application's."""
    connection = direct(path)
    try:
        return [row[0] for row in connection.execute(f"SELECT id FROM {table} ORDER BY rowid")]
    finally:
        connection.close()


def damage_in(path: Path) -> list[str]:
    """What SQLite finds wrong in the file."""
    connection = direct(path)
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    finally:
        connection.close()
    return [] if found == ["ok"] else [f"the file is damaged: {each}" for each in found[:5]]
