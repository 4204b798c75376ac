"""`Delivery`: one receipt of a message. `Settlement`: how a delivery ends. `Receipt`: what a sender knows.

Outgoing and incoming are different things: a `Message` is a value, the same on both sides; a `Delivery` belongs to
one receiver, has an attempt number and a lease. A settlement is a value too; one place settles.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from .errors import TransportError
from .message import Message


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
        message_id: The message's id.
        durability: What is certain now.
        duplicate: Whether a message with the same `dedupe_key` was there before, so that this one was not stored.
    """

    message_id: str
    durability: Durability
    duplicate: bool = False


SendOutcome: TypeAlias = Receipt | TransportError
"""One per message of a send: a receipt, `SendRejected` or `SendUnconfirmed`."""


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One receipt of a message.

    Attributes:
        message: The message, as it was sent.
        attempt: Deliveries started so far, this one included; 1 the first time.
        token: The transport's own handle; nobody else looks into it.
        error: Why the message cannot be handled although it arrived (damaged in the store); None normally.
    """

    message: Message
    attempt: int
    token: object
    error: str | None = None


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
