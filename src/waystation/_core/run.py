"""`MessageRun`: messages that differ in nothing but id, key and body, kept as columns.

That is what `publish_many` makes, and what a store keeps: a thousand messages are then three lists, of which none but
the bodies is looked at until somebody asks for a message. To everybody else it is a sequence of messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, overload

from .message import Message

if TYPE_CHECKING:
    _Messages = Sequence[Message]
else:
    # To ask of a list whether it is an instance of an abstract class's child takes longer than to encode a message, and
    # everybody asks whether a batch is a run. So it is registered as a sequence, below, and inherits nothing.
    _Messages = object


class MessageRun(_Messages):
    """A sequence of messages that are built when they are asked for, each time anew.

    Attributes:
        shared: What they have in common; its own id, key and body mean nothing.
        ids: One for each message.
        bodies: One for each message.
        keys: One for each message; None: no message has a key.
    """

    __slots__ = ("bodies", "ids", "keys", "shared")

    def __init__(
        self, shared: Message, ids: list[str], bodies: list[bytes], keys: list[str | None] | None = None
    ) -> None:
        self.shared = shared
        self.ids = ids
        self.bodies = bodies
        self.keys = keys

    def __len__(self) -> int:
        return len(self.bodies)

    def __iter__(self) -> Iterator[Message]:
        topic, headers, rest = self.shared.topic, self.shared.headers, self._rest()
        keys: Iterable[str | None] = repeat(None) if self.keys is None else self.keys
        columns = zip(self.ids, self.bodies, keys, strict=False)
        return iter([Message(i, topic, body, key, {**headers}, *rest) for i, body, key in columns])

    @overload
    def __getitem__(self, index: int) -> Message: ...

    @overload
    def __getitem__(self, index: slice) -> MessageRun: ...

    def __getitem__(self, index: int | slice) -> Message | MessageRun:
        if isinstance(index, slice):
            keys = None if self.keys is None else self.keys[index]
            return MessageRun(self.shared, self.ids[index], self.bodies[index], keys)
        return self._build(range(len(self.bodies))[index])

    def joins(self, other: MessageRun) -> bool:
        """Say whether another run has the same in common, so that both together are one."""
        same_keys = (self.keys is None) == (other.keys is None)
        return same_keys and (self.shared is other.shared or self.shared == other.shared)

    def __add__(self, other: MessageRun) -> MessageRun:
        """Return both as one run. Only if it `joins`."""
        keys = None if self.keys is None or other.keys is None else self.keys + other.keys
        return MessageRun(self.shared, self.ids + other.ids, self.bodies + other.bodies, keys)

    def pick(self, indexes: Sequence[int]) -> MessageRun:
        """Return the messages at these places, in this order."""
        keys = None if self.keys is None else [self.keys[i] for i in indexes]
        return MessageRun(
            self.shared, [self.ids[i] for i in indexes], [self.bodies[i] for i in indexes], keys
        )

    def key_at(self, index: int) -> str | None:
        """Return a message's key without building it."""
        return None if self.keys is None else self.keys[index]

    def _build(self, index: int) -> Message:
        shared, key = self.shared, None if self.keys is None else self.keys[index]
        return Message(
            self.ids[index], shared.topic, self.bodies[index], key, {**shared.headers}, *self._rest()
        )

    def _rest(self) -> tuple[Any, ...]:
        """Return what follows id, topic, body, key and headers in each message."""
        shared = self.shared
        return (
            shared.content_type, shared.type, shared.source, shared.time, shared.correlation_id,
            shared.causation_id, shared.reply_to, shared.expires_at, shared.deliver_at, shared.priority,
            shared.dedupe_key, shared.traceparent, shared.failure,
        )  # fmt: skip


if not TYPE_CHECKING:
    Sequence.register(MessageRun)
    MessageRun.index, MessageRun.count, MessageRun.__contains__ = (
        Sequence.index, Sequence.count, Sequence.__contains__,
    )  # fmt: skip


def ids_of(messages: Sequence[Message]) -> list[str]:
    """Return the ids of messages."""
    return messages.ids if isinstance(messages, MessageRun) else [message.id for message in messages]


def bytes_of(messages: Sequence[Message]) -> int:
    """Return how large their bodies are together."""
    if type(messages) is MessageRun:  # to ask an abstract class is dear
        return sum(map(len, messages.bodies))
    return sum([len(message.body) for message in messages])
