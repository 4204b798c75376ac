"""`Packed`: a batch as one value that MessagePack writes in one call. What a store keeps and what a wire carries.

A run of messages that differ in id, key and body only is written as columns; other messages one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from .limits import CREDIT_MESSAGES_MAX
from .message import Message
from .run import MessageRun

#: A batch is taken apart in memory, so its count is judged before its first message is made.
Count = msgspec.Meta(max_length=CREDIT_MESSAGES_MAX)


class Packed(msgspec.Struct, array_like=True, gc=False):
    """Messages: columns if there is a `shared`, else one by one. The order of the fields is a format.

    Attributes:
        shared: What the messages of a run have in common.
        keys: One for each message; None: no message has a key.
    """

    messages: Annotated[list[Message], Count] = []
    shared: Message | None = None
    ids: Annotated[list[str], Count] = []
    bodies: Annotated[list[bytes], Count] = []
    keys: Annotated[list[str | None], Count] | None = None

    def __post_init__(self) -> None:
        """Refuse what is neither the one form nor the other; whoever has a `Packed` need not look again.

        Raises:
            ValueError: In a sentence.
        """
        count = len(self.bodies)
        if len(self.ids) != count or (self.keys is not None and len(self.keys) != count):
            raise ValueError("the columns of a batch have different lengths")
        if self.messages if self.shared else self.bodies:
            raise ValueError("a batch has columns if its messages have something in common, and else none")

    def __len__(self) -> int:
        return len(self.messages) if self.shared is None else len(self.bodies)


def pack(messages: Sequence[Message]) -> Packed:
    """Return a batch as one value.

    Raises:
        ValueError: There are more than `CREDIT_MESSAGES_MAX`: make several batches.
    """
    if len(messages) > CREDIT_MESSAGES_MAX:
        raise ValueError(
            f"{len(messages):,} messages are too many for one batch: at most {CREDIT_MESSAGES_MAX:,}"
        )
    if (
        type(messages) is MessageRun
    ):  # a transport may have runs of its own, whose messages have less in common
        return Packed([], messages.shared, messages.ids, messages.bodies, messages.keys)
    return Packed(messages if isinstance(messages, list) else list(messages))


def unpack(packed: Packed) -> list[Message] | MessageRun:
    """Return the messages of a batch."""
    if packed.shared is None:
        return packed.messages
    return MessageRun(packed.shared, packed.ids, packed.bodies, packed.keys)
