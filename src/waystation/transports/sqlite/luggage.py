"""Large bodies on their way to files and back: checked in before a commit, brought as far as credit reaches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from ..._core.delivery import Delivery
from ..._core.errors import StoreUnavailable
from ..._core.limits import CREDIT_BYTES_MAX, ROW_BODY_BYTES_MAX
from ..._core.message import TEXT, Message
from ..._core.run import MessageRun
from ..._store.bodies import Bodies, LostBody
from ..._store.leases import PendingLease, RangeLease, Stretch
from ..._store.log import is_reply_address
from ..._store.ticket import Ticket


def check_in(bodies: Bodies, messages: Sequence[Message]) -> tuple[Sequence[Message], dict[int, Ticket]]:
    """Put large bodies into files; return the batch with tickets instead, and these by their place in it.

    Replies stay as they are: they are gone as soon as they are read. Waits for the disk: call it in a thread.

    Raises:
        StoreUnavailable: A file could not be written. None is left.
    """
    tickets: dict[int, Ticket] = {}
    if isinstance(messages, MessageRun) and max(map(len, messages.bodies)) <= ROW_BODY_BYTES_MAX:
        return messages, tickets
    checked = list(messages)
    try:
        for index, message in enumerate(checked):
            if len(message.body) > ROW_BODY_BYTES_MAX and not is_reply_address(message.topic):
                tickets[index] = bodies.put(message.body)
                checked[index] = replace(message, body=tickets[index])
    except StoreUnavailable:
        discard(bodies, tickets.values())
        raise
    return checked, tickets


def discard(bodies: Bodies, tickets: Iterable[Ticket]) -> None:
    """Remove the files of tickets that were not stored. What cannot be removed now is swept one day."""
    with contextlib.suppress(OSError):
        bodies.remove([ticket.name for ticket in tickets])


def confirm(bodies: Bodies, tickets: Mapping[int, Ticket]) -> None:
    """Look, in the transaction that stores tickets, whether their files are there.

    Raises:
        StoreUnavailable: One was swept as nobody's: its publisher was stopped for that long.
    """
    for ticket in tickets.values():
        if not bodies.has(ticket):
            raise StoreUnavailable(
                f"{bodies.folder.name}/{ticket.name} was removed as nobody's, so long did its message wait to be "
                "stored: publish it again"
            )


def whole(bodies: Bodies, message: Message) -> Message:
    """Return a message with its body, for people: in place of a lost one, what became of it."""
    if not isinstance(message.body, Ticket):
        return message
    try:
        return replace(message, body=bodies.get(message.body))
    except LostBody as loss:
        return replace(message, body=str(loss).encode(), content_type=TEXT)


async def bring(
    bodies: Bodies, ready: Sequence[Delivery], leases: Sequence[RangeLease | PendingLease], limit: int
) -> list[Delivery]:
    """Return deliveries from the front of `ready` with their bodies: as many as credit allows, at most `limit`.

    One is allowed if nothing is held. A lost body is a delivery with an `error`, which its receiver gives up.
    Cancelling changes nothing.
    """
    held = sum(map(_held_bytes, leases))
    room = CREDIT_BYTES_MAX - held
    chosen: list[Delivery] = []
    for delivery in ready[:limit]:
        if isinstance(delivery.body, Ticket):
            if delivery.body.size > room and (held or chosen):
                break
            room -= delivery.body.size
        chosen.append(delivery)
    if any(isinstance(delivery.body, Ticket) for delivery in chosen):
        chosen = await asyncio.to_thread(lambda: [_opened(bodies, delivery) for delivery in chosen])
    return chosen


def keep_tickets(given: Sequence[Delivery], stored: Sequence[Delivery]) -> None:
    """Tell the leases of what is given to a receiver what is stored of it, for the rows it may move to."""
    for before, after in zip(stored, given, strict=False):
        if before is after:
            continue
        token = before.token
        if isinstance(token, Stretch):
            token.lease.tickets[token.first + before.index] = before.message
        else:
            assert isinstance(token, PendingLease), "a delivery of another transport"
            token.ticket = before.message


def _opened(bodies: Bodies, delivery: Delivery) -> Delivery:
    if not isinstance(delivery.body, Ticket):
        return delivery
    body, error = b"", delivery.error
    try:
        body = bodies.get(delivery.body)
    except LostBody as loss:
        error = str(loss)
    return replace(delivery, origin=replace(delivery.message, body=body), body=body, error=error)


def _held_bytes(lease: RangeLease | PendingLease) -> int:
    """Return the size of the bodies that a receiver holds of a lease, and has not settled."""
    if lease.ended or lease.lost:
        return 0
    if isinstance(lease, PendingLease):
        return _size(lease.ticket) if lease.ticket is not None else 0
    return sum([_size(message) for place, message in lease.tickets.items() if not lease.is_settled(place)])


def _size(message: Message) -> int:
    return message.body.size if isinstance(message.body, Ticket) else len(message.body)
