"""What a channel's deliveries are called there, and how many of them are settled in few words.

The server counts the deliveries of a channel. Of those that are settled, all up to the first that is not are settled in
one word; only what was settled ahead of others needs one of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from . import frames
from .channel import Channel


class Holds:
    """The unsettled deliveries of one channel."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._open: deque[int] = deque()
        self._ahead: set[int] = set()

    def __len__(self) -> int:
        """How many deliveries are unsettled."""
        return len(self._open) - len(self._ahead)

    def add(self, tag: int) -> None:
        """The server has delivered something."""
        self._open.append(tag)

    def ack(self, tags: Iterable[int]) -> None:
        """Tell the server that these are done."""
        new = set(tags)
        upto = 0
        while self._open:
            first = self._open[0]
            if first in new:
                new.remove(first)
                upto = first
            elif first in self._ahead:
                self._ahead.remove(first)
            else:
                break
            self._open.popleft()
        number = self.channel.number
        words = [frames.ack(number, upto, multiple=True)] if upto else []
        words += [frames.ack(number, tag, multiple=False) for tag in sorted(new)]
        self._ahead |= new
        if words:
            self.channel.write(b"".join(words))
