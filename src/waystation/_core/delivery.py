"""`Delivery`: one receipt of a message. `Settlement`: how a delivery ends. `Receipt`: what a sender knows.

Outgoing and incoming are different things: a `Message` is a value, the same on both sides; a `Delivery` belongs to
one receiver, has an attempt number and a lease. A settlement is a value too; one place settles.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from .errors import TransportError
from .message import Message
from .run import MessageRun


class Durability(enum.IntEnum):
    """What is certain once a message was sent, weakest first."""

    SENT = 0  #: it has left this process
    RECEIVED = 1  #: held in the peer's memory, and it said so
    WRITTEN = 2  #: given to the peer's operating system: survives the death of processes
    FLUSHED = 3  #: fsynced on one machine: survives a power cut
    REPLICATED = 4  #: held by a quorum, not all of it fsynced
    REPLICATED_FLUSHED = 5  #: fsynced on a quorum

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return format(self.name, spec)


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What a sender knows after a send.

    Attributes:
        message_id: The id under which the message is stored.
        durability: What is certain now.
        duplicate: Whether a message with the same `dedupe_key` was there before. This one was not stored then, and
            `message_id` is that of the first.
    """

    message_id: str
    durability: Durability
    duplicate: bool = False


def receipts(
    message_ids: Sequence[str], durability: Durability, firsts: Mapping[int, str]
) -> list[SendOutcome]:
    """Return a receipt for each message of a batch.

    Args:
        firsts: By its place in the batch, for each message that was a duplicate: the id of the first.
    """
    found: list[SendOutcome] = [Receipt(message_id, durability) for message_id in message_ids]
    for index, first in firsts.items():
        found[index] = Receipt(first, durability, duplicate=True)
    return found


SendOutcome: TypeAlias = Receipt | TransportError
"""One per message of a send: a receipt, `SendRejected` or `SendUnconfirmed`."""


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One receipt of a message.

    What a handler needs to begin lies in it; the message itself is built when somebody asks for it.

    Attributes:
        origin: The message, or the run that it is in. For transports; everybody else asks for `message`.
        index: Its place in the run, and among the deliveries that share a token.
        body: The message's body.
        content_type: How the body is written.
        attempt: Deliveries started so far, this one included; 1 the first time.
        token: The transport's own handle; nobody else looks into it.
        expires_at: Unix seconds after which a handler must not start.
        error: Why the message cannot be handled although it arrived (damaged in the store); None normally.
    """

    origin: Message | MessageRun
    index: int
    body: bytes
    content_type: str
    attempt: int
    token: object
    expires_at: float | None = None
    error: str | None = None

    @classmethod
    def of(
        cls,
        message: Message,
        attempt: int = 1,
        token: object = None,
        error: str | None = None,
        *,
        index: int = 0,
    ) -> Delivery:
        """Return the delivery of a single message."""
        return cls(
            message, index, message.body, message.content_type, attempt, token, message.expires_at, error
        )

    @property
    def message(self) -> Message:
        """The message, as it was sent."""
        origin = self.origin
        return origin if isinstance(origin, Message) else origin[self.index]

    @property
    def topic(self) -> str:
        """The message's topic."""
        origin = self.origin
        return origin.topic if isinstance(origin, Message) else origin.shared.topic

    @property
    def key(self) -> str | None:
        """The message's key."""
        origin = self.origin
        return origin.key if isinstance(origin, Message) else origin.key_at(self.index)


def first_deliveries(messages: Sequence[Message], places: range, token: object) -> list[Delivery]:
    """Return first deliveries of the messages at `places`, each with its place as `index`."""
    if not isinstance(messages, MessageRun):
        return [Delivery.of(messages[place], 1, token, index=place) for place in places]
    content_type, expires_at = messages.shared.content_type, messages.shared.expires_at
    bodies = messages.bodies
    if len(places) < len(bodies):
        bodies = bodies[places.start : places.stop]
    return [
        Delivery(messages, place, body, content_type, 1, token, expires_at)
        for place, body in enumerate(bodies, places.start)
    ]


@dataclass(frozen=True, slots=True)
class Accept:
    """Done: the message does not come back to this group."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Again, not before `delay_s` seconds have passed. Counts as an attempt, and holds no worker meanwhile.

    Until it is settled for good, later messages of the same key wait behind it.
    """

    delay_s: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Given up: kept aside with its reason, to be looked at and perhaps sent again."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """Handed back untouched: comes again at once, in its place, and does not count as an attempt."""


Settlement: TypeAlias = Accept | Retry | DeadLetter | Release

ACCEPT = Accept()
RELEASE = Release()
