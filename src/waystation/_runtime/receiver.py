"""`bus.receive()`: pulling deliveries and settling each of them oneself."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextvars import Context
from types import TracebackType
from typing import Generic, Self, TypeVar

from .._core.admission import comes_again, refusal, sequence_of
from .._core.codec import decode
from .._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Retry, Settlement
from .._core.duration import Duration, seconds
from .._core.errors import DecodeError, Disconnected, SettlementLost, TransportError
from .._core.limits import LEASE_RENEWAL_S
from .._core.message import Message
from .._core.ports import Clock, Feed, Subscription, Topology, Transport
from .._core.retry import RetryPolicy, describe, detail

T = TypeVar("T")

_log = logging.getLogger("waystation.receiver")


class Received(Generic[T]):
    """A delivery with its decoded body, to be settled by one of its methods.

    Until then its lease is kept; if the receiver is closed first, or the process dies, it comes again. Settling twice
    does nothing. Each method raises `SettlementLost` if somebody else has the message by now.
    """

    __slots__ = ("_delivery", "_receiver", "_settled", "body")

    def __init__(self, receiver: Receiver[T], delivery: Delivery, body: T) -> None:
        self._receiver = receiver
        self._delivery = delivery
        self._settled = False
        self.body = body

    @property
    def message(self) -> Message:
        """The message, as it was sent."""
        return self._delivery.message

    @property
    def attempt(self) -> int:
        """Deliveries so far, this one included; 1 the first time."""
        return self._delivery.attempt

    @property
    def key(self) -> str | None:
        """The message's ordering key."""
        return self._delivery.key

    async def accept(self) -> None:
        """Done: it does not come back to this group."""
        await self._settle(ACCEPT)

    async def retry(self, delay: Duration = 0, *, reason: str = "") -> None:
        """Again, not before `delay` has passed. Later messages of its key wait behind it."""
        await self._settle(Retry(seconds(delay, name="delay"), reason))

    async def dead_letter(self, reason: str) -> None:
        """Give it up: it is kept aside with the reason."""
        await self._settle(DeadLetter(reason))

    async def release(self) -> None:
        """Hand it back untouched: it comes again at once, and this does not count as an attempt."""
        await self._settle(RELEASE)

    async def _settle(self, settlement: Settlement) -> None:
        if not self._settled:
            await self._receiver.settle(self._delivery, settlement)
            self._settled = True


class Receiver(Generic[T]):
    """Deliveries of a topic, one after the other: `async for received in bus.receive(topic, group=...)`.

    Begins with the first step and closes when the loop is left; unsettled deliveries then go back at once. As
    `async with bus.receive(...) as receiver:` it stays open to the end of the block, from one loop or
    `await anext(receiver)` to the next.
    At most `prefetch` deliveries are held: when so many are unsettled, the next step waits for one to be settled.
    What cannot be decoded, has expired, or was attempted more often than `policy` allows becomes a dead letter by
    itself. Closing the bus ends the iteration.
    """

    def __init__(
        self,
        transport: Transport,
        subscription: Subscription,
        body_type: type[T],
        *,
        prefetch: int,
        policy: RetryPolicy,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._subscription = subscription
        self._body_type = body_type
        self._prefetch = prefetch
        self._policy = policy
        self._clock = clock
        self._feed: Feed | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._waiting: deque[Delivery] = deque()  # received, not yet given to the user
        self._given: dict[int, Delivery] = {}  # by id(): a delivery is not hashable
        self._settled = asyncio.Event()
        self._entered = False
        self._closed = False

    async def __aenter__(self) -> Self:
        self._entered = True
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Received[T]]:
        return self if self._entered else self._until_left()

    async def __anext__(self) -> Received[T]:
        """Wait for the next delivery: `received = await anext(receiver)` takes a single one.

        Cancelling loses nothing. Raises `Disconnected` if the receiver was closed before.
        """
        feed = await self._open()
        try:
            return await self._next(feed)
        except Disconnected:
            if self._closed:
                raise StopAsyncIteration from None
            raise

    async def _until_left(self) -> AsyncIterator[Received[T]]:
        """The deliveries of one loop, which ends with it."""
        try:
            while True:
                yield await anext(self)
        except StopAsyncIteration:
            return
        finally:
            await self.close()

    async def settle(self, delivery: Delivery, settlement: Settlement) -> None:
        """Settle a delivery, and hand back those that must not be handled before it."""
        if self._feed is None or self._closed:
            raise SettlementLost("the receiver was closed, and with it went the delivery: it comes again")
        behind: list[Delivery] = []
        if comes_again(settlement) and (sequence := sequence_of(delivery)) is not None:
            behind = [other for other in self._waiting if sequence_of(other) == sequence]
            self._waiting = deque(other for other in self._waiting if sequence_of(other) != sequence)
        self._given.pop(id(delivery), None)
        self._settled.set()
        await self._feed.settle([(delivery, settlement), *((other, RELEASE) for other in behind)])

    async def close(self) -> None:
        """Stop; unsettled deliveries go back at once, without counting as an attempt. May be called twice."""
        self._closed = True
        self._settled.set()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._feed is not None:
            await self._feed.close()

    async def _open(self) -> Feed:
        if self._closed:
            raise Disconnected("this receiver was closed: call bus.receive() again")
        if self._feed is None:
            await self._transport.declare(Topology(subscriptions=(self._subscription,)))
            self._feed = await self._transport.open_feed(self._subscription)
            self._keeper = asyncio.get_running_loop().create_task(self._keep(self._feed), context=Context())
        return self._feed

    async def _next(self, feed: Feed) -> Received[T]:
        """Wait for the next delivery that can be given to the user."""
        while True:
            while self._waiting:
                delivery = self._waiting.popleft()
                self._given[id(delivery)] = delivery
                refused = refusal(delivery, self._policy, now=self._clock.time())
                if refused is None:
                    try:
                        body = decode(delivery.body, self._body_type, delivery.content_type)
                    except DecodeError as error:
                        refused = DeadLetter(describe(error), detail(error))
                    else:
                        return Received(self, delivery, body)
                await self.settle(delivery, refused)
            while len(self._given) >= self._prefetch and not self._closed:
                self._settled.clear()
                await self._settled.wait()
            if self._closed:
                raise Disconnected("the receiver was closed")
            self._waiting.extend(await feed.receive(self._prefetch - len(self._given)))

    async def _keep(self, feed: Feed) -> None:
        """Keep the leases of what is held, for as long as it is."""
        while True:
            await self._clock.sleep(LEASE_RENEWAL_S)
            held: Sequence[Delivery] = [*self._given.values(), *self._waiting]
            if not held:
                continue
            try:
                await feed.extend(held)
            except SettlementLost as error:
                _log.warning(
                    "%s of group %r: %s", self._subscription.pattern, self._subscription.group, error
                )
            except TransportError as error:
                _log.warning("leases could not be renewed, trying again in %g s: %s", LEASE_RENEWAL_S, error)
