"""Requests and their answers: the sender waits, without holding anything but a place in a table.

All answers to one bus come by one address and one feed per transport; a request is found again by its correlation id.
The address is opened by the first request, so a bus that never asks never listens.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import TypeAlias, TypeVar

from .._core.codec import decode
from .._core.delivery import ACCEPT, Delivery, Receipt
from .._core.errors import (
    ConfigurationError,
    Disconnected,
    NoResponder,
    RequestFailed,
    RequestTimeout,
    SendRejected,
    WaystationError,
)
from .._core.inspection import Inspector
from .._core.limits import (
    CREDIT_MESSAGES_MAX,
    KNOWN_TOPICS_COUNT_MAX,
    RECONNECT_DELAY_S_MAX,
    RECONNECT_FIRST_DELAY_S,
    REQUESTS_IN_FLIGHT_MAX,
)
from .._core.message import Message
from .._core.ports import Clock, Feed, Subscription, Topology, Transport
from .._core.topic import REPLY_WORD, Endpoint, Topic
from .._core.url import did_you_mean
from .joiner import Outcome
from .publisher import Publisher
from .transaction import open_transaction

Q = TypeVar("Q")
R = TypeVar("R")

_Answer: TypeAlias = Message | WaystationError

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
        self._desks: dict[Transport, _ReplyDesk] = {}
        self._opening = asyncio.Lock()
        self._answered: set[tuple[Transport, str]] = set()
        self._callbacks: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Requests that wait for their answer."""
        return sum(len(desk.pending) for desk in self._desks.values())

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
        transport = self._publisher.transport_of(endpoint.name)
        transport.capabilities.require("request_reply", by=f"request({endpoint.name!r})")
        if open_transaction(self._publisher) is not None:
            raise ConfigurationError(
                "a request would wait for an answer to what is not committed: ask outside of it"
            )
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(timeout_s, lambda: _expire(answer, endpoint.name, timeout_s))
        message_id = self._publisher.next_id()
        desk = self._desks.get(transport) or await self._open(transport)
        try:
            await self._check_responder(transport, endpoint.name)
            message = self._publisher.message(
                Topic(endpoint.name, endpoint.request, endpoint.content_type),
                body,
                key=key,
                headers=headers,
                expires=timeout_s,
                message_id=message_id,
                correlation_id=message_id,
                reply_to=self._address,
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
        response: R = decode(reply.body, endpoint.response, reply.content_type)
        return response

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
            raise _too_many()
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

    async def _open(self, transport: Transport) -> _ReplyDesk:
        """Open the address on a transport, once."""
        async with self._opening:
            if transport not in self._desks:
                address = Subscription(pattern=self._address, group=None, start="new")
                await transport.declare(Topology(subscriptions=(address,)))
                self._desks[transport] = _ReplyDesk(await transport.open_feed(address), self._clock)
            return self._desks[transport]

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


class _ReplyDesk:
    """The feed of answers of one transport, and who waits for which."""

    def __init__(self, feed: Feed, clock: Clock) -> None:
        self.pending: dict[str, asyncio.Future[_Answer]] = {}
        self.late = 0
        self._feed = feed
        self._clock = clock
        self._reader = asyncio.get_running_loop().create_task(self._read(), context=Context())

    def expect(self, correlation_id: str, answer: asyncio.Future[_Answer]) -> None:
        """Enter somebody who waits. He leaves by himself, whatever happens."""
        if len(self.pending) >= REQUESTS_IN_FLIGHT_MAX:
            raise _too_many()
        self.pending[correlation_id] = answer

    async def close(self) -> None:
        """Stop reading; tell those who wait."""
        self._reader.cancel()
        await asyncio.wait([self._reader])
        await self._feed.close()
        for answer in self.pending.values():
            if not answer.done():
                answer.set_result(Disconnected("the bus was closed while a request waited for its answer"))

    async def _read(self) -> None:
        delay_s = RECONNECT_FIRST_DELAY_S
        while True:
            try:
                deliveries = await self._feed.receive(CREDIT_MESSAGES_MAX)
                self._hand_out(deliveries)
                await self._feed.settle([(delivery, ACCEPT) for delivery in deliveries])
            except Exception:  # noqa: BLE001 - answers to come must be read, whatever was wrong with these
                if delay_s == RECONNECT_FIRST_DELAY_S:
                    _log.exception("answers cannot be received; trying again until they can")
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, RECONNECT_DELAY_S_MAX)
            else:
                if delay_s != RECONNECT_FIRST_DELAY_S:
                    _log.warning("answers are received again")
                delay_s = RECONNECT_FIRST_DELAY_S

    def _hand_out(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            answer = self.pending.get(delivery.message.correlation_id or "")
            if answer is None or answer.done():
                self.late += 1
            else:
                answer.set_result(delivery.message)


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


def _expire(answer: asyncio.Future[_Answer], endpoint: str, timeout_s: float) -> None:
    if not answer.done():
        answer.set_result(
            RequestTimeout(
                f"no answer from {endpoint!r} within {timeout_s:g} s; its responder may have acted"
            )
        )


def _end_unless_sent(sent: asyncio.Future[Outcome], answer: asyncio.Future[_Answer]) -> None:
    outcome = sent.result()
    if not isinstance(outcome, Receipt) and not answer.done():
        answer.set_result(outcome)


def _too_many() -> SendRejected:
    return SendRejected(
        f"{REQUESTS_IN_FLIGHT_MAX:,} requests wait for their answers already; nothing was sent"
    )
