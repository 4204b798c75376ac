"""Requests and their answers: the sender waits, without holding anything but a place in a table.

All answers to one bus come by one address and one feed per transport; a request is found again by its correlation id.
The address is opened by the first request, so a bus that never asks never listens.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from .._core.codec import decode
from .._core.delivery import Receipt
from .._core.errors import (
    ConfigurationError,
    DecodeError,
    NoResponder,
    RequestFailed,
    RequestTimeout,
    WaystationError,
)
from .._core.inspection import Inspector
from .._core.limits import KNOWN_TOPICS_COUNT_MAX, REQUESTS_IN_FLIGHT_MAX
from .._core.message import Message
from .._core.ports import Asking, Clock, Feed, Subscription, Topology, Transport
from .._core.question import Told
from .._core.stream import PARTS
from .._core.topic import REPLY_WORD, Endpoint, StreamEndpoint, Topic
from .._core.url import did_you_mean
from .incoming import Incoming
from .joiner import Joiner
from .parts import Outcome
from .publisher import Publisher
from .replies import Answer, ReplyDesk, too_many
from .transaction import open_transaction

Q = TypeVar("Q")
R = TypeVar("R")

_log = logging.getLogger("waystation.requests")


_AnyEndpoint: TypeAlias = Endpoint[Q, Any] | StreamEndpoint[Q, Any]


@dataclass(slots=True)
class _Way:
    """How one endpoint is asked.

    Attributes:
        endpoint: It is found by its identity, which is its own as long as it is kept here: to compare the values of
            two endpoints costs as much as to write a body.
        ask: Takes a question to it by a shorter way than a message's, if its transport has one.
        desk: Where its answers come; None: it was never asked.
    """

    endpoint: _AnyEndpoint[Any]
    topic: Topic[Any]
    joiner: Joiner
    ask: Callable[[Message, Callable[[Told], None]], object] | None
    desk: ReplyDesk | None = None


class PendingReply:
    """A request whose answer goes to a callback."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> bool:
        """Forget the request: no callback is called any more. False if it has ended already.

        The responder may act all the same; its answer is dropped.
        """
        return self._task.cancel()

    def done(self) -> bool:
        """Whether the answer, an error or the cancellation has come."""
        return self._task.done()


class Requests:
    """The requests of one connected bus."""

    def __init__(self, publisher: Publisher, *, clock: Clock) -> None:
        self._publisher = publisher
        self._clock = clock
        self._address = f"{REPLY_WORD}.{secrets.token_hex(8)}"
        self._desks: dict[Transport, ReplyDesk] = {}
        self._opening = asyncio.Lock()
        self._ways: dict[int, _Way] = {}
        self._answered: set[tuple[Transport, str]] = set()
        self._callbacks: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Requests that wait for their answer."""
        return sum(len(desk) for desk in self._desks.values())

    @property
    def late(self) -> int:
        """Answers that came when nobody waited for them any more, and were dropped."""
        return sum(desk.late for desk in self._desks.values())

    async def request(
        self,
        endpoint: Endpoint[Q, R],
        body: Q,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> R:
        """Ask, and wait for the answer; see `Bus.request`."""
        until_s = self._clock.monotonic() + timeout_s
        if not isinstance(endpoint, Endpoint):
            raise ConfigurationError(
                f"{endpoint!r} is not an Endpoint; a StreamEndpoint is asked by request_stream()"
            )
        way = self._way(endpoint, by="request")
        desk = await self._open(way) if way.desk is None else way.desk
        joiner = way.joiner
        message = self._question(way, body, timeout_s=timeout_s, headers=headers, key=key)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        desk.expect(message.id, answer, until_s)
        try:
            if joiner.full:
                await joiner.room()
            if way.ask is not None:
                way.ask(message, partial(desk.told, answer))
            else:
                joiner.give((message,), partial(_end_unless_sent, answer))
            reply = await answer
        finally:
            del desk.pending[message.id]
        if reply is None:
            raise RequestTimeout(
                f"no answer from {endpoint.name!r} within {timeout_s:g} s; its responder may have acted"
            )
        if isinstance(reply, WaystationError):
            raise reply
        if reply.failure is not None:
            raise RequestFailed(f"{endpoint.name!r} failed: {reply.failure}", reason=reply.failure)
        if reply.content_type == PARTS:
            if isinstance(reply, Message):
                desk.stop(reply)
            raise DecodeError(f"{endpoint.name!r} streams its answer: ask with request_stream()")
        response: R = decode(reply.body, endpoint.response, reply.content_type)
        return response

    async def stream(
        self,
        endpoint: StreamEndpoint[Q, R],
        body: Q,
        *,
        timeout_s: float,
        total_s: float | None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> AsyncGenerator[R]:
        """Ask, and yield the parts of the answer; see `Bus.request_stream`."""
        if not isinstance(endpoint, StreamEndpoint):
            raise ConfigurationError(
                f"{endpoint!r} is not a StreamEndpoint; an Endpoint is asked by request()"
            )
        way = self._way(endpoint, by="request_stream")
        desk = await self._open(way) if way.desk is None else way.desk
        joiner = way.joiner
        message = self._question(way, body, timeout_s=timeout_s, headers=headers, key=key)
        incoming = Incoming(endpoint.name, desk, self._clock, timeout_s=timeout_s, total_s=total_s)
        try:
            with desk.conversation(message.id, incoming):
                if joiner.full:
                    await joiner.room()
                joiner.give((message,), incoming.sent)
                while (part := await incoming.next()) is not None:
                    data, content_type = part
                    yield decode(data, endpoint.part, content_type)
        finally:
            incoming.close()

    def request_later(
        self,
        endpoint: Endpoint[Q, R],
        body: Q,
        *,
        on_reply: Callable[[R], object],
        on_error: Callable[[Exception], object] | None,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> PendingReply:
        """Ask, and call back; see `Bus.request_later`."""
        if len(self._callbacks) >= REQUESTS_IN_FLIGHT_MAX:
            raise too_many()
        ask = partial(self.request, endpoint, body, timeout_s=timeout_s, headers=headers, key=key)
        task = asyncio.get_running_loop().create_task(_call_back(ask, endpoint.name, on_reply, on_error))
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)
        return PendingReply(task)

    async def close(self) -> None:
        """Stop listening. Whoever still waits gets `Disconnected`; callbacks are told so too. May be called twice."""
        for desk in self._desks.values():
            await desk.close()
        if self._callbacks:
            await asyncio.wait(self._callbacks)

    async def desk(self, transport: Transport) -> ReplyDesk:
        """Return the address on a transport, opened once."""
        async with self._opening:
            desk = self._desks.get(transport)
            if desk is None:
                address = Subscription(pattern=self._address, group=None, start="new")

                async def open_address() -> Feed:
                    await transport.declare(Topology(subscriptions=(address,)))
                    return await transport.open_feed(address)

                desk = self._desks[transport] = ReplyDesk(
                    await open_address(),
                    self._address,
                    transport,
                    reopen=open_address,
                    publisher=self._publisher,
                    clock=self._clock,
                )
            return desk

    def _way(self, endpoint: _AnyEndpoint[Any], *, by: str) -> _Way:
        """Return how an endpoint is asked, if it can be asked here and now."""
        if open_transaction(self._publisher) is not None:
            raise ConfigurationError(
                "a request would wait for an answer to what is not committed: ask outside of it"
            )
        return self._ways.get(id(endpoint)) or self._new_way(endpoint, by=by)

    def _new_way(self, endpoint: _AnyEndpoint[Any], *, by: str) -> _Way:
        joiner = self._publisher.joiner(endpoint.name)
        joiner.transport.capabilities.require("request_reply", by=f"{by}({endpoint.name!r})")
        if len(self._ways) >= KNOWN_TOPICS_COUNT_MAX:
            self._ways.clear()
        topic = Topic(endpoint.name, endpoint.request, endpoint.content_type)
        ask = joiner.transport.ask if isinstance(joiner.transport, Asking) else None
        way = self._ways[id(endpoint)] = _Way(endpoint, topic, joiner, ask)
        return way

    async def _open(self, way: _Way) -> ReplyDesk:
        """Open the address to which answers come, and refuse at once what nobody will ever answer."""
        transport = way.joiner.transport
        desk = await self.desk(transport)
        await self._check_responder(transport, way.topic.name)
        way.desk = desk
        return desk

    async def _check_responder(self, transport: Transport, endpoint: str) -> None:
        """Refuse if the transport can tell that nobody has ever declared to answer there."""
        if (transport, endpoint) in self._answered or not isinstance(transport, Inspector):
            return
        declared = {info.group for info in await transport.groups() if info.group == info.topic}
        if endpoint not in declared:
            hint = did_you_mean(endpoint, declared) or ": start its responder first"
            raise NoResponder(f"nobody has ever declared to answer at {endpoint!r}{hint}")
        if len(self._answered) >= KNOWN_TOPICS_COUNT_MAX:
            self._answered.clear()
        self._answered.add((transport, endpoint))

    def _question(
        self, way: _Way, body: Any, *, timeout_s: float, headers: Mapping[str, str] | None, key: str | None
    ) -> Message:
        """Make a request's message."""
        return self._publisher.question(
            way.topic, body, key=key, headers=headers, expires_s=timeout_s, reply_to=self._address
        )


async def _call_back(
    ask: Callable[[], Awaitable[R]],
    endpoint: str,
    on_reply: Callable[[R], object],
    on_error: Callable[[Exception], object] | None,
) -> None:
    """Wait for an answer and call one of two functions with what came. Either may be `async`."""
    try:
        try:
            reply = await ask()
        except Exception as error:
            if on_error is None:
                raise
            called = on_error(error)
        else:
            called = on_reply(reply)
        if isinstance(called, Awaitable):
            await called
    except Exception:  # noqa: BLE001 - a callback is somebody else's code, and nobody awaits this task
        _log.exception("a request to %r, or the callback with its outcome, failed", endpoint)


def _end_unless_sent(answer: asyncio.Future[Answer], outcomes: Sequence[Outcome]) -> None:
    outcome = outcomes[0]
    if not isinstance(outcome, Receipt) and not answer.done():
        answer.set_result(outcome)
