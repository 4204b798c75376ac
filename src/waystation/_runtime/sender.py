"""`Sender`: the half of a bus that sends, asks, and opens transactions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeVar, Unpack

from .._core.delivery import Durability, Receipt
from .._core.duration import Duration, Instant, seconds
from .._core.errors import Disconnected
from .._core.limits import REQUEST_TIMEOUT_S
from .._core.topic import Endpoint, StreamEndpoint, Topic
from .batch import Batch
from .composer import SendOptions
from .connection import Connection
from .requests import PendingReply
from .transaction import Transaction, open_transaction, transaction_on

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")


class Sender:
    """What `Bus` sends with. Everything here needs the bus to be connected, and raises `Disconnected` otherwise."""

    def __init__(self) -> None:
        self._connection: Connection | None = None

    async def publish(
        self,
        topic: Topic[T] | str,
        body: T,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        delay: Duration | None = None,
        at: Instant | None = None,
        expires: Duration | None = None,
        priority: int | None = None,
        dedupe_key: str | None = None,
        require: Durability | None = None,
        message_id: str | None = None,
        correlation_id: str | None = None,
    ) -> Receipt:
        """Publish an event: every group gets it. What concurrent tasks publish is sent together.

        Inside `bus.transaction()` it is sent when, and only if, that commits; the receipt then says `SENT`.

        Args:
            key: Messages with one key are handled in the order in which they were published.
            headers: Text to text, for the application.
            delay: Deliver it after this long; `at`: at this time.
            expires: No handler starts on it after this long.
            priority: Higher first, from 0 (normal) to 9.
            dedupe_key: A second message with it, within the transport's window, is not stored.
            require: The least durability that will do; refused before anything is sent if it cannot be reached.
            message_id: To send again what was `SendUnconfirmed`.
            correlation_id: Names the conversation; else that of the message whose handler runs.

        Returns:
            What is certain now.

        Raises:
            MessageError: The body is not what the topic carries, or too large. Nothing was sent.
            ConfigurationError: An argument is not legal, or the transport cannot do it. Nothing was sent.
            SendRejected: Certainly not stored.
            SendUnconfirmed: Unknown: it may have been stored. So it is when this is cancelled.
        """
        publisher = self._connected.publisher
        message = publisher.message(
            topic, body, key=key, headers=headers, delay=delay, at=at, expires=expires, priority=priority,
            dedupe_key=dedupe_key, require=require, message_id=message_id, correlation_id=correlation_id,
        )  # fmt: skip
        transaction = open_transaction(publisher)
        if transaction is not None:
            (receipt,) = await transaction.send_messages([message])
            return receipt
        return await publisher.send(message)

    async def send(self, topic: Topic[T] | str, body: T, **options: Unpack[SendOptions]) -> Receipt:
        """Send a command: one handler gets it (`handle`), and it is kept until there is one. Else as `publish`."""
        publisher = self._connected.publisher
        transaction = open_transaction(publisher)
        if transaction is not None:
            return await transaction.send(topic, body, **options)
        message = publisher.message(topic, body, **options)
        await publisher.declare_command(topic)
        return await publisher.send(message)

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
        """Publish many events of one topic, in order: much faster than one by one.

        Args:
            key: One for all, or a function that gives each body's.

        Raises:
            WaystationError: The first that went wrong, as in `publish`; a note on it says how many are stored. Bodies
                are taken, encoded and sent a thousand at a time, so those before a bad one may have been sent.
        """
        publisher = self._connected.publisher
        transaction = open_transaction(publisher)
        send = publisher.publish_many if transaction is None else transaction.publish_many
        return await send(
            topic, bodies, key=key, headers=headers, delay=delay, at=at, expires=expires, priority=priority,
            require=require,
        )  # fmt: skip

    def batch(self) -> Batch:
        """Collect messages, of different topics too, and send them together: `async with bus.batch() as batch:`."""
        return Batch(self._connected.publisher)

    async def request(
        self,
        endpoint: Endpoint[Q, R],
        body: Q,
        *,
        timeout: Duration = REQUEST_TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> R:
        """Ask, and wait for the answer. Cancelling forgets the request; a late answer is dropped.

        Raises:
            RequestTimeout: No answer in time; the responder may have acted, or may have been too late to start.
            RequestFailed: The responder raised.
            NoResponder: Nobody has ever declared to answer there.
            DecodeError: The answer is not what the endpoint says.
            WaystationError: The request could not be sent, as in `publish`.
        """
        timeout_s = seconds(timeout, name="timeout")
        return await self._connected.requests.request(
            endpoint, body, timeout_s=timeout_s, headers=headers, key=key
        )

    def request_stream(
        self,
        endpoint: StreamEndpoint[Q, R],
        body: Q,
        *,
        timeout: Duration = REQUEST_TIMEOUT_S,
        total: Duration | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> AsyncGenerator[R]:
        """Ask, and iterate over the parts of the answer as they come: `async for part in bus.request_stream(...):`.

        In order, each once, none missing. The request is sent at the first step. Leaving the loop, cancelling or
        `aclose()` stops the responder; one that is too far ahead of this iteration waits for it.

        Args:
            timeout: How long to wait for the next part, each time.
            total: How long the whole may take; else as long as parts come.

        Raises:
            RequestTimeout: A part did not come in time, or the whole took too long; `parts` says how many were taken.
            RequestFailed: The responder raised, after the parts before.
            StreamBroken: A part was lost on the way.
            NoResponder: Nobody has ever declared to answer there.
            DecodeError: A part is not what the endpoint says.
            WaystationError: The request could not be sent, as in `publish`.
        """
        return self._connected.requests.stream(
            endpoint,
            body,
            timeout_s=seconds(timeout, name="timeout"),
            total_s=None if total is None else seconds(total, name="total"),
            headers=headers,
            key=key,
        )

    def request_later(
        self,
        endpoint: Endpoint[Q, R],
        body: Q,
        *,
        on_reply: Callable[[R], object],
        on_error: Callable[[Exception], object] | None = None,
        timeout: Duration = REQUEST_TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> PendingReply:
        """Ask, and go on: one of two callbacks is called on the event loop with the answer or the error.

        An error without `on_error`, and one that a callback raises, is logged.
        """
        timeout_s = seconds(timeout, name="timeout")
        return self._connected.requests.request_later(
            endpoint,
            body,
            on_reply=on_reply,
            on_error=on_error,
            timeout_s=timeout_s,
            headers=headers,
            key=key,
        )

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction on the bus's own database: rows, messages and all, in one commit or not at all.

        What this task publishes inside joins it. Inside another one it is a part that can be undone alone.

        Raises:
            UnsupportedCapability: The transport has no transactions.
            TransactionLost: It was rolled back instead of being committed; nothing happened.
            Disconnected: So it was because the bus was closed meanwhile.
        """
        connection = self._connected
        return transaction_on(connection.transports, connection.publisher, connection.transactions)

    @property
    def _connected(self) -> Connection:
        if self._connection is None:
            raise Disconnected("connect first: `async with bus:`")
        return self._connection
