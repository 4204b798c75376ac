"""What waits for its time, and what recurs, in `memory://`."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from ..._core.inspection import RecurringInfo, ScheduledInfo
from ..._core.message import Message
from ..._core.ports import Recurrence
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


@dataclass(slots=True)
class _Recurring:
    recurrence: Recurrence
    due: float
    paused: bool = False


class Calendar:
    """What recurs, and when it is due next; see `Recurring.recur`."""

    def __init__(self) -> None:
        self._entries: dict[str, _Recurring] = {}

    def begin(self, recurrence: Recurrence, due: float) -> None:
        """Put something down, unless it is there already; in place of something else of its name."""
        entry = self._entries.setdefault(recurrence.name, _Recurring(recurrence, due))
        if entry.recurrence != recurrence:
            entry.recurrence, entry.due = recurrence, due

    def go_on(self, recurrence: Recurrence, due: float, next_due: float) -> bool:
        """Move on what is due then; say whether it was there, and not paused, so that its messages are to be sent."""
        entry = self._entries.get(recurrence.name)
        if entry is None or (entry.recurrence, entry.due) != (recurrence, due):
            return False
        entry.due = next_due
        return not entry.paused

    def due(self, recurrence: Recurrence) -> float | None:
        """Return when something is due; None if it is not there, or another by its name."""
        entry = self._entries.get(recurrence.name)
        return entry.due if entry is not None and entry.recurrence == recurrence else None

    def pause(self, name: str, *, paused: bool) -> bool:
        """Hold back what would be sent, or no longer; say whether there is such a name."""
        if name in self._entries:
            self._entries[name].paused = paused
        return name in self._entries

    def remove(self, name: str) -> bool:
        """Forget; say whether there was something."""
        return self._entries.pop(name, None) is not None

    def find(self) -> Sequence[RecurringInfo]:
        """Return what recurs, the next one first."""
        found = [
            RecurringInfo(
                name=name,
                topic=each.recurrence.topic,
                rule=each.recurrence.rule,
                due=each.due,
                paused=each.paused,
            )
            for name, each in self._entries.items()
        ]
        return sorted(found, key=lambda info: (info.due, info.name))
