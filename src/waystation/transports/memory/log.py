"""A topic: the list of its messages, and the groups' places on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..._core.duration import unix_time
from ..._core.inspection import TopicInfo
from ..._core.limits import MEMORY_TOPIC_MESSAGES_MAX
from ..._core.message import Message
from ..._core.ports import Start
from ..._core.run import MessageRun
from .placed import Entry, PlacedRun

if TYPE_CHECKING:
    from .place import Place


class Log:
    """A topic's messages, from the offset `base` on.

    Attributes:
        has_priorities: Whether it ever saw a message with one.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.has_priorities = False
        self.entries: list[Entry] = []
        self.base = 0
        self.places: dict[str, Place] = {}

    @property
    def end(self) -> int:
        """The offset of the next message."""
        return self.base + len(self.entries)

    def at(self, offset: int) -> Message:
        """Return the message with an offset that is still kept."""
        entry = self.entries[offset - self.base]
        return entry if isinstance(entry, Message) else entry[offset]

    def after(self, offset: int) -> Iterator[Message]:
        """Yield the messages from an offset on."""
        return map(self.at, range(max(offset, self.base), self.end))

    def add(self, message: Message) -> None:
        """Append a message."""
        self.entries.append(message)

    def add_run(self, run: MessageRun) -> None:
        """Append messages that are kept as they came."""
        self.entries += [PlacedRun(run, self.end)] * len(run)

    def position(self, start: Start) -> int:
        """Return the offset that a start position means now."""
        if start == "earliest":
            return self.base
        if start == "new":
            return self.end
        if isinstance(start, int):
            return min(max(start, self.base), self.end)
        since = unix_time(start, name="start")
        later = (offset for offset in range(self.base, self.end) if self._time(offset) >= since)
        return next(later, self.end)

    def make_room(self, count: int) -> bool:
        """Say whether `count` messages may be added; where no group reads, the oldest make room."""
        if len(self.entries) + count <= MEMORY_TOPIC_MESSAGES_MAX:
            return True
        if not self.places:
            self._forget(len(self.entries) // 2)
        return not self.places

    def trim(self) -> None:
        """Forget what every group has settled. Costs a constant per message in the long run."""
        settled = min([place.floor for place in self.places.values()], default=self.base) - self.base
        if settled * 2 >= len(self.entries):
            self._forget(settled)

    def wake(self) -> None:
        """Tell every receiver that there are new messages."""
        for place in self.places.values():
            for receiver in place.receivers:
                receiver.wake()

    def info(self) -> TopicInfo:
        """Return what there is to say about the topic."""
        return TopicInfo(
            name=self.name,
            messages=len(self.entries),
            next_offset=self.end,
            bytes=sum(len(message.body) for message in self.after(self.base)),
            oldest=self._time(self.base) if self.entries else None,
            newest=self._time(self.end - 1) if self.entries else None,
            groups=tuple(sorted(self.places)),
        )

    def _time(self, offset: int) -> float:
        entry = self.entries[offset - self.base]
        return entry.time if isinstance(entry, Message) else entry.shared.time

    def _forget(self, count: int) -> None:
        del self.entries[:count]
        self.base += count
