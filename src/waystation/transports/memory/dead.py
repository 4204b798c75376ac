"""Dead letters: what a group has given up, kept until somebody decides about it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ..._core.delivery import DeadLetter
from ..._core.inspection import DeadInfo
from ..._core.message import Message
from .place import Place


class DeadLetters:
    """Those of all groups, by number, oldest first."""

    def __init__(self) -> None:
        self._letters: dict[int, DeadInfo] = {}
        self._numbers = itertools.count(1)

    def bury(self, place: Place, message: Message, attempts: int, outcome: DeadLetter, now: float) -> None:
        """Keep a message of a place, given up after so many attempts at this Unix time."""
        number = next(self._numbers)
        self._letters[number] = DeadInfo(
            number=number,
            group=place.group,
            topic=place.log.name,
            message=message,
            attempts=attempts,
            reason=outcome.reason,
            detail=outcome.detail,
            died=now,
        )

    def find(self, group: str | None, limit: int, after: int) -> list[DeadInfo]:
        """Return at most `limit` with a number over `after`, of one group or of all."""
        wanted = (
            dead for dead in self._letters.values() if dead.number > after and group in (None, dead.group)
        )
        return list(itertools.islice(wanted, limit))

    def count(self, group: str, topic: str) -> int:
        """Return how many a group has of a topic."""
        return sum((dead.group, dead.topic) == (group, topic) for dead in self._letters.values())

    def take(self, numbers: Sequence[int]) -> list[DeadInfo]:
        """Remove these and return those that there were, oldest first."""
        return [self._letters.pop(number) for number in sorted(set(numbers)) if number in self._letters]

    def forget(self, group: str) -> None:
        """Remove all of a group."""
        self._letters = {number: dead for number, dead in self._letters.items() if dead.group != group}
