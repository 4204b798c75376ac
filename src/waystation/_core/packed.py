"""`Packed`: a batch as one value that MessagePack writes in one call. What a store keeps and what a wire carries.

A run of messages that differ in id, key and body only is written as columns; other messages one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .message import Message
from .run import MessageRun


class Packed(msgspec.Struct, array_like=True, gc=False):
    """Messages: columns if there is a `shared`, else one by one. The order of the fields is a format.

    Attributes:
        shared: What the messages of a run have in common.
        keys: One for each message; None: no message has a key.
    """

    messages: list[Message] = []
    shared: Message | None = None
    ids: list[str] = []
    bodies: list[bytes] = []
    keys: list[str | None] | None = None

    def __len__(self) -> int:
        return len(self.messages) if self.shared is None else len(self.bodies)


def pack(messages: Sequence[Message]) -> Packed:
    """Return a batch as one value."""
    if isinstance(messages, MessageRun):
        return Packed([], messages.shared, messages.ids, messages.bodies, messages.keys)
    return Packed(messages if isinstance(messages, list) else list(messages))


def unpack(packed: Packed) -> list[Message] | MessageRun:
    """Return the messages of a batch.

    Raises:
        ValueError: The columns do not have one length.
    """
    if packed.shared is None:
        return packed.messages
    count = len(packed.bodies)
    if len(packed.ids) != count or (packed.keys is not None and len(packed.keys) != count):
        raise ValueError("the columns of a batch have different lengths")
    return MessageRun(packed.shared, packed.ids, packed.bodies, packed.keys)
