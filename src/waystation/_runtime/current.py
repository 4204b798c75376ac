"""What surrounds the code that runs now: the message being handled, the transaction that is open."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from .._core.message import Message

if TYPE_CHECKING:
    from .transaction import Transaction

#: The message whose handler runs. What that handler sends is caused by it.
CURRENT: ContextVar[Message | None] = ContextVar("waystation.current", default=None)

#: The innermost transaction begun here. A task started inside inherits it and may outlive it, so ask `is_open`.
TRANSACTION: ContextVar[Transaction | None] = ContextVar("waystation.transaction", default=None)
