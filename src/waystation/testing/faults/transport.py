"""A transport that does what a schedule says, at the seam: send, receive, extend, settle, begin, commit.

What a test itself publishes, asks and pulls is only delayed or doubled. What goes wrong otherwise goes wrong for the
handlers: they are the process that loses its connection or is killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ..._core.capabilities import Capabilities
from ..._core.delivery import Delivery, SendOutcome, Settlement
from ..._core.errors import Disconnected, SettlementLost, TransactionLost
from ..._core.message import Message
from ..._core.ports import (
    Clock,
    Feed,
    Subscription,
    Topology,
    Transactional,
    Transport,
    TransportTransaction,
)
from .schedule import Fault, Kind, Schedule


class Nemesis:
    """Counts calls and strikes at those of its schedule.

    Args:
        groups: Those of the handlers.

    Attributes:
        steps: Calls so far.
        crashed: Set while the process is dead.
        life: How often the process was started.
        doubled: Ids of messages that were stored twice.
    """

    def __init__(self, schedule: Schedule, *, clock: Clock, groups: Collection[str]) -> None:
        self._faults = {fault.step: fault for fault in schedule}
        self.clock = clock
        self.groups = groups
        self.steps = 0
        self.life = 1
        self.doubled: set[str] = set()
        self.crashed = asyncio.Event()

    def revive(self) -> None:
        """Start the process again."""
        self.life += 1
        self.crashed.clear()

    async def strike(self) -> Fault | None:
        """Count a call, be late if that is what is to happen, and return what else is."""
        self.steps += 1
        fault = self._faults.get(self.steps)
        if fault is not None and fault.kind is Kind.DELAY:
            await self.clock.sleep(fault.delay_s)
        return fault


def faulty(inner: Transport, nemesis: Nemesis) -> Transport:
    """Wrap a transport. It can do whatever the other one can."""
    base = _FaultyTransactional if isinstance(inner, Transactional) else FaultyTransport
    others = {
        name: _forwarded(name)
        for name in dir(type(inner))
        if not name.startswith("_") and not hasattr(base, name) and callable(getattr(type(inner), name))
    }
    wrapped: FaultyTransport = type("FaultyTransport", (base,), others)(inner, nemesis)
    return wrapped


class FaultyTransport:
    """Sends twice or late; gives out feeds that lose their connection or die."""

    def __init__(self, inner: Any, nemesis: Nemesis) -> None:
        self._inner = inner
        self._nemesis = nemesis

    @property
    def capabilities(self) -> Capabilities:
        """The other's."""
        found: Capabilities = self._inner.capabilities
        return found

    async def open(self) -> None:
        """Connect."""
        await self._inner.open()

    async def declare(self, topology: Topology, /) -> None:
        """Make topics and groups exist."""
        await self._inner.declare(topology)

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        """Send once or twice; the process may be killed before or after."""
        async with _attacked(self._nemesis) as fault:
            outcomes: Sequence[SendOutcome] = await self._inner.send(messages)
            if fault is Kind.DUPLICATE:
                self._nemesis.doubled.update(message.id for message in messages)
                await self._inner.send(messages)
        return outcomes

    async def open_feed(self, subscription: Subscription, /) -> Feed:
        """Start receiving; a feed of the handlers' may break."""
        feed: Feed = await self._inner.open_feed(subscription)
        return FaultyFeed(feed, self._nemesis) if subscription.group in self._nemesis.groups else feed

    async def close(self) -> None:
        """Disconnect."""
        await self._inner.close()


class _FaultyTransactional(FaultyTransport):
    async def begin(self, *, flush: bool) -> TransportTransaction:
        """Begin a transaction. One that a handler shares with its neighbours (not flushed) may be lost."""
        inner: TransportTransaction = await self._inner.begin(flush=flush)
        if flush:
            return inner
        others = {
            name: _forwarded(name)
            for name in vars(TransportTransaction)
            if not name.startswith("_") and name not in ("commit", "settle")
        }
        wrapped: TransportTransaction = type("FaultyTransaction", (_FaultyTransaction,), others)(
            inner, self._nemesis
        )
        return wrapped


class _FaultyTransaction:
    def __init__(self, inner: TransportTransaction, nemesis: Nemesis) -> None:
        self._inner = inner
        self._nemesis = nemesis
        self._life = nemesis.life

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]]) -> None:
        """Settle with the commit. The deliveries are those that the medium gave out."""
        await self._inner.settle(outcomes)

    async def commit(self) -> None:
        """Make everything happen, unless the process is killed or loses its connection first."""
        fault = await self._nemesis.strike()
        kind = None if fault is None else fault.kind
        if self._nemesis.life != self._life or self._nemesis.crashed.is_set():
            kind = Kind.CRASH_BEFORE
        elif kind in (Kind.CRASH_BEFORE, Kind.CRASH_AFTER):
            self._nemesis.crashed.set()
        if kind in (Kind.CRASH_BEFORE, Kind.DROP_BEFORE):
            lost = TransactionLost("the connection was lost before the commit")
            await self._inner.rollback(lost)
            raise lost
        await self._inner.commit()
        if kind is Kind.CRASH_AFTER:
            raise TransactionLost("the process was killed after the commit")


class FaultyFeed:
    """A feed of the handlers'. When its process is killed, what it holds stays leased until the leases end."""

    def __init__(self, inner: Feed, nemesis: Nemesis) -> None:
        self._inner = inner
        self._nemesis = nemesis
        self._life = nemesis.life

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for deliveries. A dead process waits for ever."""
        # Late is only the question: what was taken before a settlement must not be handed over after it.
        fault = await self._nemesis.strike()
        deliveries = await self._inner.receive(limit)
        kind = None if fault is None else fault.kind
        if kind in (Kind.CRASH_BEFORE, Kind.CRASH_AFTER):
            self._nemesis.crashed.set()
        if self._is_dead:
            await asyncio.Event().wait()
        if kind in (Kind.DROP_BEFORE, Kind.DROP_AFTER):
            await self._break()
        return _reordered(deliveries) if kind is Kind.REORDER else deliveries

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        """Keep leases, unless the process is dead."""
        await self._call(lambda: self._inner.extend(deliveries))

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]], /) -> None:
        """Settle, unless the process is dead."""
        await self._call(lambda: self._inner.settle(outcomes))

    async def close(self) -> None:
        """Give back what is unsettled, unless the process is dead: then nobody does."""
        if not self._is_dead:
            await self._inner.close()

    @property
    def _is_dead(self) -> bool:
        return self._nemesis.crashed.is_set() or self._nemesis.life != self._life

    async def _call(self, call: Callable[[], Any]) -> None:
        fault = await self._nemesis.strike()
        kind = None if fault is None else fault.kind
        if not self._is_dead:
            if kind is Kind.DROP_BEFORE:
                await self._break()
            if kind is Kind.CRASH_BEFORE:
                self._nemesis.crashed.set()
        if self._is_dead:
            raise SettlementLost("the process was killed")
        await call()
        if kind is Kind.DUPLICATE:
            await call()
        if kind is Kind.DROP_AFTER:
            await self._break()
        if kind is Kind.CRASH_AFTER:
            self._nemesis.crashed.set()

    async def _break(self) -> None:
        await self._inner.close()
        raise Disconnected("the connection was lost")


@asynccontextmanager
async def _attacked(nemesis: Nemesis) -> AsyncIterator[Kind | None]:
    fault = await nemesis.strike()
    kind = None if fault is None else fault.kind
    if kind is Kind.CRASH_BEFORE:
        nemesis.crashed.set()
    yield kind
    if kind is Kind.CRASH_AFTER:
        nemesis.crashed.set()


def _forwarded(name: str) -> Callable[..., Any]:
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        return getattr(self._inner, name)(*arguments, **named)

    return call


def _reordered(deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
    """Put the last key first, and so on; what has no key changes places, messages of one key do not."""
    keys = list(dict.fromkeys(delivery.key or f"\0{delivery.index}" for delivery in deliveries))
    places = {key: place for place, key in enumerate(reversed(keys))}
    return sorted(deliveries, key=lambda delivery: places[delivery.key or f"\0{delivery.index}"])
