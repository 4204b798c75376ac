"""Publishing once: within a window, a topic stores one message of each `dedupe_key`."""

from __future__ import annotations

from collections.abc import Sequence

from ..._core.limits import DEDUPE_WINDOW_S, MEMORY_DEDUPE_KEYS_MAX
from ..._core.message import Message
from ..._core.topic import is_reply_address


class DedupeKeys:
    """The keys that the topics of one transport remember. Times are of the monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, str], tuple[float, str]] = {}  # oldest first: (expires, message's id)

    def make_room(self, count: int, now: float) -> bool:
        """Say whether `count` more keys may be marked."""
        while self._marks:
            oldest = next(iter(self._marks))
            if self._marks[oldest][0] > now:
                break
            del self._marks[oldest]
        return len(self._marks) + count <= MEMORY_DEDUPE_KEYS_MAX

    def mark(self, messages: Sequence[Message], now: float) -> dict[int, str]:
        """Mark the keys of a batch, for which there is room; return the places of duplicates, and the first's ids."""
        firsts: dict[int, str] = {}
        for index, message in enumerate(messages):
            if message.dedupe_key is None or is_reply_address(message.topic):
                continue
            mark = (now + DEDUPE_WINDOW_S, message.id)
            found = self._marks.setdefault((message.topic, message.dedupe_key), mark)
            if found is not mark:
                firsts[index] = found[1]
        return firsts

    def unmark(self, message: Message) -> None:
        """Forget the key of a message that will never be delivered."""
        key = (message.topic, message.dedupe_key or "")
        if key in self._marks and self._marks[key][1] == message.id:
            del self._marks[key]
