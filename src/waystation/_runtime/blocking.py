"""The same bus for code without an event loop: one loop in a thread of its own, and no second engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack

from .._core.delivery import Durability, Receipt
from .._core.duration import Duration, Instant
from .._core.errors import ConfigurationError, Disconnected
from .._core.limits import INTERRUPT_POLL_S, REQUEST_TIMEOUT_S
from .._core.topic import Endpoint, StreamEndpoint, Topic
from .composer import SendOptions
from .loop import new_event_loop

if TYPE_CHECKING:
    from .bus import Bus

P = ParamSpec("P")
Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")


class Portal:
    """A way into an event loop that runs in another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for it. Its errors are raised here; Ctrl-C here cancels it there.

        Raises:
            ConfigurationError: This thread runs an event loop, which would stand still.
            Disconnected: The event loop has ended.
        """
        try:
            _refuse_on_a_loop()
            if self._loop.is_closed():
                raise Disconnected("connect first: `with bus.blocking() as b:`")
        except BaseException:
            coroutine.close()
            raise
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return _result(future)
        finally:
            future.cancel()  # of no effect unless the wait was interrupted


class BlockingBus:
    """A bus for plain code, threads included: each method waits for what the method of `Bus` of its name does.

    Made by `with bus.blocking() as b:`. What several threads send at once travels together.
    """

    def __init__(self, bus: Bus, portal: Portal) -> None:
        self._bus = bus
        self._portal = portal

    def publish(self, topic: Topic[T] | str, body: T, **options: Unpack[SendOptions]) -> Receipt:
        """Publish an event; see `Bus.publish`."""
        return self._portal.run(self._bus.publish(topic, body, **options))

    def send(self, topic: Topic[T] | str, body: T, **options: Unpack[SendOptions]) -> Receipt:
        """Send a command; see `Bus.send`."""
        return self._portal.run(self._bus.send(topic, body, **options))

    def publish_many(
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
        """Publish many events of one topic; see `Bus.publish_many`. `bodies` is iterated in the loop's thread."""
        return self._portal.run(
            self._bus.publish_many(
                topic, bodies, key=key, headers=headers, delay=delay, at=at, expires=expires,
                priority=priority, require=require,
            )
        )  # fmt: skip

    def request(
        self,
        endpoint: Endpoint[Q, R],
        body: Q,
        *,
        timeout: Duration = REQUEST_TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> R:
        """Ask, and wait for the answer; see `Bus.request`."""
        return self._portal.run(self._bus.request(endpoint, body, timeout=timeout, headers=headers, key=key))

    def request_stream(
        self,
        endpoint: StreamEndpoint[Q, R],
        body: Q,
        *,
        timeout: Duration = REQUEST_TIMEOUT_S,
        total: Duration | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Generator[R]:
        """Ask, and iterate over the parts of the answer; see `Bus.request_stream`. Leaving the loop stops it."""
        parts = self._bus.request_stream(
            endpoint, body, timeout=timeout, total=total, headers=headers, key=key
        )
        try:
            while (found := self._portal.run(_next(parts))) is not None:
                yield found[0]
        finally:
            with suppress(Disconnected):  # closing the bus has stopped it
                self._portal.run(parts.aclose())

    def call(self, function: Callable[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run any coroutine function on the bus's event loop: `b.call(move_everything, bus)`."""
        return self._portal.run(function(*args, **kwargs))


@contextmanager
def blocking_bus(bus: Bus, loop: asyncio.AbstractEventLoop | None) -> Iterator[BlockingBus]:
    """Give plain code a bus; see `Bus.blocking`.

    Args:
        loop: Where the bus is connected already, if it is.
    """
    _refuse_on_a_loop()
    if loop is not None:
        yield BlockingBus(bus, Portal(loop))
        return
    with _loop_in_a_thread() as own:
        portal = Portal(own)
        portal.run(bus.__aenter__())
        try:
            yield BlockingBus(bus, portal)
        finally:
            portal.run(bus.__aexit__(None, None, None))


@contextmanager
def _loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    runner = asyncio.Runner(loop_factory=new_event_loop)
    loop, stop = runner.get_loop(), asyncio.Event()

    def serve() -> None:
        with runner:
            runner.run(stop.wait())

    thread = threading.Thread(target=serve, name="waystation-portal", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _next(parts: AsyncGenerator[T]) -> tuple[T] | None:
    """Return the next part, in a tuple because it may be None; None: that was all."""
    async for part in parts:
        return (part,)
    return None


def _result(future: Future[T]) -> T:
    # Never asleep for long: CPython does not see a signal that comes between its last look and the sleep.
    while not future.done():
        try:
            return future.result(INTERRUPT_POLL_S)
        except TimeoutError:
            pass  # either the poll's, or the call's own, which is raised below
    return future.result()


def _refuse_on_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError(
        "this thread runs an event loop, which would stand still: use the bus itself, with await"
    )
