"""Publishing: batches written at once, confirmed by number, whatever order the server confirms them in."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from ..._core.delivery import Durability, Receipt, SendOutcome
from ..._core.errors import Disconnected, SendRejected, SendUnconfirmed, TransportError
from ..._core.limits import KNOWN_TOPICS_COUNT_MAX, SEND_TIMEOUT_S
from ..._core.message import Message
from ..._core.ports import Clock
from ..._core.topic import is_reply_address
from . import frames
from .binding import DUE, TOPIC, properties_of
from .channel import Channel
from .connection import Connection
from .names import Names, slot_of
from .tables import short

Done: TypeAlias = Callable[[Sequence[SendOutcome]], None]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message as bytes, and where it goes.

    Attributes:
        route: Exchange and routing key.
        message: What is to be kept if no queue wants it; None: it is not.
        kept: Whether it survives the server.
        needed: Whether it is lost if no queue takes it, so that it must not be said to be sent then.
    """

    message_id: str
    route: bytes
    properties: bytes
    body: bytes
    message: Message | None = None
    kept: bool = True
    needed: bool = False


class NoQueue(SendRejected):
    """The queue that a message belongs in is not there: somebody has deleted it."""


def to_queue(queue: str) -> bytes:
    """Return the route to one queue."""
    return b"\0" + short(queue)


@dataclass(slots=True, eq=False)
class _Batch:
    """Parcels that were handed in together.

    Attributes:
        left: How many have no outcome yet.
        failures: Outcomes other than a receipt, by place.
        first: The number of the first one; 0: not written yet.
        unread: The places of those that no queue wanted, and that are on their way to where they are kept.
    """

    parcels: Sequence[Parcel]
    done: Done
    deadline: float
    left: int
    first: int = 0
    failures: dict[int, TransportError] = field(default_factory=dict)
    unread: set[int] = field(default_factory=set)


class Sender:
    """A part of the link: publishes through one channel with confirmations."""

    def __init__(self, names: Names, clock: Clock, durability: Callable[[], Durability]) -> None:
        self._names = names
        self._clock = clock
        self._durability = durability
        self._loop = asyncio.get_running_loop()
        self._channel: Channel | None = None
        self._is_open = True
        self._next = 1
        self._written: dict[int, tuple[_Batch, int]] = {}  # by number: whose it is, and its place there
        self._batches: dict[_Batch, None] = {}  # those written, oldest first
        self._waiting: deque[_Batch] = deque()
        self._unwanted: set[tuple[bytes, str]] = set()  # by route and id
        self._routes: dict[str, tuple[bytes, list[bytes]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._unread = to_queue(names.unread)

    # --- the link ----------------------------------------------------------------------------------------------

    async def up(self, connection: Connection, /) -> None:
        """Begin to work through a connection."""
        channel = await connection.channel()
        channel.on_confirm, channel.on_return = self._confirmed, self._returned
        channel.on_end = connection.drop  # nothing of ours may end it; who sends must begin anew
        await channel.ask(connection.commands.Confirm.Select())
        self._channel, self._next = channel, 1
        while self._waiting:
            self._write(self._waiting.popleft())

    def down(self, error: Exception, /) -> None:
        """What was written and not confirmed is unknown; what was not written waits for the next connection."""
        self._channel = None
        batches, self._batches = self._batches, {}
        self._written.clear()
        self._unwanted.clear()
        for batch in batches:
            self._give_up(batch, f"the connection ended before it was confirmed: {error}")

    async def close(self) -> None:
        """Take no more, and wait for what is under way, as long as that may take."""
        self._is_open = False
        while self._batches or self._waiting:
            over = self._loop.create_future()
            last = [*self._batches, *self._waiting][-1]
            last.done = partial(_then, last.done, over)
            await over
        if self._timer is not None:
            self._timer.cancel()

    # --- sending -----------------------------------------------------------------------------------------------

    def post(self, messages: Sequence[Message], done: Done, *, now: bool = False) -> None:
        """Begin to send messages; see `Posting.post`.

        Args:
            now: Whether those that should wait for their time have waited.
        """
        if not self._is_open:
            done([Disconnected("amqp:// is not open")] * len(messages))
            return
        wall = None if now else self._clock.time()
        self.send_parcels([self.parcel(message, wall) for message in messages], done)

    def send_parcels(self, parcels: Sequence[Parcel], done: Done) -> None:
        """Begin to send messages that are bytes already."""
        batch = _Batch(parcels, done, self._loop.time() + SEND_TIMEOUT_S, len(parcels))
        if not parcels:
            done([])
            return
        if self._timer is None:
            self._timer = self._loop.call_later(_LOOK_S, self._look)
        if self._channel is None or self._channel.connection.blocked:
            self._waiting.append(batch)
        else:
            self._write(batch)

    async def sent(self, parcels: Sequence[Parcel]) -> None:
        """Send copies of ours, and wait until all are confirmed.

        Raises:
            TransportError: Some are not. What became of them is unknown.
        """
        future = self._loop.create_future()

        def done(outcomes: Sequence[SendOutcome]) -> None:
            if not future.done():
                future.set_result(outcomes)

        self.send_parcels(parcels, done)
        for outcome in await future:
            if not isinstance(outcome, Receipt):
                raise outcome

    def parcel(self, message: Message, wall: float | None) -> Parcel:
        """Return a message as bytes.

        Args:
            wall: The time now, in Unix seconds; None: what should wait for its time has waited.
        """
        topic = message.topic
        if is_reply_address(topic):
            route = to_queue(self._names.reply(topic))
            properties = properties_of(message, {TOPIC: topic}, persistent=False)
            return Parcel(message.id, route, properties, message.body, kept=False)
        if wall is not None and message.deliver_at is not None and message.deliver_at > wall:
            extra = {TOPIC: topic, DUE: repr(message.deliver_at)}
            return Parcel(
                message.id, to_queue(self._names.later), properties_of(message, extra), message.body
            )
        plain, by_slot = self._routes.get(topic) or self._route(topic)
        route = plain if message.key is None else by_slot[slot_of(message.key)]
        return Parcel(message.id, route, properties_of(message), message.body, message)

    def _route(self, topic: str) -> tuple[bytes, list[bytes]]:
        if len(self._routes) >= KNOWN_TOPICS_COUNT_MAX:
            self._routes.clear()
        key = short(topic)
        found = short(self._names.exchange) + key, [short(name) + key for name in self._names.slots]
        self._routes[topic] = found
        return found

    def _write(self, batch: _Batch) -> None:
        channel = self._channel
        assert channel is not None, "whoever calls has looked"
        batch.first = self._next
        piece_bytes, number = channel.connection.piece_bytes, channel.number
        written, parts = self._written, []
        for place, parcel in enumerate(batch.parcels):
            written[self._next] = (batch, place)
            self._next += 1
            parts.append(
                frames.publish(
                    number,
                    route=parcel.route,
                    mandatory=parcel.needed or parcel.message is not None,
                    properties=parcel.properties,
                    body=parcel.body,
                    piece_bytes=piece_bytes,
                )
            )
        self._batches[batch] = None
        channel.write(b"".join(parts))

    # --- hearing -----------------------------------------------------------------------------------------------

    def _confirmed(self, tag: int, *, multiple: bool, taken: bool) -> None:
        written = self._written
        if not multiple:
            found = written.pop(tag, None)
            if found is not None:
                self._settle(*found, taken=taken)
            return
        numbers = []
        for number in written:  # in the order of their writing
            if number > tag:
                break
            numbers.append(number)
        for number in numbers:
            batch, place = written.pop(number)
            self._settle(batch, place, taken=taken)

    def _settle(self, batch: _Batch, place: int, *, taken: bool) -> None:
        if self._unwanted and taken and self._is_unwanted(batch, place):
            if self._keep_unread(batch, place):
                return
            batch.failures[place] = NoQueue(
                "RabbitMQ has lost the queue that this belongs in: somebody deleted it"
            )
        if not taken:
            batch.failures[place] = SendRejected(
                "RabbitMQ has refused the message: a queue that it belongs in is full, or has no quorum"
            )
        batch.left -= 1
        if not batch.left:
            self._batches.pop(batch, None)
            self._finish(batch)

    def _returned(self, route: bytes, properties: dict[str, Any]) -> None:
        """No queue wanted a message; its confirmation comes next."""
        self._unwanted.add((route, properties.get("message_id", "")))

    def _is_unwanted(self, batch: _Batch, place: int) -> bool:
        """Say whether a message came back, and forget that it did."""
        parcel = batch.parcels[place]
        returned = (self._unread if place in batch.unread else parcel.route, parcel.message_id)
        if returned not in self._unwanted:
            return False
        self._unwanted.remove(returned)
        return True

    def _keep_unread(self, batch: _Batch, place: int) -> bool:
        """Put a message that no queue wanted where a group finds it that comes later; say whether that can be done."""
        parcel = batch.parcels[place]
        channel = self._channel
        if parcel.message is None or place in batch.unread or channel is None:
            return False
        batch.unread.add(place)
        number, self._next = self._next, self._next + 1
        self._written[number] = (batch, place)
        channel.write(
            frames.publish(
                channel.number,
                route=self._unread,
                mandatory=True,
                properties=properties_of(parcel.message, {TOPIC: parcel.message.topic}),
                body=parcel.body,
                piece_bytes=channel.connection.piece_bytes,
            )
        )
        return True

    def _finish(self, batch: _Batch) -> None:
        durability = self._durability()
        outcomes: list[SendOutcome] = [
            Receipt(parcel.message_id, durability if parcel.kept else Durability.RECEIVED)
            for parcel in batch.parcels
        ]
        for place, error in batch.failures.items():
            outcomes[place] = error
        batch.done(outcomes)

    def _give_up(self, batch: _Batch, why: str) -> None:
        outcomes: list[SendOutcome] = []
        for parcel in batch.parcels:
            if batch.first:
                outcomes.append(SendUnconfirmed(why, message_id=parcel.message_id))
            else:
                outcomes.append(SendRejected(why))
        batch.done(outcomes)

    def _look(self) -> None:
        """Give up what has waited for too long, and send what was held up."""
        now = self._loop.time()
        channel = self._channel
        if channel is not None and not channel.connection.blocked:
            while self._waiting:
                self._write(self._waiting.popleft())
        while self._waiting and self._waiting[0].deadline <= now:
            self._give_up(self._waiting.popleft(), self._why_not_sent())
        late = [batch for batch in self._batches if batch.deadline <= now]
        for batch in late:
            del self._batches[batch]
            self._written = {
                number: found for number, found in self._written.items() if found[0] is not batch
            }
            self._give_up(batch, f"RabbitMQ has not confirmed it within {SEND_TIMEOUT_S:g} s")
        self._timer = None
        if self._batches or self._waiting:
            self._timer = self._loop.call_later(_LOOK_S, self._look)

    def _why_not_sent(self) -> str:
        if self._channel is not None and self._channel.connection.blocked:
            return f"RabbitMQ takes no messages: {self._channel.connection.blocked}"
        return f"there was no connection to RabbitMQ for {SEND_TIMEOUT_S:g} s"


#: How often what waits is looked at, in seconds.
_LOOK_S = 0.5


def _then(done: Done, over: asyncio.Future[None], outcomes: Sequence[SendOutcome]) -> None:
    done(outcomes)
    if not over.done():
        over.set_result(None)
