"""What waits for its time in `memory://`."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence

from msgspec.structs import replace

from ..._core.inspection import ScheduledInfo
from ..._core.message import Message
from ..._core.topic import matches


class Schedule:
    """Messages by the time at which they are due, in Unix seconds."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Message]] = []  # heap of (due, number, message)
        self._numbers = itertools.count()

    @property
    def next_due(self) -> float:
        """When the next one is due; never: infinity."""
        return self._waiting[0][0] if self._waiting else math.inf

    def add(self, message: Message, due: float) -> None:
        """Let a message wait."""
        heapq.heappush(self._waiting, (due, next(self._numbers), message))

    def take_due(self, now: float) -> list[Message]:
        """Take out what is due, in order."""
        taken = []
        while self.next_due <= now:
            taken.append(heapq.heappop(self._waiting)[2])
        return taken

    def find(self, pattern: str, before: float, limit: int) -> Sequence[ScheduledInfo]:
        """Return what waits, the next one first: of topics that fit, due before a time."""
        fitting = [entry for entry in self._waiting if entry[0] < before and matches(pattern, entry[2].topic)]
        return [
            ScheduledInfo(message=message, due=due) for due, _, message in heapq.nsmallest(limit, fitting)
        ]

    def cancel(self, message_id: str) -> list[Message]:
        """Take out the messages with an id."""
        found = [message for _, _, message in self._waiting if message.id == message_id]
        self._waiting = [entry for entry in self._waiting if entry[2].id != message_id]
        heapq.heapify(self._waiting)
        return found

    def move(self, message_id: str, due: float) -> bool:
        """Let the messages with an id wait for another time; False if there are none."""
        found = self.cancel(message_id)
        for message in found:
            self.add(replace(message, deliver_at=due), due)
        return bool(found)
