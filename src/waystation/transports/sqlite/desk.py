"""Write transactions beside an event loop.

What a transaction does takes a few dozen microseconds, less than a hop to a thread, and a thread that shares the
interpreter with a busy loop waits for it at every call. So transactions run on the loop. What may take long does not:
the lock is waited for by asking again after a pause of the loop's, and the flush that some commits need is made in a
thread when the lock has been given back (`flusher.py`).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast

import apsw

from ..._core.errors import Disconnected, StoreUnavailable
from ..._core.limits import DEDUPE_WINDOW_S, STORE_BUSY_S
from ..._store.bodies import Bodies
from ..._store.database import connect, translated
from ..._store.log import Log
from .flusher import Flusher
from .turnstile import Turnstile

T = TypeVar("T")

_log = logging.getLogger("waystation.store")

#: Pause before asking again for a lock that somebody without a turnstile holds (maintenance, a strange program), in
#: seconds.
_PAUSE_S: Final = 0.001

#: How long to wait for a turn, in seconds: many times what an honest writer takes.
_TURN_S: Final = 0.5


class _Task(Generic[T]):
    """One piece of work in a transaction that it may share."""

    def __init__(self, work: Callable[[], T], then: Callable[[T], object] | None) -> None:
        self._work, self._then = work, then
        self.taken = False
        self._result: T | None = None
        self._error: BaseException | None = None

    def run(self, connection: apsw.Connection, log: Log, *, alone: bool) -> None:
        """Do it; if it fails, undo it alone."""
        self.taken = True
        if alone:
            self._result = self._work()
            return
        connection.execute("SAVEPOINT bus_task")
        try:
            self._result = self._work()
        except Exception as error:  # noqa: BLE001 - raised to whoever asked for this work
            self._error = error
            log.forget()
            connection.execute("ROLLBACK TO bus_task")
        connection.execute("RELEASE bus_task")

    def fail(self, error: BaseException) -> None:
        """Say that the transaction was lost."""
        self._error = self._error or error

    def finish(self) -> None:
        """Say that the transaction was committed."""
        if self._error is None and self._then is not None:
            self._then(cast("T", self._result))

    def result(self) -> T:
        """Return what the work returned, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return cast("T", self._result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all desks of a process share.

    Attributes:
        path: The database.
        turnstile: The file at which writers wait for their turn.
        flusher: Closed by whoever made it, after the desks.
        on_long_wal: Called after a commit that leaves the write-ahead log long.
        dedupe_window_s: How long a `dedupe_key` counts, in seconds.
    """

    path: Path
    turnstile: Path
    flusher: Flusher
    on_long_wal: Callable[[], None]
    dedupe_window_s: float = DEDUPE_WINDOW_S


class Desk:
    """One connection for write transactions, one after another."""

    def __init__(self, site: Site) -> None:
        self.path = site.path
        self.bodies = Bodies(site.path)
        self.connection = connect(site.path, patient=False, on_long_wal=site.on_long_wal)
        self.log = Log(self.connection, dedupe_window_s=site.dedupe_window_s)
        self._flusher = site.flusher
        self._turnstile = Turnstile(site.turnstile)
        self._entered = False
        self._without_turns_until = 0.0
        self._turn = asyncio.Lock()
        self._waiting: list[_Task[Any]] = []
        self._closed = False

    async def write(
        self, work: Callable[[], T], *, then: Callable[[T], object] | None = None, flush: bool = False
    ) -> T:
        """Run `work` in a write transaction, and after its commit `then` with its result.

        What comes while one waits for the lock joins its transaction: the lock is what is dear. Work that fails is
        undone alone.

        Cancelling before the work was begun leaves it undone. After that it is finished and `then` is called, so that
        what is in memory stays true to the file; the cancellation is raised after that.

        Args:
            flush: Whether to wait until the commit survives a power cut, and not only the death of processes.

        Raises:
            StoreUnavailable: The lock could not be had, or the disk failed; nothing of it happened, unless it says that
                a flush failed.
        """
        task: _Task[T] = _Task(work, then)
        self._waiting.append(task)
        try:
            async with self.turn():
                if not task.taken:
                    await self.begin()
                    self._run_together()
        except Disconnected:
            if not task.taken:  # else it was done with what came before
                raise
        finally:
            if not task.taken:
                self._waiting.remove(task)
        with translated(self.path):
            result = task.result()
        if flush:
            await self.flush()
        return result

    def _run_together(self) -> None:
        """Run what waits in the transaction that was begun, and commit."""
        tasks, self._waiting = self._waiting, []
        with translated(self.path):
            try:
                for task in tasks:
                    task.run(self.connection, self.log, alone=len(tasks) == 1)
                self.commit()
            except BaseException as error:
                self.undo()
                for task in tasks:
                    task.fail(error)
                raise
        for task in tasks:
            task.finish()

    async def read(self, work: Callable[[], T]) -> T:
        """Run `work`, which only looks, when no transaction uses the connection: a commit may do so in a thread.

        Raises:
            StoreError: The file could not be read.
        """
        async with self.turn():
            with translated(self.path):
                return work()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until this process's transaction before has ended, and keep the next one waiting.

        Raises:
            Disconnected: The desk was closed.
        """
        async with self._turn:
            if self._closed:
                raise Disconnected("the bus is closed")
            yield

    async def begin(self) -> None:
        """Take the write lock. Cancelling leaves no transaction.

        Raises:
            StoreUnavailable: Somebody held it for `STORE_BUSY_S`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STORE_BUSY_S
        if loop.time() >= self._without_turns_until:
            self._entered = await self._turnstile.enter(_TURN_S)
            if not self._entered:  # somebody was stopped in it: SQLite's lock alone, for a while
                self._without_turns_until = loop.time() + STORE_BUSY_S
        try:
            with translated(self.path):
                while not self._begun():
                    if loop.time() > deadline:
                        raise apsw.BusyError("the write lock was not given back")
                    await asyncio.sleep(_PAUSE_S * (0.5 + random.random()))
        except BaseException:
            self._leave()
            raise

    def _begun(self) -> bool:
        try:
            self._run("BEGIN IMMEDIATE")
        except apsw.BusyError:
            return False
        return True

    def commit(self) -> None:
        """Commit, and let the next writer in: it survives the death of processes, and after a `flush` a power cut.

        Raises:
            apsw.Error: It failed. `undo` it.
        """
        self._run("COMMIT")
        self._leave()

    async def flush(self) -> None:
        """Wait until what was committed here survives a power cut. Cancelling leaves unknown whether it does.

        Raises:
            StoreUnavailable: A flush has failed, now or before.
        """
        await self._flusher.flush()

    @property
    def failure(self) -> StoreUnavailable | None:
        """Why no flush can be trusted any more, if one has failed."""
        return self._flusher.failure

    def undo(self) -> None:
        """Roll back what is open, and let the next writer in."""
        self.log.forget()
        try:
            if self.connection.in_transaction:
                self._run("ROLLBACK")
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._entered:
            self._entered = False
            self._turnstile.leave()

    def _run(self, statement: str) -> None:
        """Run one of the statements that bound a transaction.

        They are not cached: a user's statement of the same words must meet the authorizer (`transaction.py`).
        """
        self.connection.execute(statement, can_cache=False)

    async def close(self) -> None:
        """Finish what runs, and close the connection. May be called twice."""
        async with self._turn:
            if not self._closed:
                self._closed = True
                self._turnstile.close()
                try:
                    self.connection.close()
                except (
                    apsw.Error
                ) as error:  # the last one writes the log back; else the next one to open does
                    _log.warning("%s: closed, but its log could not be written back: %s", self.path, error)
