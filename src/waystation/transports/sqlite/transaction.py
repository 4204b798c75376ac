"""One transaction for the user's rows, outgoing messages, the inbox mark and the settlement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apsw

from ..._core.delivery import Delivery, Settlement
from ..._core.errors import ConfigurationError, Disconnected, TransactionLost, WaystationError
from ..._core.limits import TRANSACTION_S_MAX
from ..._core.message import Message
from ..._core.ports import Clock, Timer
from ..._store.clock import StoreClock
from ..._store.database import translated
from ..._store.groups import group_id
from ..._store.log import prepare
from ..._store.settle import Settled, by_lease, settle
from ..._store.ticket import Ticket
from .desk import Desk, Site
from .feed import check_lost
from .luggage import check_in, confirm

#: What SQLite asks its authorizer about that a user's statement may not do: it would end our transaction or reach
#: another file.
_FORBIDDEN = (
    apsw.SQLITE_TRANSACTION,
    apsw.SQLITE_SAVEPOINT,
    apsw.SQLITE_ATTACH,
    apsw.SQLITE_DETACH,
    apsw.SQLITE_PRAGMA,
)
#: What it may not do to Waystation's tables: change their rows (the first argument is the table) ...
_WRITES = (apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE)

#: ... or their shape, or add something to them (the first two arguments are names, in an order that depends).
_DEFINES = (
    apsw.SQLITE_ALTER_TABLE,
    apsw.SQLITE_CREATE_TABLE,
    apsw.SQLITE_CREATE_INDEX,
    apsw.SQLITE_CREATE_TRIGGER,
    apsw.SQLITE_CREATE_TEMP_TRIGGER,
    apsw.SQLITE_CREATE_VIEW,
    apsw.SQLITE_CREATE_VTABLE,
    apsw.SQLITE_DROP_TABLE,
    apsw.SQLITE_DROP_INDEX,
    apsw.SQLITE_DROP_TRIGGER,
)


_MARK = "INSERT INTO bus_inbox VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING message_id"


class TransactionDesk(Desk):
    """The connection on which a process's transactions run, one after another: users' statements among ours."""

    def __init__(self, site: Site, clock: Clock, store_clock: StoreClock) -> None:
        super().__init__(site)
        self.clock, self.store_clock = clock, store_clock
        self._theirs = False  # whether the statement being prepared is a user's
        self.connection.set_authorizer(self._authorize)

    async def open(self) -> None:
        """Begin a transaction after the one before; `end` follows. Cancelling leaves none.

        Raises:
            Disconnected: The desk was closed.
            StoreUnavailable: The write lock could not be had.
        """
        await self._turn.acquire()
        try:
            if self._closed:
                raise Disconnected("the bus is closed")
            await self.begin()
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Let the next transaction begin; this one was committed or undone."""
        self._turn.release()

    def run_theirs(self, statement: str, bindings: Any, *, many: bool) -> list[tuple[Any, ...]]:
        """Run a user's statement and return its rows.

        Raises:
            ConfigurationError: It would end the transaction, reach another file, or write Waystation's tables.
            apsw.Error: As SQLite says it, for the statement's own mistakes.
        """
        self._theirs = True
        execute = self.connection.executemany if many else self.connection.execute
        try:
            return execute(statement, bindings).fetchall()
        except apsw.AuthError as error:
            raise ConfigurationError(
                "a statement in a transaction may not end it, attach another file, set a pragma, or change the tables "
                "whose names begin with bus_: use the transaction's own methods"
            ) from error
        finally:
            self._theirs = False

    def _authorize(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if not self._theirs:
            return apsw.SQLITE_OK
        names = (first,) if action in _WRITES else (first, second) if action in _DEFINES else ()
        ours = any(name is not None and name.startswith("bus_") for name in names)
        return apsw.SQLITE_DENY if ours or action in _FORBIDDEN else apsw.SQLITE_OK


class SqliteTransaction:
    """An open transaction. The write lock is taken at its first statement, and held for `TRANSACTION_S_MAX` at most."""

    def __init__(
        self, desk: TransactionDesk, *, flush: bool, committed: Callable[[set[int], list[Settled]], None]
    ) -> None:
        self._desk, self._flush, self._committed = desk, flush, committed
        self._beginning = asyncio.Lock()
        self._begun = False  # whether it has the desk's turn and the write lock, until it is over
        self._over: WaystationError | None = None  # why nothing may be asked of it any more
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
        prepared = prepare(messages, self._desk.store_clock.now())
        tickets: Mapping[int, Ticket] = {}
        if prepared.is_large:  # into files first: nobody is to wait for that
            messages, tickets = await asyncio.to_thread(check_in, self._desk.bodies, messages)
        await self._begin()
        now = self._desk.store_clock.now()
        if tickets:
            confirm(self._desk.bodies, tickets)
            prepared = prepare(messages, now, ticketed=True)
        with translated(self._desk.path):
            self._touched |= self._desk.log.write(prepared, now).touched

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]]) -> None:
        """Settle when the transaction commits."""
        await self._begin()
        with translated(self._desk.path):
            settled = settle(self._desk.connection, by_lease(outcomes), self._desk.store_clock.now())
        self._settled.append(settled)
        check_lost(settled)

    async def mark_seen(self, group: str, message_ids: Sequence[str]) -> set[str]:
        """Put marks into the inbox; return those that were not there."""
        await self._begin()
        number = self._groups.get(group)
        if number is None:
            found = group_id(self._desk.connection, group)
            if found is None:
                raise ConfigurationError(f"there is no group {group!r}: it was removed while its handler ran")
            number = self._groups[group] = found
        now = self._desk.store_clock.now()
        with translated(self._desk.path):
            marked = self._desk.connection.executemany(_MARK, [(number, each, now) for each in message_ids])
            return {row[0] for row in marked}

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
        """Commit; then tell the receivers. A failed commit is rolled back whole.

        Raises:
            TransactionLost: It was rolled back.
            StoreUnavailable: It is committed, and its flush failed, so it may not survive a power cut. Cancelling
                during the flush leaves that unknown.
        """
        self._check()
        self._refuse(TransactionLost("the transaction has ended"))
        if self._begun:
            try:
                self._desk.commit()
            except apsw.Error as error:
                self._desk.undo()
                raise TransactionLost(f"the transaction was rolled back: {error}") from error
            finally:
                self._desk.end()
        self._committed(self._touched, self._settled)
        if self._begun and self._flush:
            await self._desk.flush()

    async def rollback(self, error: WaystationError | None = None) -> None:
        """Undo everything; another task that uses it meets `error`. Of no effect once it has ended, or commits."""
        self._undo_all(error or TransactionLost("the transaction has ended: it was rolled back"))

    async def _begin(self) -> None:
        self._check()
        if self._begun:
            return
        async with self._beginning:  # two statements may be the first at the same time
            self._check()
            if self._begun:
                return
            await self._desk.open()
            if self._over is not None:  # it was rolled back while it waited for the lock
                self._give_back()
                raise self._over.with_traceback(None)
            self._begun = True
            self._timer = self._desk.clock.call_later(TRANSACTION_S_MAX, self._time_is_up)

    def _time_is_up(self) -> None:
        self._undo_all(
            TransactionLost(
                f"the transaction was open for over {TRANSACTION_S_MAX:g} s and is rolled back, since it keeps every "
                "other writer waiting: do slow work before the first statement"
            )
        )

    def _undo_all(self, error: WaystationError) -> None:
        if self._over is None:
            self._refuse(error)
            if self._begun:
                self._give_back()

    def _give_back(self) -> None:
        try:
            self._desk.undo()
        finally:
            self._desk.end()

    def _refuse(self, error: WaystationError) -> None:
        self._over = error
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        if self._over is not None:
            raise self._over.with_traceback(None)
