"""A transaction of a served transport, by calls. What has nothing to say is said without waiting for its answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import apsw

from .._core.delivery import Delivery, Settlement
from .._core.errors import Disconnected, TransactionLost, TransportError, WaystationError
from .._core.message import Message
from .._core.packed import pack
from .._wire.failures import SQL, error_of
from .._wire.frames import Answer, Failed
from .._wire.methods import (
    METHODS,
    Arguments,
    Begin,
    Execute,
    ExecuteMany,
    MarkSeen,
    Of,
    TransactionSend,
    TransactionSettle,
)
from .remote_feed import channel_of, sorted_out

if TYPE_CHECKING:
    from .remote import RemoteTransport


class RemoteTransaction:
    """An open transaction at a server. What follows a failure that was not waited for raises it."""

    def __init__(self, transport: RemoteTransport, number: int) -> None:
        self._transport = transport
        self._number = number
        self._error: Exception | None = None  # of what was said without waiting
        self._over: WaystationError | None = None

    async def begin(self, *, flush: bool) -> None:
        """Begin it."""
        await self._ask("begin", Begin(self._number, flush))

    async def execute(
        self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Run one statement of the user's and return its rows."""
        rows: list[tuple[Any, ...]] = await self._ask("execute", Execute(self._number, sql, _row(parameters)))
        return rows

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any] | dict[str, Any]]) -> None:
        """Run one statement for each row of parameters."""
        await self._ask("executemany", ExecuteMany(self._number, sql, [_row(row) for row in rows]))

    async def send(self, messages: Sequence[Message]) -> None:
        """Send when, and only if, it commits."""
        await self._ask("transaction_send", TransactionSend(self._number, pack(messages)))

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]]) -> None:
        """Settle when, and only if, it commits."""
        by_channel: dict[int, list[tuple[Delivery, Settlement]]] = {}
        for outcome in outcomes:
            by_channel.setdefault(channel_of(outcome[0]), []).append(outcome)
        settlements = [(channel, *sorted_out(some)) for channel, some in by_channel.items()]
        await self._ask("transaction_settle", TransactionSettle(self._number, settlements))

    async def mark_seen(self, group: str, message_ids: Sequence[str]) -> set[str]:
        """Put marks into the inbox; return those that were new."""
        return set(await self._ask("mark_seen", MarkSeen(self._number, group, list(message_ids))))

    async def savepoint(self) -> None:
        """Begin a part that can be undone alone."""
        self._tell("savepoint")

    async def release(self) -> None:
        """Keep the part begun by the last savepoint."""
        self._tell("release")

    async def undo(self) -> None:
        """Undo the part begun by the last savepoint."""
        self._tell("undo")

    async def commit(self) -> None:
        """Make everything happen.

        Raises:
            TransactionLost: It was rolled back instead.
            Disconnected: The connection was lost, and whether it was committed is unknown.
        """
        await self._ask("commit", Of(self._number))
        self._over = TransactionLost("the transaction was committed")

    async def rollback(self, error: WaystationError | None = None) -> None:
        """Make nothing happen. Of no effect once it has ended."""
        if self._over is not None:
            return
        self._over = error or TransactionLost("the transaction was rolled back")
        try:
            await self._transport.call("rollback", Of(self._number))
        except TransportError:
            return  # the server rolls back what its client left behind

    async def _ask(self, method: str, arguments: Arguments) -> Any:
        if self._over is not None:
            raise self._over
        error, self._error = self._error, None
        if error is not None:
            raise error
        try:
            answer = await self._transport.call(method, arguments)
        except Disconnected as lost:
            if method == "commit":
                raise
            self._over = TransactionLost(f"the transaction was rolled back: {lost}")
            raise self._over from lost
        if isinstance(answer, Failed):
            raise _error_of(answer)
        if self._error is not None:  # it was said before
            error, self._error = self._error, None
            raise error
        return METHODS[method].read_result(answer.value)

    def _tell(self, method: str) -> None:
        if self._over is not None:
            raise self._over

        def done(answer: Answer | TransportError) -> None:
            if self._error is None and isinstance(answer, TransportError):
                self._error = TransactionLost(f"the transaction was rolled back: {answer}")
            elif self._error is None and isinstance(answer, Failed):
                self._error = _error_of(answer)

        self._transport.tell(method, Of(self._number), done)


def _row(parameters: Sequence[Any] | dict[str, Any]) -> list[Any] | dict[str, Any]:
    return parameters if isinstance(parameters, dict) else list(parameters)


def _error_of(answer: Failed) -> Exception:
    """Return an answer's error: SQLite's own, where the statement was at fault."""
    if answer.code != SQL:
        return error_of(answer)
    kind = getattr(apsw, answer.facts.get("class", ""), None)
    found = kind if isinstance(kind, type) and issubclass(kind, apsw.Error) else apsw.SQLError
    return found(answer.text)
