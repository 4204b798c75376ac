"""`bus.transaction()`: the user's rows and the messages about them in one commit, or in none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, Unpack

from .._core.delivery import Durability, Receipt
from .._core.duration import Duration, Instant
from .._core.errors import ConfigurationError, Disconnected
from .._core.message import Message
from .._core.ports import Transactional, Transport, TransportTransaction
from .._core.topic import Topic
from .composer import SendOptions
from .current import TRANSACTION
from .publisher import Publisher

T = TypeVar("T")


class Transaction:
    """An open transaction on the bus's own database.

    Everything done through it happens at the commit, or not at all. It holds the database's write lock from the first
    write on, so keep it short: it is rolled back after `TRANSACTION_S_MAX`.
    """

    def __init__(self, inner: TransportTransaction, publisher: Publisher, transport: Transport) -> None:
        self._inner = inner
        self._publisher = publisher
        self._transport = transport
        self._commands: set[str] = set()
        self._open = True

    @property
    def is_open(self) -> bool:
        """Whether it was neither committed nor rolled back."""
        return self._open

    async def execute(
        self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Run one SQL statement on the bus's own database and return its rows.

        Values go into `parameters`, never into the text. The first statement waits for the write lock.

        Raises:
            ConfigurationError: It would end the transaction, reach another file, or write Waystation's tables.
            StoreUnavailable: The write lock could not be had. Nothing has happened.
            TransactionLost: The transaction was open for too long and is rolled back.
            Disconnected: The bus was closed meanwhile, and the transaction rolled back.
            apsw.Error: As SQLite says it, for the statement's own mistakes, a broken constraint for example. That
                statement did nothing; the transaction goes on.
        """
        return await self._inner.execute(sql, parameters)

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any] | dict[str, Any]]) -> None:
        """Run one SQL statement for each row of parameters; raises as `execute`."""
        await self._inner.executemany(sql, rows)

    async def publish(self, topic: Topic[T] | str, body: T, **options: Unpack[SendOptions]) -> Receipt:
        """Publish an event when, and only if, this commits; the options are those of `Bus.publish`.

        Returns:
            A receipt with `Durability.SENT`: nothing is certain before the commit.

        Raises:
            ConfigurationError: Another transport carries this topic: it could not be one commit.
        """
        (receipt,) = await self.send_messages([self._publisher.message(topic, body, **options)])
        return receipt

    async def send(self, topic: Topic[T] | str, body: T, **options: Unpack[SendOptions]) -> Receipt:
        """Send a command when, and only if, this commits; as `publish`."""
        message = self._publisher.message(topic, body, **options)
        (receipt,) = await self.send_messages([message], commands=[message.topic])
        return receipt

    async def publish_many(
        self,
        topic: Topic[T] | str,
        bodies: Iterable[T],
        *,
        key: str | Callable[[T], str | None] | None = None,
        headers: Mapping[str, str] | None = None,
        delay: Duration | None = None,
        at: Instant | None = None,
        expires: Duration | None = None,
        priority: int | None = None,
        require: Durability | None = None,
    ) -> list[Receipt]:
        """Publish many events of one topic when, and only if, this commits; as `Bus.publish_many`."""
        receipts: list[Receipt] = []
        for batch in self._publisher.batches(
            topic, bodies, key=key, headers=headers, delay=delay, at=at, expires=expires, priority=priority,
            require=require,
        ):  # fmt: skip
            receipts += await self.send_messages(batch)
        return receipts

    async def send_messages(
        self, messages: Sequence[Message], *, commands: Iterable[str] = ()
    ) -> list[Receipt]:
        """Send messages that were made already when, and only if, this commits.

        Args:
            commands: Their topics of which the group must exist afterwards.
        """
        self._commands.update(commands)
        for message in messages:
            if self._publisher.transport_of(message.topic) is not self._transport:
                raise ConfigurationError(
                    f"{message.topic!r} travels by another transport than this transaction: publish it outside"
                )
        await self._inner.send(messages)
        return [Receipt(message.id, Durability.SENT) for message in messages]

    @asynccontextmanager
    async def part(self) -> AsyncIterator[None]:
        """Do something that is undone alone if it raises."""
        await self._inner.savepoint()
        try:
            yield
        except BaseException:
            await self._inner.undo()
            raise
        await self._inner.release()

    def takes_from(self, publisher: Publisher) -> bool:
        """Whether what `publisher` sends now can become part of it."""
        return self._open and self._publisher is publisher

    def end(self) -> None:
        """Say that it is about to be committed or rolled back: what is published from now on is not part of it."""
        if self._open:
            self._open = False
            self._publisher.declare_commands_soon(self._commands)

    async def abandon(self) -> None:
        """Roll it back, since the bus closes; unless it is about to end by itself."""
        if self._open:
            self._open = False
            await self._inner.rollback(
                Disconnected("the bus was closed while this transaction was open: it was rolled back")
            )


def open_transaction(publisher: Publisher) -> Transaction | None:
    """Return the transaction that a publish through `publisher` joins here, if there is one."""
    transaction = TRANSACTION.get()
    return transaction if transaction is not None and transaction.takes_from(publisher) else None


@asynccontextmanager
async def transaction_on(
    transports: Sequence[Transport], publisher: Publisher, opened: set[Transaction]
) -> AsyncIterator[Transaction]:
    """Open a transaction, or a part of the one that is open here; commit it at the end, roll it back on an error.

    Args:
        opened: Where it is found while it is open, so that a bus that closes can `abandon` it.

    Raises:
        UnsupportedCapability: No transport of the bus has transactions.
        TransactionLost: It was rolled back instead of being committed.
    """
    outer = open_transaction(publisher)
    if outer is not None:
        async with outer.part():
            yield outer
        return
    transport = _transactional(transports)
    assert isinstance(transport, Transactional), "a transport that has transactions can begin one"
    inner = await transport.begin(flush=True)
    transaction = Transaction(inner, publisher, transport)
    opened.add(transaction)
    token = TRANSACTION.set(transaction)
    try:
        yield transaction
        transaction.end()
        await inner.commit()
    except BaseException:
        transaction.end()
        await inner.rollback()
        raise
    finally:
        opened.discard(transaction)
        TRANSACTION.reset(token)


def _transactional(transports: Sequence[Transport]) -> Transport:
    able = [transport for transport in transports if transport.capabilities.transactions]
    if not able:
        transports[0].capabilities.require("transactions", by="bus.transaction()")
    if len(able) > 1:
        raise ConfigurationError("two of the bus's URLs have transactions: use a bus of its own for each")
    return able[0]
