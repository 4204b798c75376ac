"""One transaction for the user's rows, outgoing messages, the inbox mark and the settlement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import apsw

from ..._core.delivery import Delivery, Settlement
from ..._core.errors import ConfigurationError, Disconnected, TransactionLost
from ..._core.limits import TRANSACTION_S_MAX
from ..._core.message import Message
from ..._core.ports import Clock, Timer
from ..._store.clock import StoreClock
from ..._store.database import connect, set_patience, translated
from ..._store.groups import group_id
from ..._store.log import Log
from ..._store.settle import Settled, settle
from .feed import check_lost

T = TypeVar("T")

#: What SQLite asks its authorizer about that a user's statement may not do: it would end our transaction or reach
#: another file.
_FORBIDDEN = (
    apsw.SQLITE_TRANSACTION,
    apsw.SQLITE_SAVEPOINT,
    apsw.SQLITE_ATTACH,
    apsw.SQLITE_DETACH,
    apsw.SQLITE_PRAGMA,
)
_WRITES = (
    apsw.SQLITE_INSERT,
    apsw.SQLITE_UPDATE,
    apsw.SQLITE_DELETE,
    apsw.SQLITE_DROP_TABLE,
    apsw.SQLITE_ALTER_TABLE,
)


class TransactionDesk:
    """The connection on which a process's transactions run, one after another."""

    def __init__(
        self, path: Path, clock: Clock, store_clock: StoreClock, on_long_wal: Callable[[], None]
    ) -> None:
        self.path, self.clock, self.store_clock = path, clock, store_clock
        self.connection = connect(path, flush=False, patient=False, on_long_wal=on_long_wal)
        self.log = Log(self.connection)
        self.lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="waystation-transaction")
        self._flushes = False
        self._theirs = False  # whether the statement being prepared is a user's
        self._closed = False
        self.connection.set_authorizer(self._authorize)

    def set_flush(self, *, flush: bool) -> None:
        """Choose whether the next transaction's commit survives a power cut."""
        if self._closed:
            raise Disconnected("the bus is closed")
        if flush != self._flushes:
            self.connection.pragma("synchronous", "FULL" if flush else "NORMAL")
            self._flushes = flush

    def run(self, statement: str, bindings: Any = ()) -> apsw.Cursor:
        """Run one of our statements."""
        return self.connection.execute(statement, bindings, can_cache=False)

    def run_theirs(self, statement: str, bindings: Any, *, many: bool) -> list[tuple[Any, ...]]:
        """Run a user's statement.

        Raises:
            ConfigurationError: It would end the transaction, reach another file, or write Waystation's tables.
        """
        self._theirs = True
        execute = self.connection.executemany if many else self.connection.execute
        try:
            with translated(self.path):
                return execute(statement, bindings).fetchall()
        finally:
            self._theirs = False

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run something that may wait. Cancelling waits for it too, since the connection is in use."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    async def close(self) -> None:
        """Wait for the transaction that is open, and close the connection. May be called twice."""
        async with self.lock:
            if not self._closed:
                self._closed = True
                self._thread.shutdown()
                self.connection.close()

    def _authorize(self, action: int, first: str | None, *_: str | None) -> int:
        if self._theirs and (
            action in _FORBIDDEN or (action in _WRITES and (first or "").startswith("bus_"))
        ):
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK


class SqliteTransaction:
    """An open transaction. The write lock is taken at its first statement, and held for `TRANSACTION_S_MAX` at most."""

    def __init__(
        self, desk: TransactionDesk, *, flush: bool, committed: Callable[[set[int], list[Settled]], None]
    ) -> None:
        self._desk, self._flush, self._committed = desk, flush, committed
        self._begun = self._ended = False
        self._timer: Timer | None = None
        self._touched: set[int] = set()
        self._settled: list[Settled] = []
        self._groups: dict[str, int] = {}

    async def execute(
        self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Run one statement of the user's and return its rows."""
        await self._begin()
        return self._desk.run_theirs(sql, parameters, many=False)

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any] | dict[str, Any]]) -> None:
        """Run one statement of the user's for each row of parameters."""
        await self._begin()
        self._desk.run_theirs(sql, rows, many=True)

    async def send(self, messages: Sequence[Message]) -> None:
        """Put messages into the log when the transaction commits."""
        await self._begin()
        with translated(self._desk.path):
            self._touched |= self._desk.log.append(messages, self._desk.store_clock.now())

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]]) -> None:
        """Settle when the transaction commits."""
        await self._begin()
        with translated(self._desk.path):
            settled = settle(self._desk.connection, outcomes, self._desk.store_clock.now())
        self._settled.append(settled)
        check_lost(settled)

    async def mark_seen(self, group: str, message_id: str) -> bool:
        """Put a mark into the inbox; False if it was there."""
        await self._begin()
        number = self._groups.get(group)
        if number is None:
            found = group_id(self._desk.connection, group)
            if found is None:
                raise ConfigurationError(f"there is no group {group!r}: it was removed while its handler ran")
            number = self._groups[group] = found
        with translated(self._desk.path):
            self._desk.connection.execute(
                "INSERT INTO bus_inbox VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (number, message_id, self._desk.store_clock.now()),
            )
            return self._desk.connection.changes() > 0

    async def savepoint(self) -> None:
        """Begin a part that can be undone alone."""
        await self._begin()
        self._desk.connection.execute("SAVEPOINT bus_part")

    async def release(self) -> None:
        """Keep the part begun last."""
        self._check()
        self._desk.connection.execute("RELEASE bus_part")

    async def undo(self) -> None:
        """Undo the part begun last."""
        self._check()
        self._desk.connection.execute("ROLLBACK TO bus_part")
        self._desk.connection.execute("RELEASE bus_part")
        self._desk.log.forget()

    async def commit(self) -> None:
        """Commit; then tell the receivers. A failed commit is rolled back whole."""
        self._check()
        if self._timer is not None:
            self._timer.cancel()
        try:
            if self._begun and self._flush:
                await self._desk.in_thread(self._commit_now)
            elif self._begun:
                self._commit_now()
        except apsw.Error as error:
            self._undo_all()
            raise TransactionLost(f"the transaction was rolled back: {error}") from error
        self._end()
        self._committed(self._touched, self._settled)

    async def rollback(self) -> None:
        """Undo everything. May be called after it has ended."""
        if not self._ended:
            self._undo_all()

    def _commit_now(self) -> None:
        self._desk.run("COMMIT")

    async def _begin(self) -> None:
        self._check()
        if self._begun:
            return
        await self._desk.lock.acquire()
        try:
            self._desk.set_flush(flush=self._flush)
            with translated(self._desk.path):
                try:
                    self._desk.run("BEGIN IMMEDIATE")
                except apsw.BusyError:
                    await self._desk.in_thread(self._begin_patiently)
        except BaseException:
            self._undo_all()
            self._desk.lock.release()
            raise
        self._begun = True
        self._timer = self._desk.clock.call_later(TRANSACTION_S_MAX, self._undo_all)

    def _begin_patiently(self) -> None:
        set_patience(self._desk.connection, patient=True)
        try:
            self._desk.run("BEGIN IMMEDIATE")
        finally:
            set_patience(self._desk.connection, patient=False)

    def _check(self) -> None:
        if self._ended:
            raise TransactionLost(
                f"the transaction has ended; one that is open for over {TRANSACTION_S_MAX:g} s is rolled back, since "
                "it keeps every other writer waiting: do slow work before the first statement"
            )

    def _undo_all(self) -> None:
        self._desk.log.forget()
        if self._desk.connection.in_transaction:
            self._desk.run("ROLLBACK")
        self._end()

    def _end(self) -> None:
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._begun:
            self._begun = False
            self._desk.lock.release()
