"""What a bus holds while it is connected, and what it holds while its handlers run."""

from __future__ import annotations

import asyncio
import inspect
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakSet

from .._core.errors import ConfigurationError
from .._core.limits import CREDIT_MESSAGES_MAX, HANDLER_THREADS_MAX
from .._core.liveness import Health
from .._core.ports import Clock, Middleware, Start, Subscription, Topology, Transport
from .._core.retry import RetryPolicy
from .._core.topic import Topic, check_name, check_pattern, is_pattern
from .consumer import Consumer
from .context import Runtime
from .handlers import HandlerSpec
from .publisher import Publisher
from .receiver import Receiver
from .repeat import Repeater, RepeatSpec
from .requests import Requests
from .resolve import Routes
from .transaction import Transaction
from .valve import Valve
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .bus import Bus

Hook: TypeAlias = Callable[[], object]
"""A function without arguments; what it returns is awaited if it can be."""


class Connection:
    """Open transports, and everything that works through them. For one event loop."""

    def __init__(self, runtime: Runtime, routes: Routes, transports: Sequence[Transport]) -> None:
        self.loop = asyncio.get_running_loop()
        self.runtime = runtime
        self.transports = transports
        self._routes = routes
        self.publisher = runtime.publisher
        self.requests = runtime.requests
        self.transactions: set[Transaction] = set()
        self._receivers: WeakSet[Receiver[Any]] = WeakSet()
        self._consumers: list[Consumer] = []
        self._watchdog: Watchdog | None = None
        self._repeaters: list[Repeater] = []

    def receive(self, topic: Topic[Any] | str, *, group: str, start: Start, prefetch: int) -> Receiver[Any]:
        """Make a receiver; see `Bus.receive`. It does nothing before its first step."""
        name, body_type = (topic, Any) if isinstance(topic, str) else (topic.name, topic.type)
        if prefetch not in range(1, CREDIT_MESSAGES_MAX + 1):
            raise ConfigurationError(f"prefetch={prefetch!r} must be from 1 to {CREDIT_MESSAGES_MAX}")
        found = self._routes.of_pattern(check_pattern(name))
        if len(found) > 1:
            raise ConfigurationError(f"{name!r} spans several of the bus's URLs: receive from one at a time")
        transport = self.transports[found[0]]
        transport.capabilities.require("groups", by=f"receive({name!r})")
        receiver = Receiver[Any](
            transport,
            Subscription(pattern=name, group=check_name(group, "group"), start=start),
            body_type,
            prefetch=prefetch,
            policy=self.runtime.retry,
            clock=self.runtime.clock,
        )
        self._receivers.add(receiver)
        return receiver

    async def start(
        self, specs: Sequence[HandlerSpec], repeats: Sequence[RepeatSpec], *, stalled_after_s: float
    ) -> None:
        """Declare what handlers need, start and watch them, and what recurs. `drain` stops it, also after an error."""
        if self._consumers or self._repeaters:
            raise ConfigurationError("the handlers of this bus run already")
        instance = f"{os.getpid()}-{secrets.token_hex(4)}"
        own = [spec.of_instance(f"{instance}.{number}") for number, spec in enumerate(specs)]
        placed = placements(own, self._routes, self.transports)
        for transport in self.transports:
            mine = [spec for spec, where in placed if where is transport]
            names = [spec.topic.name for spec in mine] + [
                spec.publishes.name for spec in mine if spec.publishes
            ]
            topics = tuple(dict.fromkeys(name for name in names if not is_pattern(name)))
            await transport.declare(Topology(topics, tuple(spec.subscription for spec in mine)))
        for spec, transport in placed:
            consumer = Consumer(spec, transport, self.runtime)
            self._consumers.append(consumer)
            await consumer.start()
        self._watchdog = Watchdog(self._consumers, clock=self.runtime.clock, patience_s=stalled_after_s)
        for repeat in repeats:
            repeater = Repeater(repeat, self.publisher.transport_of(repeat.topic_name), self.runtime)
            self._repeaters.append(repeater)
            await repeater.start()

    def health(self) -> Health:
        """What the handlers are able to do now."""
        if self._watchdog is None:
            return Health(live=True, ready=False, reasons=("the handlers do not run",))
        return self._watchdog.health()

    def valves(self, handler: Callable[..., object]) -> list[Valve]:
        """Return what lets messages in to a handler: one for each of its subscriptions.

        Raises:
            ConfigurationError: It does not run here.
        """
        found = [consumer.valve for consumer in self._consumers if consumer.spec.function is handler]
        if not found:
            raise ConfigurationError(
                f"{handler!r} is no handler that runs here: pass the function that was decorated, while it runs"
            )
        return found

    async def close(self) -> None:
        """Let go of what others still use: transactions, handlers, receivers, requests. Then send what waits.

        Transactions come first: the others need the write lock that one of them may hold.
        """
        for transaction in list(self.transactions):
            await transaction.abandon()
        await self.drain(0.0)
        for receiver in list(self._receivers):
            await receiver.close()
        await self.requests.close()
        await self.publisher.close()

    async def drain(self, deadline_s: float) -> int:
        """Let the handlers finish, and stop them. Returns how many were abandoned. May be called twice."""
        repeaters, self._repeaters = self._repeaters, []
        for repeater in repeaters:
            await repeater.stop()
        consumers, self._consumers = self._consumers, []
        watchdog, self._watchdog = self._watchdog, None
        # The watchdog first: it must not open feeds of what is being drained.
        ending = [watchdog.close()] if watchdog else []
        results = await asyncio.gather(
            *ending, *(consumer.drain(deadline_s) for consumer in consumers), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return sum(result for result in results if isinstance(result, int))


@asynccontextmanager
async def connect(
    bus: Bus,
    routes: Routes,
    transports: Sequence[Transport],
    *,
    name: str,
    clock: Clock,
    random: Callable[[], float],
    retry: RetryPolicy,
    middleware: tuple[Middleware, ...],
    overrides: dict[Callable[..., Any], Callable[..., Any]],
) -> AsyncIterator[Connection]:
    """Open the transports; at the end send what waits, let go of what was received, and close them."""
    async with AsyncExitStack() as stack:
        await _open_all(transports, stack)
        threads = ThreadPoolExecutor(HANDLER_THREADS_MAX, thread_name_prefix="waystation-handler")
        # Without waiting: a thread cannot be stopped, and whatever was abandoned comes again.
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        publisher = Publisher(routes, transports, source=name, clock=clock)
        runtime = Runtime(
            bus=bus,
            clock=clock,
            random=random,
            publisher=publisher,
            requests=Requests(publisher, clock=clock),
            middleware=middleware,
            overrides=overrides,
            retry=retry,
            threads=threads,
        )
        connection = Connection(runtime, routes, transports)
        stack.push_async_callback(connection.close)
        yield connection


async def _open_all(transports: Sequence[Transport], stack: AsyncExitStack) -> None:
    """Open transports together: one may listen where another program waits to connect before it listens itself."""
    for transport in transports:
        stack.push_async_callback(transport.close)
    opened = await asyncio.gather(*(transport.open() for transport in transports), return_exceptions=True)
    for failure in opened:
        if failure is not None:
            raise failure


@asynccontextmanager
async def hooks(startup: Sequence[Hook], shutdown: Sequence[Hook]) -> AsyncIterator[None]:
    """Call what is to be called around the running of handlers. The last ones to start are the first to end."""
    async with AsyncExitStack() as stack:
        for hook in shutdown:
            stack.push_async_callback(_call, hook)
        for hook in startup:
            await _call(hook)
        yield


def placements(
    specs: Sequence[HandlerSpec], routes: Routes, transports: Sequence[Transport]
) -> list[tuple[HandlerSpec, Transport]]:
    """Say on which transports each handler listens: on more than one if its pattern spans several."""
    return [(spec, transports[index]) for spec in specs for index in routes.of_pattern(spec.topic.name)]


def check_needs(
    specs: Sequence[HandlerSpec],
    repeats: Sequence[RepeatSpec],
    routes: Routes,
    transports: Sequence[Transport],
) -> None:
    """Refuse handlers that their transport cannot serve, and recurring messages that it cannot keep.

    Raises:
        UnsupportedCapability: In a sentence with the handler, the fact and the transport.
    """
    for spec, transport in placements(specs, routes, transports):
        for need in spec.requirements:
            transport.capabilities.require(need, by=f"the handler {spec.invocation.signature.name}")
    for repeat in repeats:
        capabilities = transports[routes.of_topic(repeat.topic_name)].capabilities
        capabilities.require("recurring", by=f"repeat(name={repeat.name!r})")


async def _call(hook: Hook) -> None:
    result = hook()
    if inspect.isawaitable(result):
        await result
