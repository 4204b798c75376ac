"""Runs of messages in a log: kept as the columns that they came in, and found by their offsets."""

from __future__ import annotations

from typing import TypeAlias, overload

from ..._core.message import Message
from ..._core.run import MessageRun


class PlacedRun(MessageRun):
    """A run at its place in a log: asked by offset, not by place in the run.

    In the log it stands at each of its offsets, so that nothing is made for a message before somebody asks for it.

    Attributes:
        first: The offset of its first message.
        past: That of the message after its last.
    """

    __slots__ = ("first", "past")

    def __init__(self, run: MessageRun, first: int) -> None:
        super().__init__(run.shared, run.ids, run.bodies, run.keys)
        self.first = first
        self.past = first + len(run)

    @overload
    def __getitem__(self, index: int) -> Message: ...

    @overload
    def __getitem__(self, index: slice) -> MessageRun: ...

    def __getitem__(self, index: int | slice) -> Message | MessageRun:
        if isinstance(index, slice):
            return super().__getitem__(slice(index.start - self.first, index.stop - self.first))
        return super().__getitem__(index - self.first)

    def key_at(self, index: int) -> str | None:
        """Return the key of the message at an offset."""
        return None if self.keys is None else self.keys[index - self.first]

    def bodies_between(self, first: int, past: int) -> list[bytes]:
        """Return the bodies of the messages between two offsets."""
        return self.bodies[first - self.first : past - self.first]


Entry: TypeAlias = Message | PlacedRun
"""What a log has at an offset: a message, or the run that it is in."""
