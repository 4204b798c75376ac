"""Keeping the file in shape while it is used.

The write-ahead log stays short, what every group has settled is deleted, and its space is given back.

Each process has one such thread; a lock on a file of their own elects the one that works, at every turn anew. Nothing
here is needed for correctness: without it the file grows.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw

from .._core.limits import (
    MEMBER_LEASE_S,
    RETENTION_SWEEP_S,
    WAL_ALARM_BYTES,
)
from . import groups, members, references
from .bodies import Bodies
from .clock import StoreClock
from .database import connect, set_patience
from .readers import readers_of
from .retention import Retention, declared, delete_old, delete_oldest, is_too_large

logger = logging.getLogger("waystation.store")

#: Marks of publishing once deleted in one transaction: a few milliseconds of the write lock.
_DELETE_MARKS_MAX: Final = 1000

#: Free pages given back to the file system in one transaction: a few milliseconds again.
_VACUUM_PAGES_MAX: Final = 256

#: Free pages that are left in the file for the next messages, 16 MiB, or half of the file if that is more: what is
#: given back under load is soon wanted again.
_FREE_PAGES_KEPT: Final = 2048

#: How long a checkpoint may wait for readers, in seconds: it holds the write lock meanwhile.
_CHECKPOINT_WAIT_S: Final = 0.05

#: How soon after a checkpoint that readers have prevented the next is tried, in seconds: ten times the above, so that a
#: long reader costs the writers a tenth of their time at most.
_CHECKPOINT_PAUSE_S: Final = 0.5

#: How often files of large bodies are swept, in sweeps: each of them is looked up.
_BODIES_EVERY_SWEEPS: Final = 15

#: How often the inbox is swept, and files that belong to nobody, in sweeps: those are whole scans.
_SCAN_EVERY_SWEEPS: Final = 300

_DELETE_MARKS = """
    DELETE FROM bus_dedupe WHERE (topic, key) IN (
        SELECT topic, key FROM bus_dedupe WHERE expires <= ? ORDER BY expires LIMIT ?)"""


class Maintenance:
    """The thread. `nudge` it when the write-ahead log has grown."""

    def __init__(self, path: Path, clock: StoreClock, lock: Path) -> None:
        self._path, self._clock, self._lock = path, clock, lock
        self._too_large = False  # whether nothing more may be deleted, and it was said
        self._bodies = Bodies(path)
        self._wal = path.with_name(path.name + "-wal")
        self._wake = threading.Event()
        self._stopping = False
        self._alarmed = False
        self._prevented = -_CHECKPOINT_PAUSE_S  # when readers did so last
        self._sweeps = 0
        self._thread = threading.Thread(target=self._run, name="waystation-maintenance", daemon=True)
        self._thread.start()

    def nudge(self) -> None:
        """Checkpoint soon. Called by the writer when the log is long."""
        self._wake.set()

    def wal_bytes(self) -> int:
        """Return the size of the write-ahead log; by its name only, since opening it would drop SQLite's locks."""
        try:
            return os.stat(self._wal).st_size
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """Stop after the step that is running."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        connection = connect(self._path, patient=True)
        swept = time.monotonic()
        try:
            while not self._stopping:
                nudged = self._wake.wait(max(0.0, swept + RETENTION_SWEEP_S - time.monotonic()))
                self._wake.clear()
                due = time.monotonic() - swept >= RETENTION_SWEEP_S
                swept = time.monotonic() if due else swept
                with _tolerant(), _elected(self._lock) as mine:
                    if mine and nudged and not self._stopping:
                        self._checkpoint(connection)
                    if mine and due and not self._stopping:
                        self._sweep(connection)
        finally:
            connection.close()

    def _checkpoint(self, connection: apsw.Connection) -> None:
        """Write the log back, most of it beside the writers, the rest with the lock held, so that it starts anew.

        Its file keeps its size, since overwriting blocks is cheaper to flush than appending new ones; what a long
        reader has made it grow to is cut off once that has ended.
        """
        if time.monotonic() < self._prevented + _CHECKPOINT_PAUSE_S:
            return
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        grown = self.wal_bytes() > WAL_ALARM_BYTES
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if grown else apsw.SQLITE_CHECKPOINT_RESTART
        set_patience(connection, patient=True, limit_s=_CHECKPOINT_WAIT_S)
        try:
            connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            self._prevented = time.monotonic()
            if grown and not self._alarmed:
                logger.warning(
                    "the write-ahead log of %s has %d MiB: %s reads without end and keeps it from shrinking",
                    self._path,
                    self.wal_bytes() >> 20,
                    " or ".join(f"process {pid}" for pid in readers_of(self._path)) or "some process",
                )
            self._alarmed = grown
        else:
            self._alarmed = False
        finally:
            set_patience(connection, patient=True)

    def _sweep(self, connection: apsw.Connection) -> None:
        now = self._clock.now()
        self._sweeps += 1
        retention = declared(connection)
        while delete_old(connection, retention, now) and not self._stopping:
            continue
        self._make_smaller(connection, retention)
        self._delete(connection, _DELETE_MARKS, (now, _DELETE_MARKS_MAX))
        if connection.execute("SELECT 1 FROM bus_reply WHERE expires < ? LIMIT 1", (now,)).get:
            connection.execute("DELETE FROM bus_reply WHERE expires < ?", (now,))
        if connection.execute(
            "SELECT 1 FROM bus_member WHERE heard < ? LIMIT 1", (now - MEMBER_LEASE_S,)
        ).get:
            members.sweep(connection, now)
        for name in groups.expired(connection, now):
            with connection:  # a savepoint, in which it is looked at again: its instance may be back
                if name in groups.expired(connection, now):
                    groups.remove(connection, name)
        if self._sweeps % _BODIES_EVERY_SWEEPS == 0:
            references.sweep_gone(connection, self._bodies)
        if self._sweeps % _SCAN_EVERY_SWEEPS == 0:
            references.sweep_orphans(connection, self._bodies)
            connection.execute("DELETE FROM bus_inbox WHERE seen < ?", (now - retention.inbox_s,))
        while self._has_spare_pages(connection) and not self._stopping:
            connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES_MAX})").fetchall()

    def _make_smaller(self, connection: apsw.Connection, retention: Retention) -> None:
        """Delete what is settled until the file holds no more than it should, or nothing of that is left."""
        while is_too_large(connection, retention):
            with connection:  # a savepoint: no group may come in between
                deleted = delete_oldest(connection)
            if self._stopping:
                return
            if not deleted:
                if not self._too_large:
                    logger.warning(
                        "%s holds more than keep_bytes, and nothing in it is settled by every group: nothing is "
                        "dropped; see `waystation lag` for who is behind",
                        self._path,
                    )
                self._too_large = True
                return
        self._too_large = False

    def _has_spare_pages(self, connection: apsw.Connection) -> bool:
        free, total = connection.pragma("freelist_count"), connection.pragma("page_count")
        return bool(free > max(_FREE_PAGES_KEPT, total // 2))

    def _delete(self, connection: apsw.Connection, statement: str, bindings: tuple[float, ...]) -> None:
        """Run a statement that deletes as many rows as its last binding says, until it finds less."""
        while not self._stopping:
            connection.execute(statement, bindings)
            if connection.changes() < bindings[-1]:
                return


@contextlib.contextmanager
def _elected(lock: Path) -> Iterator[bool]:
    """Try to be the one process that does maintenance now."""
    lock.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _tolerant() -> Iterator[None]:
    """Put a step off when the store is busy or the disk full; the next turn tries again."""
    try:
        yield
    except (apsw.BusyError, apsw.FullError, apsw.LockedError) as error:
        logger.debug("maintenance was put off: %s", error)
    except (apsw.Error, OSError) as error:
        logger.warning("maintenance failed and was put off: %s", error)
