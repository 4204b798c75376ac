"""Processes that are in the way of others, or that make and migrate the file."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from unittest.mock import patch

import apsw

from waystation._store import database
from waystation._store.clock import StoreClock
from waystation._store.maintenance import Maintenance
from waystation._store.schema import MIGRATIONS, VERSION

from .worker import Worker, direct

#: A migration of a version to come. It takes a while, so that something can come in between.
NEXT_ROWS = 3000
NEXT_STEP = f"""
CREATE TABLE bus_next (id INTEGER PRIMARY KEY, word TEXT NOT NULL) STRICT;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {NEXT_ROWS})
INSERT INTO bus_next SELECT i, hex(randomblob(60)) FROM n;
CREATE INDEX bus_next_word ON bus_next (word);
"""


async def lock(worker: Worker) -> None:
    """Hold the write lock with an uncommitted row, and commit when told to."""
    connection = direct(worker.job.path)
    connection.execute("BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS mine (x); INSERT INTO mine VALUES (1)")
    worker.recorder.nemesis("lock")
    await worker.told()
    with suppress(apsw.FullError):  # another fault may have filled the disk meanwhile; nobody needs this row
        connection.execute("COMMIT")
    worker.recorder.nemesis("lock", over=True)
    connection.close()


async def read(worker: Worker) -> None:
    """Keep a read transaction open until killed."""
    connection = direct(worker.job.path)
    cursor = connection.execute("SELECT count(*) FROM bus_topic UNION ALL SELECT 2 UNION ALL SELECT 3")
    next(cursor)
    worker.recorder.nemesis("read")
    await worker.told()
    connection.close()


async def keep(worker: Worker) -> None:
    """Checkpoint, delete and give space back as fast as can be, until told to end."""
    path = Path(worker.job.path)
    database.create(path)
    keeper = Maintenance(path, StoreClock(time.time, time.monotonic), path.with_name("keep.lock"))
    connection = direct(worker.job.path)
    worker.recorder.nemesis("keep")
    while not worker.stopping.is_set():
        with suppress(apsw.BusyError, apsw.FullError):
            keeper._checkpoint(connection)
            keeper._sweep(connection)
            connection.execute("PRAGMA incremental_vacuum(8)").fetchall()
        keeper._prevented = 0.0
        await worker.pause(0.01)
    connection.close()
    keeper.close()


async def begin(worker: Worker) -> None:
    """Create the file, declare, and wait."""
    worker.recorder.nemesis("begin")
    await worker.open_feed()
    worker.recorder.nemesis("begin", over=True)
    await worker.told()


async def migrate(worker: Worker) -> None:
    """Bring the file to the next version, and wait."""
    with next_version():
        await begin(worker)


def next_version() -> AbstractContextManager[object]:
    """Be, in a `with` block, the version that follows: one that has another table, and fills it."""
    return patch.multiple(database, MIGRATIONS=(*MIGRATIONS, NEXT_STEP), VERSION=VERSION + 1)
