"""Requests and their answers: the sender waits, without holding anything but a place in a table.

All answers to one bus come by one address and one feed per transport; a request is found again by its correlation id.
The address is opened by the first request, so a bus that never asks never listens.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

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
from .._core.ports import Clock, Subscription, Topology, Transport
from .._core.stream import PARTS
from .._core.topic import REPLY_WORD, Endpoint, StreamEndpoint, Topic
from .._core.url import did_you_mean
from .incoming import Incoming
from .joiner import Outcome
from .publisher import Publisher
from .replies import Answer, ReplyDesk, too_many
from .transaction import open_transaction

Q = TypeVar("Q")
R = TypeVar("R")

_log = logging.getLogger("waystation.requests")


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
        if not isinstance(endpoint, Endpoint):
            raise ConfigurationError(
                f"{endpoint!r} is not an Endpoint; a StreamEndpoint is asked by request_stream()"
            )
        transport = self._transport(endpoint.name, by="request")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(timeout_s, lambda: _expire(answer, endpoint.name, timeout_s))
        message_id = self._publisher.next_id()
        desk = self._desks.get(transport) or await self.desk(transport)
        try:
            await self._check_responder(transport, endpoint.name)
            message = self._question(
                endpoint, body, message_id, timeout_s=timeout_s, headers=headers, key=key
            )
            desk.expect(message_id, answer)
            sent = await self._publisher.put(message)
            sent.add_done_callback(lambda sent: _end_unless_sent(sent, answer))
            reply = await answer
        finally:
            timer.cancel()
            desk.pending.pop(message_id, None)
        if isinstance(reply, WaystationError):
            raise reply
        if reply.failure is not None:
            raise RequestFailed(f"{endpoint.name!r} failed: {reply.failure}", reason=reply.failure)
        if reply.content_type == PARTS:
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
        transport = self._transport(endpoint.name, by="request_stream")
        message_id = self._publisher.next_id()
        desk = self._desks.get(transport) or await self.desk(transport)
        await self._check_responder(transport, endpoint.name)
        message = self._question(endpoint, body, message_id, timeout_s=timeout_s, headers=headers, key=key)
        incoming = Incoming(endpoint.name, desk, self._clock, timeout_s=timeout_s, total_s=total_s)
        try:
            with desk.conversation(message_id, incoming):
                sent = await self._publisher.put(message)
                sent.add_done_callback(incoming.sent)
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
                await transport.declare(Topology(subscriptions=(address,)))
                desk = self._desks[transport] = ReplyDesk(
                    await transport.open_feed(address),
                    self._address,
                    transport,
                    publisher=self._publisher,
                    clock=self._clock,
                )
            return desk

    def _transport(self, endpoint: str, *, by: str) -> Transport:
        """Return the transport of an endpoint, if it can be asked here and now."""
        transport = self._publisher.transport_of(endpoint)
        transport.capabilities.require("request_reply", by=f"{by}({endpoint!r})")
        if open_transaction(self._publisher) is not None:
            raise ConfigurationError(
                "a request would wait for an answer to what is not committed: ask outside of it"
            )
        return transport

    def _question(
        self,
        endpoint: Endpoint[Q, Any] | StreamEndpoint[Q, Any],
        body: Q,
        message_id: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None,
        key: str | None,
    ) -> Message:
        """Make a request's message. Its id tells whose answer an answer is."""
        return self._publisher.message(
            Topic(endpoint.name, endpoint.request, endpoint.content_type),
            body,
            key=key,
            headers=headers,
            expires=timeout_s,
            message_id=message_id,
            correlation_id=message_id,
            reply_to=self._address,
        )

    async def _check_responder(self, transport: Transport, endpoint: str) -> None:
        """Refuse at once if the transport can tell that nobody has ever declared to answer there."""
        if (transport, endpoint) in self._answered or not isinstance(transport, Inspector):
            return
        declared = {info.group for info in await transport.groups() if info.group == info.topic}
        if endpoint not in declared:
            hint = did_you_mean(endpoint, declared) or ": start its responder first"
            raise NoResponder(f"nobody has ever declared to answer at {endpoint!r}{hint}")
        if len(self._answered) >= KNOWN_TOPICS_COUNT_MAX:
            self._answered.clear()
        self._answered.add((transport, endpoint))


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


def _expire(answer: asyncio.Future[Answer], endpoint: str, timeout_s: float) -> None:
    if not answer.done():
        answer.set_result(
            RequestTimeout(
                f"no answer from {endpoint!r} within {timeout_s:g} s; its responder may have acted"
            )
        )


def _end_unless_sent(sent: asyncio.Future[Outcome], answer: asyncio.Future[Answer]) -> None:
    outcome = sent.result()
    if not isinstance(outcome, Receipt) and not answer.done():
        answer.set_result(outcome)
