"""Flushing the write-ahead log: after a commit, beside the event loop, and not while the write lock is held.

SQLite would flush inside `COMMIT` (`synchronous=FULL`), and every other writer of the file would wait for the disk.
What has to be on the disk before a receipt is given is the log up to this commit, and that can be seen to when the lock
is free again: the log is flushed here, on a descriptor of our own. Should a checkpoint come in between, it flushes the
log itself before it copies from it, and the database before the log is begun anew; so what was committed is on the
disk either way.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import threading
from pathlib import Path
from typing import Final, TypeAlias

import apsw

from ..._core.errors import StoreUnavailable

#: Of the log that is written again at a time.
_CHUNK_BYTES: Final = 1024 * 1024

_Job: TypeAlias = "tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]"


class Flusher:
    """One process's flushes, in a thread of their own. Against an executor it saves two of three hand-overs.

    Calls that wait while one flush runs share the next.

    Args:
        database: A file that some connection keeps open, so that its log is there and stays the same file.
        marker: A file that is there while the log may have a hole, so that nobody trusts it; see `mend`.

    Raises:
        OSError: The log could not be opened, or its name not be flushed.
    """

    def __init__(self, database: Path, marker: Path) -> None:
        self._database = database
        self._marker = marker
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        # From now on the kernel tells this descriptor of every write to the log that fails, whoever made it.
        self._descriptor = _open_log(database)
        #: Why nothing can be promised any more, once a flush has failed.
        self.failure: StoreUnavailable | None = None

    def mend(self, connection: apsw.Connection) -> None:
        """Write the log again, if a flush of it has failed since. Blocks; to be called before the first flush.

        The kernel marks what it could not write as clean, so that no later flush would write it, and what is committed
        behind such a hole would be lost with it in a power cut. Written again, it is dirty again. The write lock is
        held meanwhile, so that what is written is what is there. A process that has the log open learns of a failed
        flush by its own next one; the marker is for those that come later.

        Raises:
            apsw.Error: The write lock could not be had.
            OSError: The disk still fails.
        """
        if not self._marker.exists():
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            place = 0
            while data := os.pread(self._descriptor, _CHUNK_BYTES, place):
                place += os.pwrite(self._descriptor, data, place)
            flush(self._descriptor)
            self._marker.unlink(missing_ok=True)
        finally:
            connection.execute("ROLLBACK")

    async def flush(self) -> None:
        """Wait until what was committed so far survives a power cut. Cancelling leaves unknown whether it does.

        Raises:
            StoreUnavailable: A flush has failed, now or before. The kernel may have dropped what it could not write,
                and the next flush would seem to work: it is not tried.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="waystation-flush", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._jobs.put((loop, future))
        await future
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Finish what was asked for, and end. Blocks until then."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
        os.close(self._descriptor)

    def _run(self) -> None:
        ended = False
        while not ended:
            jobs = [self._jobs.get()]
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            ended = None in jobs
            waiting = [job for job in jobs if job is not None]
            if waiting and self.failure is None:
                self._flush()
            for loop, future in waiting:
                try:
                    loop.call_soon_threadsafe(_finish, future)
                except RuntimeError:
                    continue  # the loop was closed: nobody waits

    def _flush(self) -> None:
        try:
            flush(self._descriptor)
        except OSError as error:
            with contextlib.suppress(
                OSError
            ):  # on a disk on which no file can be made, nothing can be published either
                self._marker.touch()
            self.failure = StoreUnavailable(
                f"{self._database}: a flush failed ({error}), so what the disk holds is unknown: check the disk, then "
                "close the bus and open it again"
            )


def _open_log(database: Path) -> int:
    """Open a database's write-ahead log, and see to it that its name survives a power cut."""
    folder = os.open(database.parent, os.O_RDONLY)
    try:
        descriptor = os.open(f"{database}-wal", os.O_RDWR)
        flush(folder)
    finally:
        os.close(folder)
    return descriptor


def flush(descriptor: int) -> None:
    """Put a file's content on the disk, through the disk's own cache where the system offers that (macOS).

    Raises:
        OSError: It may not be there.
    """
    if hasattr(fcntl, "F_FULLFSYNC"):
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
