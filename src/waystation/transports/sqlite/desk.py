"""Small transactions beside an event loop: claims and settlements.

They take a few dozen microseconds, less than a hop to a thread, so they run on the loop, and never wait there: when
another process holds the write lock, the whole transaction is run in a thread that may wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, cast

import apsw

from ..._core.errors import Disconnected
from ..._store.database import connect, set_patience, translated
from ..._store.log import Log

T = TypeVar("T")

#: Stands for "the write lock is held elsewhere", which no transaction returns.
_BUSY = object()


class Desk:
    """One connection for short write transactions, one after another."""

    def __init__(self, path: Path, *, flush: bool, on_long_wal: Callable[[], None]) -> None:
        self.connection = connect(path, flush=flush, patient=False, on_long_wal=on_long_wal)
        self.log = Log(self.connection)
        self._path = path
        self._may_block = not flush  # a flush takes too long for the loop
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="waystation-desk")
        self._closed = False

    async def write(self, work: Callable[[], T], *, then: Callable[[T], object] | None = None) -> T:
        """Run `work` in a write transaction; after the commit call `then` with its result, on the loop.

        Cancelling does not stop it: the transaction is finished and `then` is called, so that what is in memory stays
        true to the file; the cancellation is raised after that.

        Raises:
            StoreUnavailable: The lock could not be had, or the disk failed; nothing of it happened.
        """
        async with self._lock:
            if self._closed:
                raise Disconnected("the bus is closed")
            result = self._on_loop(work) if self._may_block else _BUSY
            cancelled: asyncio.CancelledError | None = None
            if result is _BUSY:
                result, cancelled = await self._in_thread(work)
            if then is not None:
                then(cast("T", result))
            if cancelled is not None:
                raise cancelled
            return cast("T", result)

    async def close(self) -> None:
        """Finish what runs, and close the connection. May be called twice."""
        async with self._lock:
            if not self._closed:
                self._closed = True
                self._thread.shutdown()
                self.connection.close()

    def _on_loop(self, work: Callable[[], T]) -> T | object:
        with translated(self._path):
            try:
                return self._transaction(work)
            except apsw.BusyError:
                return _BUSY

    async def _in_thread(self, work: Callable[[], T]) -> tuple[T, asyncio.CancelledError | None]:
        """Run where waiting is allowed. The connection belongs to that thread until it is done, cancelled or not."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._patiently, work)
        cancelled: asyncio.CancelledError | None = None
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError as error:
                cancelled = error
        return running.result(), cancelled

    def _patiently(self, work: Callable[[], T]) -> T:
        set_patience(self.connection, patient=True)
        try:
            with translated(self._path):
                return self._transaction(work)
        finally:
            set_patience(self.connection, patient=False)

    def _transaction(self, work: Callable[[], T]) -> T:
        run = self.connection.execute
        run("BEGIN IMMEDIATE")
        try:
            result = work()
            run("COMMIT")
        except BaseException:
            self.log.forget()
            if self.connection.in_transaction:
                run("ROLLBACK")
            raise
        return result
