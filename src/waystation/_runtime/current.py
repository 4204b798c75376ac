"""What surrounds the code that runs now: the message being handled, the transaction that is open."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from .._core.delivery import Delivery
from .._core.message import Message

if TYPE_CHECKING:
    from .transaction import Transaction

#: The delivery whose handler runs. What that handler sends is caused by its message.
CURRENT: ContextVar[Delivery | None] = ContextVar("waystation.current", default=None)

#: The innermost transaction begun here. A task started inside inherits it and may outlive it, so ask `is_open`.
TRANSACTION: ContextVar[Transaction | None] = ContextVar("waystation.transaction", default=None)


def current_message() -> Message | None:
    """Return the message whose handler runs."""
    delivery = CURRENT.get()
    return None if delivery is None else delivery.message
