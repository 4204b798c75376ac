"""What waits to be sent to one transport: batches to be, and who is to be told what became of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from .._core.delivery import Receipt
from .._core.errors import Disconnected, SendUnconfirmed, WaystationError
from .._core.limits import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, SEND_QUEUE_MESSAGES_MAX
from .._core.message import Message
from .._core.run import MessageRun, bytes_of, ids_of

Outcome: TypeAlias = Receipt | WaystationError
"""What became of one message: a receipt, or why there is none."""

Told: TypeAlias = Callable[[Sequence[Outcome]], None]
"""Called once with what became of some messages, in order. Must not raise."""

#: Batches that may wait to be sent. It bounds their bytes too.
_QUEUE_PARTS_MAX = SEND_QUEUE_MESSAGES_MAX // BATCH_MESSAGES_MAX


class Part:
    """One batch to be: its messages, and who waits for how many of their outcomes, in the same order.

    Attributes:
        size_bytes: How large its bodies are together.
    """

    __slots__ = ("_waiting", "messages", "size_bytes")

    def __init__(self) -> None:
        self.messages: Sequence[Message] = []
        self.size_bytes = 0
        self._waiting: list[tuple[Told, int] | asyncio.Future[Outcome]] = []

    def has_room(self, count: int, size_bytes: int) -> bool:
        """Say whether so much more may travel with it."""
        return (
            len(self.messages) + count <= BATCH_MESSAGES_MAX
            and self.size_bytes + size_bytes <= BATCH_BYTES_MAX
        )

    def add(self, messages: Sequence[Message], size_bytes: int, told: Told) -> None:
        """Add to the end. What is one run stays a run; joined with others, its messages are like theirs."""
        self.size_bytes += size_bytes
        self._waiting.append((told, len(messages)))
        before = self.messages
        if isinstance(before, list):
            if before or type(messages) is not MessageRun:
                before += messages
            else:
                self.messages = messages
        elif isinstance(messages, MessageRun) and isinstance(before, MessageRun) and before.joins(messages):
            self.messages = before + messages
        else:
            self.messages = [*before, *messages]

    def add_one(self, message: Message, size_bytes: int, outcome: asyncio.Future[Outcome]) -> None:
        """As `add`, for one message: the hot path of single publishes."""
        if isinstance(self.messages, list):
            self.messages.append(message)
        else:
            self.messages = [*self.messages, message]
        self.size_bytes += size_bytes
        self._waiting.append(outcome)

    def hand_out(self, outcomes: Sequence[Outcome]) -> None:
        """Tell everybody. Whatever came back, there is an outcome for each message."""
        if len(outcomes) != len(self.messages):
            text = f"{len(outcomes)} outcomes came back for {len(self.messages)} messages"
            outcomes = unknown(self.messages, text)
        index = 0
        for waiting in self._waiting:
            if isinstance(waiting, tuple):
                told, count = waiting
                told(outcomes[index : index + count])
                index += count
            else:
                if not waiting.done():
                    waiting.set_result(outcomes[index])
                index += 1


class Parts:
    """The queue of them.

    Attributes:
        full: Whether so much waits that publishers must wait too (`room`).
    """

    def __init__(self) -> None:
        self.full = False
        self._queue: deque[Part] = deque()
        self._last: Part | None = None  # the end of the queue, if anything waits
        self._room = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        """How many batches wait."""
        return len(self._queue)

    @property
    def last_count(self) -> int:
        """How many messages the batch at the end has."""
        return 0 if self._last is None else len(self._last.messages)

    def add(self, messages: Sequence[Message], told: Told) -> None:
        """Add messages that travel together, at most a batch.

        Raises:
            Disconnected: It was closed.
        """
        assert len(messages) <= BATCH_MESSAGES_MAX, "the caller cuts what is larger than a batch"
        size_bytes = bytes_of(messages)
        part = self._last
        if part is None or not part.has_room(len(messages), size_bytes):
            part = self._begin()  # a message of the maximum size fits into an empty one
        part.add(messages, size_bytes, told)

    def add_one(self, message: Message, outcome: asyncio.Future[Outcome]) -> None:
        """Add one message; the future gets what becomes of it.

        Raises:
            Disconnected: It was closed.
        """
        part, size_bytes = self._last, len(message.body)
        if part is None or not part.has_room(1, size_bytes):
            part = self._begin()
        part.add_one(message, size_bytes, outcome)

    def take(self) -> Part:
        """Take the part at the front: nothing is added to it any more."""
        part = self._queue.popleft()
        if part is self._last:
            self._last = None
        self.full = False
        self._room.set()
        return part

    async def room(self) -> None:
        """Wait until there is room: the back-pressure of publishing."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    def close(self) -> None:
        """Take no more."""
        self._closed, self._last = True, None

    def _begin(self) -> Part:
        if self._closed:
            raise Disconnected("the bus was closed: nothing was sent")
        part = self._last = Part()
        self._queue.append(part)
        self.full = len(self._queue) >= _QUEUE_PARTS_MAX
        return part


def is_batch(messages: Sequence[Message]) -> bool:
    """Say whether messages may travel together."""
    if len(messages) <= 1:
        return True
    return len(messages) <= BATCH_MESSAGES_MAX and bytes_of(messages) <= BATCH_BYTES_MAX


def unknown(messages: Sequence[Message], text: str, cause: BaseException | None = None) -> list[Outcome]:
    """Return outcomes that say of each message that it may have been stored."""
    outcomes: list[Outcome] = []
    for message_id in ids_of(messages):
        error = SendUnconfirmed(f"{text}: the message may have been stored", message_id=message_id)
        error.__cause__ = cause
        outcomes.append(error)
    return outcomes
