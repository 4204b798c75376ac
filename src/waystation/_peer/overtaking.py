"""`Overtaking`: what was on its way to a client when an earlier message of its key was put off.

A server holds back what follows a message that is to come again; what it had delivered before it heard of that, it
cannot hold back. So the client gives that back, unseen: in its sequence the earlier message comes first. Until the
server has said how far it had come, nobody knows what is too early: it waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from .._core.admission import comes_again, sequence_of
from .._core.delivery import Delivery, Settlement

Sequences: TypeAlias = set[tuple[str, str]]


def put_off(outcomes: Iterable[tuple[Delivery, Settlement]]) -> Sequences:
    """Return the sequences in which something is to come again."""
    found = {sequence_of(delivery) for delivery, settlement in outcomes if comes_again(settlement)}
    return {sequence for sequence in found if sequence is not None}


class Overtaking:
    """For one channel.

    Args:
        number_of: Says a delivery's number.

    Attributes:
        waiting: Deliveries of which it is not known yet whether they come too early.
    """

    def __init__(self, number_of: Callable[[Delivery], int]) -> None:
        self.waiting: list[Delivery] = []
        self._number_of = number_of
        self._asked: Counter[tuple[str, str]] = Counter()
        self._below: dict[
            tuple[str, str], int
        ] = {}  # what is too early in a sequence: lower numbers than that

    def __bool__(self) -> bool:
        return bool(self._asked or self._below)

    def ask(self, sequences: Sequences) -> None:
        """The server is told that something of these is to come again."""
        self._asked.update(sequences)

    def answered(
        self, sequences: Sequences, below: int, ready: list[Delivery], come: int
    ) -> tuple[list[Delivery], list[Delivery]]:
        """Take in that it has put it off, when it had made the deliveries below a number.

        Args:
            ready: What was to be handled.
            come: All deliveries with lower numbers have come.

        Returns:
            As `sort_out`, for `ready` and for what has waited.
        """
        for sequence in sequences:
            self._below[sequence] = max(below, self._below.get(sequence, 0))
        self._asked = +(self._asked - Counter(sequences))
        waiting, self.waiting = self.waiting, []
        return self.sort_out([*ready, *waiting], come)

    def sort_out(self, deliveries: Sequence[Delivery], come: int) -> tuple[list[Delivery], list[Delivery]]:
        """Return deliveries that may be handled, and those that must go back. Others wait."""
        may: list[Delivery] = []
        back: list[Delivery] = []
        for delivery in deliveries:
            sequence = sequence_of(delivery)
            if sequence is None:
                may.append(delivery)
            elif sequence in self._asked:
                self.waiting.append(delivery)
            elif self._number_of(delivery) < self._below.get(sequence, 0):
                back.append(delivery)
            else:
                may.append(delivery)
        self._below = {sequence: below for sequence, below in self._below.items() if below > come}
        return may, back
