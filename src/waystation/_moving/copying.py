"""A message on its way to another medium: what of it changes, and what becomes of each outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from .._core.capabilities import Capabilities
from .._core.delivery import Receipt, SendOutcome
from .._core.errors import SendRejected
from .._core.message import Message
from .._core.ports import Transport

#: The header in which bridges write which media a message has come from.
TRAIL = "waystation-bridge"


def copy_of(message: Message, target: Capabilities, *, trail: str = "") -> Message:
    """Return a message as it is sent to another medium: the same id, so that it is known again there.

    Where the target refuses what it has had (`deduplicates`), a message without a `dedupe_key` gets its id as one, and
    a copy that was sent twice is stored once. Its time to be delivered has come, or it would not be here.

    Args:
        trail: What to add to the media that it has come from.
    """
    changes: dict[str, object] = {}
    if message.deliver_at is not None:
        changes["deliver_at"] = None
    if target.deduplicates and message.dedupe_key is None:
        changes["dedupe_key"] = message.id
    if trail:
        before = message.headers.get(TRAIL)
        changes["headers"] = message.headers | {TRAIL: f"{before},{trail}" if before else trail}
    return replace(message, **changes) if changes else message


def has_been_at(message: Message, mark: str) -> bool:
    """Say whether a bridge brought a message from this medium: to send it there again would never end."""
    return mark in message.headers.get(TRAIL, "").split(",")


@dataclass(slots=True)
class Sorted:
    """The outcomes of a send, by what is to be done.

    Attributes:
        stored: Indexes of what is there now.
        twice: Those among them that were there before.
        hopeless: Indexes of what the target will never take, with the reason.
        again: Indexes of what has to be sent again: rejected for now, or nobody knows.
    """

    stored: list[int] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)
    hopeless: dict[int, str] = field(default_factory=dict)
    again: list[int] = field(default_factory=list)


def sort_outcomes(outcomes: Sequence[SendOutcome]) -> Sorted:
    """Sort the outcomes of a send."""
    found = Sorted()
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Receipt):
            found.stored.append(index)
            if outcome.duplicate:
                found.twice.append(index)
        elif isinstance(outcome, SendRejected) and not outcome.retryable:
            found.hopeless[index] = str(outcome)
        else:
            found.again.append(index)
    return found


class TooLarge(SendRejected):
    """The target takes no body of this size."""

    retryable = False


async def send_what_fits(target: Transport, messages: Sequence[Message]) -> list[SendOutcome]:
    """Send a batch; what is larger than the target takes is not tried.

    Raises:
        TransportError: The target is away, and what became of the batch is not known.
    """
    most = target.capabilities.message_bytes_max
    outcomes: list[SendOutcome] = [
        TooLarge(f"its body has {len(message.body):,} bytes; at most {most:,} can be sent there")
        for message in messages
    ]
    fitting = [index for index, message in enumerate(messages) if len(message.body) <= most]
    sent = await target.send([messages[index] for index in fitting]) if fitting else ()
    for index, outcome in zip(fitting, sent, strict=True):
        outcomes[index] = outcome
    return outcomes
