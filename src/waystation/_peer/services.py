"""`Services`: what clients call by name, done on the served transport: looking in, declaring, transactions, the roster.

Nothing is found by a name that came: a method is in the table of `_wire.methods` and in the one at the end of this
file, or it is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import apsw
import msgspec

from .._core.errors import (
    ConfigurationError,
    MessageTooLarge,
    RemoteProtocolError,
    TransactionLost,
    WaystationError,
)
from .._core.inspection import Inspector, MemberInfo, Roster
from .._core.limits import PEER_CALLS_MAX, PEER_TRANSACTIONS_MAX, WHOLE_BYTES_MAX
from .._core.message import Message
from .._core.packed import Packed, unpack
from .._core.ports import (
    Recurrence,
    Recurring,
    Topology,
    Transactional,
    Transport,
    TransportTransaction,
)
from .._core.run import MessageRun
from .._wire import methods as m
from .._wire.manners import check_messages
from .._wire.methods import METHODS, start_of, subscription_of
from .channel import ServedChannel, outcomes_of

_encode = msgspec.msgpack.Encoder().encode

#: What a result may have at most, in bytes: it travels as one frame.
_RESULT_BYTES_MAX = WHOLE_BYTES_MAX - 1024


class Client(Protocol):
    """What is asked about who calls."""

    id: bytes
    principal: bytes
    address: str
    host: str
    pid: int
    channels: dict[int, ServedChannel]


class StatementFailed(WaystationError):
    """A statement of a client's own was at fault; `kind` is the class of SQLite's error."""

    def __init__(self, error: apsw.Error) -> None:
        super().__init__(str(error))
        self.kind = type(error).__name__


@dataclass(slots=True)
class _Open:
    """A transaction of a client; `settled`: what is settled when it commits."""

    inner: TransportTransaction
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    settled: list[tuple[ServedChannel, list[int]]] = field(default_factory=list)


class Services:
    """For all clients of one served transport.

    Args:
        end_process: Ends the sessions of a process of a client's machine; returns how many feeds it had.
        facts: What there is to say of the gate.
    """

    def __init__(
        self,
        transport: Transport,
        end_process: Callable[[Client, int], Awaitable[int]],
        facts: Callable[[], Mapping[str, str]],
    ) -> None:
        self.transport = transport
        self.end_process = end_process
        self._facts = facts
        self._said: dict[bytes, list[MemberInfo]] = {}
        self._transactions: dict[bytes, dict[int, _Open | None]] = {}
        self._looks: dict[bytes, asyncio.Semaphore] = {}

    async def call(self, client: Client, name: str, arguments: msgspec.Raw) -> bytes:
        """Do what is called, and return the result in MessagePack.

        Raises:
            RemoteProtocolError: The arguments are not the method's.
            ConfigurationError: There is no such method.
            StatementFailed: SQLite refused a statement of the client's.
            WaystationError: As the transport says it.
        """
        method = METHODS.get(name)
        if method is None:
            raise ConfigurationError(
                f"this server has no method {name[:40]!r}: it may be older than its client"
            )
        try:
            read = method.read_arguments(arguments)
        except (msgspec.MsgspecError, ValueError) as error:
            raise RemoteProtocolError(f"{name}: {error}", field="Call.arguments") from error
        work = _SERVICES[name]
        if method.repeatable:
            async with self._looks.setdefault(client.id, asyncio.Semaphore(PEER_CALLS_MAX)):
                result = _encode(await work(self, client, read))
        else:
            result = _encode(await work(self, client, read))
        if len(result) > _RESULT_BYTES_MAX:
            raise MessageTooLarge(
                f"the answer has {len(result):,} bytes: ask for fewer at a time",
                size_bytes=len(result),
                size_bytes_max=_RESULT_BYTES_MAX,
            )
        return result

    async def leave(self, client_id: bytes) -> None:
        """Roll back what a client left open, and forget what it said."""
        self._looks.pop(client_id, None)
        for transaction in self._transactions.pop(client_id, {}).values():
            if transaction is not None:
                await transaction.inner.rollback()
        if self._said.pop(client_id, None) is not None and isinstance(self.transport, Roster):
            await self.transport.announce(self._everybody())

    # --- what others use ---------------------------------------------------------------------------------------

    async def declare(self, _: Client, arguments: m.Declare) -> None:
        """Make topics and groups exist."""
        subscriptions = tuple(map(subscription_of, arguments.subscriptions))
        await self.transport.declare(Topology(tuple(arguments.topics), subscriptions))

    async def facts(self, *_: object) -> dict[str, str]:
        """Return what is known of the medium and of the gate before it."""
        return {**await self.inspector.facts(), **self._facts()}

    async def recur(self, _: Client, arguments: m.Recur) -> float | None:
        """Send what is due and put down when the next is."""
        messages = self.checked(arguments.batch)
        self.transport.capabilities.require("recurring", by="recur")
        assert isinstance(self.transport, Recurring), "it says so"
        one = Recurrence(arguments.name, arguments.topic, arguments.rule)
        return await self.transport.recur(one, arguments.due, arguments.next_due, messages)

    async def announce(self, client: Client, arguments: m.Announce) -> list[str]:
        """Say how a client is, beside all others that are served here: to the transport they are one process."""
        self._said[client.id] = arguments.members
        gone = set(await self._roster().announce(self._everybody()))
        return [group for group in dict.fromkeys(each.group for each in arguments.members) if group in gone]

    async def members(self, _: Client, __: m.Nothing) -> list[MemberInfo]:
        """Return what processes have said lately."""
        return list(await self._roster().members())

    async def release_process(self, client: Client, arguments: m.Process) -> int:
        """Give back what a process of the client's machine held."""
        return await self.end_process(client, arguments.pid)

    @property
    def inspector(self) -> Inspector:
        """The transport, as something that can be looked into.

        Raises:
            UnsupportedCapability: It cannot.
        """
        self.transport.capabilities.require("inspectable", by="looking in")
        assert isinstance(self.transport, Inspector), "it says so"
        return self.transport

    # --- transactions ------------------------------------------------------------------------------------------

    async def begin(self, client: Client, arguments: m.Begin) -> None:
        """Begin a transaction of a client."""
        self.transport.capabilities.require("transactions", by="bus.transaction()")
        assert isinstance(self.transport, Transactional), "it says so"
        mine = self._transactions.setdefault(client.id, {})
        if arguments.transaction in mine:
            raise RemoteProtocolError("this transaction has begun already", field="Call.arguments")
        if len(mine) >= PEER_TRANSACTIONS_MAX:
            raise ConfigurationError(f"one client has at most {PEER_TRANSACTIONS_MAX} transactions open")
        mine[arguments.transaction] = None  # it counts from now on
        try:
            inner = await self.transport.begin(flush=arguments.flush)
        except BaseException:
            del mine[arguments.transaction]
            raise
        mine[arguments.transaction] = _Open(inner)

    async def within(
        self, client: Client, number: int, work: Callable[[_Open], Awaitable[Any]], *, ends: bool = False
    ) -> Any:
        """Do something in a transaction of a client, after what was asked of it before.

        Raises:
            TransactionLost: There is none of this number: it has ended.
        """
        mine = self._transactions.get(client.id, {})
        transaction = mine.get(number)
        if transaction is None:
            raise TransactionLost("there is no such transaction: it was rolled back, or has ended")
        async with transaction.turn:
            try:
                return await work(transaction)
            except apsw.Error as error:
                raise StatementFailed(error) from error
            finally:
                if ends:
                    mine.pop(number, None)

    async def settle(self, client: Client, arguments: m.TransactionSettle) -> None:
        """Settle deliveries of a client's channels when a transaction of it commits."""

        async def work(transaction: _Open) -> None:
            outcomes = []
            for number, accepted, others in arguments.settlements:
                channel = client.channels.get(number)
                if channel is None:
                    raise TransactionLost("a delivery was given back when its channel was closed")
                some, numbers = outcomes_of(channel, accepted, others, field="Call")
                outcomes += some
                transaction.settled.append((channel, numbers))
            await transaction.inner.settle(outcomes)

        await self.within(client, arguments.transaction, work)

    async def commit(self, client: Client, arguments: m.Of) -> None:
        """Commit a transaction of a client; what it settled is settled."""

        async def work(transaction: _Open) -> None:
            await transaction.inner.commit()
            for channel, numbers in transaction.settled:
                channel.drop(numbers)

        await self.within(client, arguments.transaction, work, ends=True)

    def checked(self, batch: Packed) -> list[Message] | MessageRun:
        """Return messages that a client wants to be sent, if they may be.

        Raises:
            RemoteProtocolError: They are no batch.
            WaystationError: One of them is not legal.
        """
        try:
            messages = unpack(batch)
        except ValueError as error:
            raise RemoteProtocolError(str(error), field="Call.arguments") from error
        check_messages(messages, body_bytes_max=self.transport.capabilities.message_bytes_max)
        return messages

    def _roster(self) -> Roster:
        self.transport.capabilities.require("members", by="announcing")
        assert isinstance(self.transport, Roster), "it says so"
        return self.transport

    def _everybody(self) -> list[MemberInfo]:
        return [member for said in self._said.values() for member in said]


_Service: TypeAlias = Callable[[Services, Client, Any], Awaitable[Any]]


def _look(work: Callable[[Inspector, Any], Awaitable[Any]]) -> _Service:
    """Make a service of a question to the inspector."""
    return lambda services, _, arguments: work(services.inspector, arguments)


def _step(work: Callable[[TransportTransaction, Any], Awaitable[Any]], *, ends: bool = False) -> _Service:
    """Make a service of a step in a transaction."""
    return lambda services, client, arguments: services.within(
        client, arguments.transaction, lambda one: work(one.inner, arguments), ends=ends
    )


def _send(services: Services, client: Client, arguments: m.TransactionSend) -> Awaitable[Any]:
    messages = services.checked(arguments.batch)
    return services.within(client, arguments.transaction, lambda one: one.inner.send(messages))


_SERVICES: Mapping[str, _Service] = MappingProxyType(
    {
        "declare": Services.declare,
        "recur": Services.recur,
        "announce": Services.announce,
        "members": Services.members,
        "release_process": Services.release_process,
        "topics": _look(lambda inspector, _: inspector.topics()),
        "groups": _look(lambda inspector, _: inspector.groups()),
        "browse": _look(lambda i, a: i.browse(a.pattern, start=start_of(a.start), limit=a.limit)),
        "dead": _look(lambda i, a: i.dead(group=a.group, limit=a.limit, after=a.after)),
        "retry_dead": _look(lambda i, a: i.retry_dead(a.numbers)),
        "purge_dead": _look(lambda i, a: i.purge_dead(a.numbers)),
        "scheduled": _look(lambda i, a: i.scheduled(pattern=a.pattern, before=a.before, limit=a.limit)),
        "move_scheduled": _look(lambda i, a: i.move_scheduled(a.message_id, a.at)),
        "cancel_scheduled": _look(lambda i, a: i.cancel_scheduled(a.name)),
        "recurring": _look(lambda inspector, _: inspector.recurring()),
        "pause_recurring": _look(lambda i, a: i.pause_recurring(a.name, paused=a.paused)),
        "remove_recurring": _look(lambda i, a: i.remove_recurring(a.name)),
        "seek": _look(lambda i, a: i.seek(a.group, a.pattern, start_of(a.start), dry_run=a.dry_run)),
        "remove_group": _look(lambda i, a: i.remove_group(a.name)),
        "facts": Services.facts,
        "begin": Services.begin,
        "execute": _step(lambda one, a: one.execute(a.sql, a.parameters)),
        "executemany": _step(lambda one, a: one.executemany(a.sql, a.rows)),
        "transaction_send": _send,
        "transaction_settle": Services.settle,
        "mark_seen": _step(lambda one, a: one.mark_seen(a.group, a.message_ids)),
        "savepoint": _step(lambda one, _: one.savepoint()),
        "release": _step(lambda one, _: one.release()),
        "undo": _step(lambda one, _: one.undo()),
        "commit": Services.commit,
        "rollback": _step(lambda one, _: one.rollback(), ends=True),
    }
)

assert _SERVICES.keys() == METHODS.keys(), "what can be called is done, and nothing else"
