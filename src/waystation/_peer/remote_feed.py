"""Receiving from a served transport: a channel of the session, and credit for as much as was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec

from .._core.delivery import (
    ACCEPT,
    RELEASE,
    Accept,
    DeadLetter,
    Delivery,
    Release,
    Retry,
    Settlement,
    first_deliveries,
)
from .._core.errors import Disconnected, RemoteProtocolError, SendRejected, SettlementLost, TransportError
from .._core.limits import CREDIT_BYTES_MAX, CREDIT_MESSAGES_MAX
from .._core.message import Message
from .._core.packed import unpack
from .._core.ports import Subscription
from .._core.run import MessageRun
from .._wire.failures import error_of
from .._wire.frames import Answer, Close, Credit, Deliver, Extend, Failed, Open, Result, Settle
from .._wire.ranges import ranges_of
from .link import Link
from .overtaking import Overtaking, Sequences, put_off

_NUMBER = msgspec.msgpack.Decoder(int)

Other: TypeAlias = tuple[int, Literal["retry", "dead", "release"], float, str, str]


class RemoteFeed:
    """A member of a group, or the reader of a reply address, at a server.

    A delivery's token is its channel and the number of its frame's first delivery: with its `index` that makes its own.

    Attributes:
        next: The number of the next delivery that has not come.
    """

    def __init__(self, link: Link, subscription: Subscription) -> None:
        self._link = link
        self._subscription = subscription
        self._is_mailbox = subscription.group is None
        self._loop = asyncio.get_running_loop()
        self._ready: list[Delivery] = []
        self._waiter: asyncio.Future[None] | None = None
        self._ring = self._wake
        self._error: TransportError | None = None
        self._closed = False
        self.next = 0
        self._upto = 0
        self._early: dict[int, list[Delivery]] = {}
        self._overtaking = Overtaking(_number)
        self._unsaid_bytes = 0  # of what a reply address got since the server was last told what has come
        self._channel = 0

    async def open(self) -> None:
        """Open the channel.

        Raises:
            WaystationError: The server refused it, or is not there.
        """
        self._channel = channel = self._link.add_channel(self)
        one = self._subscription

        def make(seq: int, answered: int) -> Open:
            return Open(seq, answered, channel, one.pattern, one.group or "", one.ordered, one.temporary)

        try:
            answer = await self._link.ask(make)
        except BaseException:
            self._link.remove_channel(channel)
            self._link.tell(lambda seq, answered: Close(seq, answered, channel))
            raise
        if isinstance(answer, Failed):
            self._link.remove_channel(channel)
            raise error_of(answer)

    # --- what the link calls -----------------------------------------------------------------------------------

    def deliver(self, frame: Deliver) -> None:
        """Take deliveries in; those that had come already, before a cut, are passed over."""
        try:
            messages = unpack(frame.batch)
        except ValueError as error:
            raise RemoteProtocolError(str(error), field="Deliver.batch") from error
        if frame.attempts and len(frame.attempts) != len(messages):
            raise RemoteProtocolError("there is not one attempt for each message", field="Deliver.attempts")
        if frame.first + len(messages) > self._upto:
            raise RemoteProtocolError("more was delivered than there was credit for", field="Deliver.batch")
        if frame.first > self.next:  # what is before it is large, and comes in parts
            self._early[frame.first] = _deliveries(frame, messages)
            return
        self._take(frame.first, _deliveries(frame, messages))
        while self._early and (early := self._early.pop(self.next, None)) is not None:
            self._take(self.next, early)
        self._ring()

    def credit(self) -> Credit | None:
        """Say again how much may be delivered: the connection is new, and what is not next is said again."""
        self._early.clear()
        return Credit(self._channel, self.next, self._upto) if self._upto else None

    def end(self, error: TransportError) -> None:
        """Nothing more comes, and what was delivered is, or will be, somebody else's."""
        self._error = error
        self._ready = []
        self._ring()

    # --- what the runtime calls --------------------------------------------------------------------------------

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery and return at most `limit`. Cancelling loses nothing: what comes is kept."""
        while not (taken := self.take(limit)):
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return taken

    def listen(self, ready: Callable[[], None], /) -> None:
        """See `PromptFeed`."""
        self._ring = ready

    def take(self, limit: int, /) -> Sequence[Delivery]:
        """Return at most `limit` of what has come; when that is less, give credit for the rest.

        Raises:
            Disconnected: Nothing more comes.
        """
        ready = self._ready
        if not ready:
            self._check()
            self._ask_for(limit)
            return ready
        self._ready = ready[limit:]
        room = limit - len(ready)
        if room > 0 and self._upto - self.next < (room + 1) // 2 and self._error is None:
            self._ask_for(room)  # for whoever asks no more until something comes; not anew for each message
        return ready[:limit]

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        """Keep the leases of deliveries, those that wait here among them."""
        self._check()
        channel = self._channel
        ranges = ranges_of(map(_number, (*deliveries, *self._ready, *self._overtaking.waiting)))
        answer = await self._link.ask(lambda seq, answered: Extend(seq, answered, channel, ranges))
        if isinstance(answer, Failed):
            raise self._lost(answer, deliveries)

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]], /) -> None:
        """Settle deliveries, in one request. What a reply address delivered needs no settling."""
        if self._is_mailbox or not outcomes:
            return
        self._check()
        accepted, others = sorted_out(outcomes)
        behind = put_off(outcomes) if others and self._subscription.ordered else set()
        channel = self._channel
        made = None
        self._overtaking.ask(behind)
        try:
            answer = await self._link.ask(
                lambda seq, answered: Settle(seq, answered, channel, accepted, others)
            )
            made = _made(answer)
        finally:
            if behind:
                self._put_off(behind, made)
        if isinstance(answer, Failed):
            raise self._lost(answer, [delivery for delivery, _ in outcomes])

    @property
    def closed(self) -> bool:
        """Whether it takes no more."""
        return self._closed

    async def close(self) -> None:
        """Give back what is unsettled. May be called twice. Without a connection the server does so itself, later."""
        if self._closed:
            return
        self._closed = True
        self._ready = []
        self._ring()
        channel = self._channel
        self._link.remove_channel(channel)
        if self._error is not None:
            return
        if not self._link.connected:
            self._link.tell(lambda seq, answered: Close(seq, answered, channel))
            return
        try:
            await self._link.ask(lambda seq, answered: Close(seq, answered, channel))
        except TransportError:
            return  # the session is gone, and everything of it

    # --- inside ------------------------------------------------------------------------------------------------

    def _take(self, first: int, deliveries: list[Delivery]) -> None:
        """Take what is next; what has come before, it passes over."""
        known = self.next - first
        if known < len(deliveries):
            self.next = first + len(deliveries)
            fresh = deliveries[known:] if known else deliveries
            if self._overtaking:
                fresh, back = self._overtaking.sort_out(fresh, self.next)
                self._give_back(back)
            self._ready += fresh
            if self._is_mailbox:
                self._unsaid_bytes += sum([len(delivery.body) for delivery in deliveries])

    def _put_off(self, behind: Sequences, made: int | None) -> None:
        """Take in what was put off, when so many deliveries had been made; None: that is not known."""
        if self._closed or self._error is not None:
            self._overtaking = Overtaking(_number)  # what waited is not this feed's any more
            return
        below = self.next if made is None else made
        self._ready, back = self._overtaking.answered(behind, below, self._ready, self.next)
        self._give_back(back)
        self._ring()  # there is something, or room for others

    def _give_back(self, deliveries: list[Delivery]) -> None:
        """Give back, unseen, what has overtaken others."""
        if not deliveries:
            return
        behind = put_off([(delivery, RELEASE) for delivery in deliveries])
        _, others = sorted_out([(delivery, RELEASE) for delivery in deliveries])
        channel = self._channel

        def done(answer: Answer | TransportError) -> None:
            if not isinstance(answer, SendRejected):  # else the session is over, or about to be
                self._put_off(behind, _made(answer))

        self._overtaking.ask(behind)
        self._link.request(lambda seq, answered: Settle(seq, answered, channel, [], others), done)

    def _ask_for(self, limit: int) -> None:
        """Give credit for what was asked for. A reply address always has some: who asks has bounded that already."""
        if self._is_mailbox:
            if (
                self._upto - self.next > CREDIT_MESSAGES_MAX // 2
                and self._unsaid_bytes < CREDIT_BYTES_MAX // 4
            ):
                return
            limit, self._unsaid_bytes = CREDIT_MESSAGES_MAX, 0
        if self.next + limit > self._upto or self._is_mailbox:
            self._upto = max(self._upto, self.next + limit)
            self._link.say(Credit(self._channel, self.next, self._upto))

    def _check(self) -> None:
        if self._error is not None or self._closed:
            raise Disconnected(str(self._error or "this feed is closed"))

    def _lost(self, answer: Failed, deliveries: Sequence[Delivery]) -> Exception:
        """Return the error of an answer, with the deliveries that it is about."""
        error = error_of(answer)
        if not isinstance(error, SettlementLost):
            return error
        lost = set(answer.lost)
        return SettlementLost(
            str(error), deliveries=[delivery for delivery in deliveries if _number(delivery) in lost]
        )

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def sorted_out(
    outcomes: Sequence[tuple[Delivery, Settlement]],
) -> tuple[list[tuple[int, int]], list[Other]]:
    """Return settlements as they travel: ranges of what was accepted, and the others one by one."""
    accepted: list[int] = []
    others: list[Other] = []
    for delivery, settlement in outcomes:
        number = _number(delivery)
        if settlement is ACCEPT or isinstance(settlement, Accept):
            accepted.append(number)
        elif isinstance(settlement, Retry):
            others.append((number, "retry", float(settlement.delay_s), settlement.reason, ""))
        elif isinstance(settlement, DeadLetter):
            others.append((number, "dead", 0.0, settlement.reason, settlement.detail))
        else:
            assert isinstance(settlement, Release)
            others.append((number, "release", 0.0, "", ""))
    return ranges_of(accepted), others


def _made(answer: Answer | TransportError) -> int | None:
    """Return how many deliveries a channel had made when it settled; None: nobody knows."""
    if not isinstance(answer, Result):
        return None
    try:
        return _NUMBER.decode(answer.value)
    except msgspec.MsgspecError:
        return None


def channel_of(delivery: Delivery) -> int:
    """Return the channel that a delivery came by."""
    return _token(delivery)[0]


def _number(delivery: Delivery) -> int:
    return _token(delivery)[1] + delivery.index


def _token(delivery: Delivery) -> tuple[int, int]:
    assert isinstance(delivery.token, tuple), "a delivery of another transport"
    return delivery.token


def _deliveries(frame: Deliver, messages: Sequence[Message] | MessageRun) -> list[Delivery]:
    attempts, errors, token = frame.attempts, frame.errors, (frame.channel, frame.first)
    if not attempts and not errors:
        return first_deliveries(messages, range(len(messages)), token)
    return [
        Delivery.of(message, attempts[i] if attempts else 1, token, errors.get(i), index=i)
        for i, message in enumerate(messages)
    ]
