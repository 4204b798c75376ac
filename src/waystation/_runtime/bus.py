"""`Bus`: the desk at which everything is asked for. What it does is done in the other files of this room."""

from __future__ import annotations

import random as random_module
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
)
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from .._core.capabilities import Capabilities
from .._core.duration import Duration, seconds
from .._core.errors import ConfigurationError
from .._core.inspection import Inspector
from .._core.limits import DRAIN_S, PULL_MESSAGES_COUNT, STALLED_AFTER_S
from .._core.liveness import Health
from .._core.ports import Clock, LeaseReleaser, Middleware, Start, Transport
from .._core.retry import RetryPolicy
from .._core.topic import Topic
from .._core.url import parse_address
from .blocking import BlockingBus, blocking_bus
from .clock import SystemClock
from .connection import Connection, Hook, check_needs, connect, hooks
from .health import answering
from .lifecycle import run_until_stopped
from .receiver import Receiver
from .resolve import Routes, find_transport
from .router import Router
from .sender import Sender
from .serving import Serving, serving

F = TypeVar("F", bound=Callable[[], object])
Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")


class Bus(Sender, Router):
    """Sends and receives messages; typed topics in, typed handlers out.

    Making one does no I/O. `async with bus:` connects; handlers run by `bus.run()`, `async with bus.running():` or
    `waystation run module:bus`, so that a program imported to publish does not begin to consume. It can be entered
    again after its end. Sending while it is not connected raises `Disconnected`.

    Args:
        url: The medium, or media by topic pattern, the most specific winning:
            `{"rpc.#": "memory://", "#": "sqlite:///shop.db"}`.
        name: What messages say they come from; else the program's name.
        middleware: Wraps every handler, the first one outermost.
        retry: What becomes of messages whose handler raised, unless the handler says otherwise.
        lifespan: A context manager around the running of handlers, called with the bus.
        stalled_after: How long messages may wait while nothing is delivered or handled, before a subscription counts as
            stalled and is subscribed anew.
        clock: Time, for tests.
        random: Returns numbers in [0, 1), for the jitter of retries, for tests.

    Raises:
        ConfigurationError: No transport has the URL's scheme, or an option of it is unknown.
    """

    def __init__(
        self,
        url: str | Mapping[str, str] = "sqlite:///waystation.db",
        *,
        name: str | None = None,
        middleware: Sequence[Middleware] = (),
        retry: RetryPolicy | None = None,
        lifespan: Callable[[Bus], AbstractAsyncContextManager[None]] | None = None,
        stalled_after: Duration = STALLED_AFTER_S,
        clock: Clock | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        Router.__init__(self)
        Sender.__init__(self)
        self.name = name or Path(sys.argv[0]).stem or "python"
        self._clock = clock or SystemClock()
        self._routes = Routes(url)
        self._transports = [find_transport(each, clock=self._clock) for each in self._routes.urls]
        self._middleware = tuple(middleware)
        self._retry = retry or RetryPolicy()
        self._random = random or random_module.random
        self._lifespan = lifespan
        self._stalled_after_s = seconds(stalled_after, name="stalled_after")
        if not self._stalled_after_s:
            raise ConfigurationError("stalled_after must be more than 0 seconds")
        self._startup: list[Hook] = []
        self._shutdown: list[Hook] = []
        self._overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        self._entered: AsyncExitStack | None = None

    # --- receiving ---------------------------------------------------------------------------------------------

    @overload
    def receive(
        self, topic: Topic[T], *, group: str, start: Start = ..., prefetch: int = ...
    ) -> Receiver[T]: ...
    @overload
    def receive(
        self, topic: str, *, group: str, start: Start = ..., prefetch: int = ...
    ) -> Receiver[Any]: ...
    def receive(
        self,
        topic: Topic[Any] | str,
        *,
        group: str,
        start: Start = "earliest",
        prefetch: int = PULL_MESSAGES_COUNT,
    ) -> Receiver[Any]:
        """Pull deliveries and settle each oneself: `async for received in bus.receive(topic, group="audit"):`.

        Args:
            prefetch: Deliveries held unsettled at most.
        """
        return self._connected.receive(topic, group=group, start=start, prefetch=prefetch)

    def on_startup(self, hook: F) -> F:
        """Call a function, `async` or not, before the handlers start. If it raises, they do not."""
        self._startup.append(hook)
        return hook

    def on_shutdown(self, hook: F) -> F:
        """Call a function, `async` or not, after the handlers have stopped; the last one declared first."""
        self._shutdown.append(hook)
        return hook

    def override(
        self, dependency: Callable[..., Any], replacement: Callable[..., Any]
    ) -> AbstractContextManager[object]:
        """Use another dependency in place of one named in `Depends`, for tests: from now on, or in a `with` block."""
        self._overrides[dependency] = replacement
        undo = ExitStack()
        undo.callback(self._overrides.pop, dependency, None)
        return undo

    # --- life --------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ConfigurationError: It is connected already.
            WaystationError: The medium cannot be reached or used. Nothing is left open.
        """
        if self._entered is not None:
            raise ConfigurationError("this bus is connected already: enter it once, and share it")
        self._entered = AsyncExitStack()
        try:
            self._connection = await self._entered.enter_async_context(self._connect())
        finally:
            if self._connection is None:
                self._entered = None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what waits, hand back what was received, disconnect. What is asked for from now on is refused.

        A transaction that another task has open is rolled back, and handlers that run somewhere are abandoned.
        """
        entered, self._entered, self._connection = self._entered, None, None
        if entered is not None:
            await entered.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def running(self, *, drain: Duration = DRAIN_S) -> AsyncIterator[Self]:
        """Connect, if need be, and run the handlers; at the end drain them, for so long.

        Raises:
            UnsupportedCapability: A handler needs what its transport cannot give: refused before any I/O.
            ConfigurationError: The handlers run already.
        """
        drain_s = seconds(drain, name="drain")
        check_needs(self._specs, self._repeats, self._routes, self._transports)
        async with AsyncExitStack() as stack:
            if self._connection is None:
                await stack.enter_async_context(self)
                # Again: connecting may have lowered some.
                check_needs(self._specs, self._repeats, self._routes, self._transports)
            connection = self._connected
            if self._lifespan is not None:
                await stack.enter_async_context(self._lifespan(self))
            await stack.enter_async_context(hooks(self._startup, self._shutdown))
            stack.push_async_callback(connection.drain, drain_s)
            await connection.start(self._specs, self._repeats, stalled_after_s=self._stalled_after_s)
            yield self

    def pause(self, handler: Callable[..., object], *, reason: str = "by hand") -> None:
        """Take no more messages for a handler, in this process; what runs goes on, what waits is given back.

        Args:
            handler: The function that was decorated. It runs.
            reason: Shown in `health()` and in the log.

        Raises:
            ConfigurationError: It is no handler that runs here.
        """
        for valve in self._connected.valves(handler):
            valve.pause(reason)

    def resume(self, handler: Callable[..., object]) -> None:
        """Take messages for a handler again. Of no effect if it was not paused by hand.

        Raises:
            ConfigurationError: It is no handler that runs here.
        """
        for valve in self._connected.valves(handler):
            valve.resume()

    async def drain(self, deadline_s: float) -> int:
        """Take no more messages, let the handlers finish for so long, and give back what was not begun.

        Returns:
            How many handlers were abandoned at the deadline; their messages come again.
        """
        return await self._connected.drain(deadline_s)

    async def run(self, *, drain: Duration = DRAIN_S, health: str | None = None) -> int:
        """Run the handlers until SIGTERM or SIGINT, then drain them; a second signal abandons what still runs.

        Args:
            health: An address such as `127.0.0.1:8080` at which `GET /ready` and `GET /live` are answered meanwhile:
                200 or 503, and `health()` as JSON.

        Returns:
            How many handlers were abandoned; their messages come again.

        Raises:
            ConfigurationError: It has neither handlers nor anything else to start, or nobody can listen at `health`.
        """
        if not (self._specs or self._repeats or self._startup or self._lifespan):
            raise ConfigurationError(
                "this bus has no handlers to run: declare some with @bus.subscribe, @bus.handle or @bus.respond, or "
                "take over a router's with bus.include(router), in a module that is imported together with the bus"
            )
        drain_s = seconds(drain, name="drain")
        async with AsyncExitStack() as stack:
            if health is not None:
                host, port = parse_address(health, name="health")
                await stack.enter_async_context(answering(host, port, self._probe, clock=self._clock))
            return await run_until_stopped(self, drain_s)

    @asynccontextmanager
    async def serving(self, listen: str, *, drain: Duration = DRAIN_S) -> AsyncIterator[str]:
        """Let other processes use this bus's medium: `async with bus.serving("tcp://127.0.0.1:7400"):`.

        Connects, if need be. They make a `Bus` of the URL that this yields, and have what its medium has. At the end
        they may finish what is under way.

        Args:
            listen: Where, and who is let in: `tcp://0.0.0.0:7400?tls_cert=FILE&tls_key=FILE&token_file=FILE`.

        Raises:
            ConfigurationError: Nobody can listen there, or it would let in strangers; or the bus has several URLs.
        """
        drain_s = seconds(drain, name="drain")
        async with AsyncExitStack() as stack:
            if self._connection is None:
                await stack.enter_async_context(self)
            yield await stack.enter_async_context(serving(self._only, listen, drain_s))

    async def serve(self, listen: str, *, drain: Duration = DRAIN_S) -> int:
        """Serve, as `serving`, until SIGTERM or SIGINT; a second signal cuts off what clients have begun.

        Returns:
            0, or 1 if it was cut off.
        """
        drain_s = seconds(drain, name="drain")
        return await run_until_stopped(Serving(self, listen, drain_s), drain_s)

    async def release_process(self, pid: int) -> int:
        """Give to others at once what a dead process of this machine held; return how many leases that were.

        For supervisors. Without it the leases end by themselves, some seconds later.
        """
        transports = self._connected.transports
        return sum(
            [await each.release_process(pid) for each in transports if isinstance(each, LeaseReleaser)]
        )

    def blocking(self) -> AbstractContextManager[BlockingBus]:
        """Connect for code without an event loop: `with bus.blocking() as b: b.publish(...)`.

        One event loop in a thread of its own does the work; where the bus is connected already, as for a plain
        handler, its own event loop does.

        Raises:
            ConfigurationError: This thread runs an event loop, which would stand still.
        """
        return blocking_bus(self, self._connection.loop if self._connection else None)

    # --- looking -----------------------------------------------------------------------------------------------

    def health(self) -> Health:
        """What this process can do now: whether it is live and ready, why not, and the state of each subscription.

        Not connected, or without running handlers, it is live and not ready.
        """
        if self._connection is None:
            return Health(live=True, ready=False, reasons=("the bus is not connected",))
        return self._connection.health()

    @property
    def capabilities(self) -> Capabilities:
        """What the bus's one transport can do; with several URLs ask `capabilities_of` a topic."""
        return self._only.capabilities

    def capabilities_of(self, topic: Topic[Any] | str) -> Capabilities:
        """What the transport of a topic can do: what its URL can give at most and, once connected, what was found."""
        return self._transports[self._routes.of_topic(_name(topic))].capabilities

    def inspector(self, topic: Topic[Any] | str | None = None) -> Inspector:
        """Return what looks into the medium: topics, groups, lag, dead letters. With several URLs, of a topic's.

        Raises:
            UnsupportedCapability: The medium cannot be looked into.
        """
        connection = self._connected
        transport = self._only if topic is None else connection.publisher.transport_of(_name(topic))
        transport.capabilities.require("inspectable", by="bus.inspector()")
        assert isinstance(transport, Inspector), "a transport that is inspectable is an Inspector"
        return transport

    async def _probe(self) -> Health:
        return self.health()

    @property
    def _only(self) -> Transport:
        if len(self._transports) > 1:
            raise ConfigurationError("the bus has several URLs: name the topic whose medium is meant")
        return self._transports[0]

    def _connect(self) -> AbstractAsyncContextManager[Connection]:
        return connect(
            self, self._routes, self._transports, name=self.name, clock=self._clock, random=self._random,
            retry=self._retry, middleware=self._middleware, overrides=self._overrides,
        )  # fmt: skip


def _name(topic: Topic[Any] | str) -> str:
    return topic if isinstance(topic, str) else topic.name
