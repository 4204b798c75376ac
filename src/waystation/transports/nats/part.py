"""A group's place in one partition, as the process that owns it has it in memory."""

from __future__ import annotations

import msgspec

from ..._core.message import Message
from .layout import NORMAL
from .records import Held, Unit, numbers, ranges


class Entry(msgspec.Struct):
    """A message that is not settled, as far as it is in memory.

    Attributes:
        attempts: Deliveries started so far.
        due: Not before this time, in Unix seconds.
        out: Whether it is being handled.
        suspect: Whether a process died while it was handling it.
        ready: Whether it may be handed out now, as one that comes again.
    """

    sequence: int
    partition: int
    lane: int
    message: Message
    attempts: int = 0
    due: float = 0.0
    out: bool = False
    suspect: bool = False
    ready: bool = False


class Part:
    """One partition.

    Attributes:
        revision: Of what was written last.
        entries: What has been looked at and is not settled, by number in the stream.
        tops: For each lane, how far messages have been looked at.
        read: For each lane, how far they have been read.
        stamp: When the newest message that has been read was stored, in nanoseconds.
        leaving: Whether it is to be left to another process: nothing more is taken from it.
        lost: Whether it was taken away: whatever is still said of its deliveries is too late.
        changed: Whether what is in memory differs from what is written.
    """

    __slots__ = (
        "changed",
        "entries",
        "leaving",
        "lost",
        "number",
        "parked",
        "read",
        "revision",
        "stamp",
        "tops",
    )

    def __init__(self, number: int, revision: int, tops: tuple[int, int, int], stamp: int = 0) -> None:
        self.number = number
        self.revision = revision
        self.entries: dict[int, Entry] = {}
        self.tops = list(tops)
        self.read = list(tops)
        self.stamp = stamp
        self.parked = 0
        self.leaving = False
        self.lost = False
        self.changed = False

    @property
    def out(self) -> int:
        """How many of its messages are being handled."""
        return sum(entry.out for entry in self.entries.values())

    def record(self, owner: str) -> Unit:
        """Return what is to be written."""
        first: list[int] = []
        held: list[Held] = []
        left: list[int] = []
        for number, entry in self.entries.items():
            if entry.attempts == 0:
                left.append(number)
            elif entry.attempts == 1 and entry.out:
                first.append(number)
            else:
                held.append(Held(number, entry.attempts, entry.due, entry.out, entry.suspect))
        return Unit(
            owner,
            (self.tops[0], self.tops[1], self.tops[2]),
            ranges(first),
            held,
            ranges(left),
            self.parked,
            self.stamp,
        )


def taken_over(unit: Unit, *, died: bool) -> dict[int, Held]:
    """Return what a new owner finds unsettled, by number: as it is to be handled next.

    Args:
        died: Whether the last owner has died: what he was handling has been tried, and he may have died of it.
    """
    found = {number: Held(number, 0) for number in numbers(unit.left)}
    for number in numbers(unit.out):
        found[number] = Held(number, 1, suspect=True) if died else Held(number, 0)
    for held in unit.held:
        again = held.attempts if died or not held.out else held.attempts - 1
        found[held.sequence] = Held(
            held.sequence, again, held.due, suspect=held.suspect or (died and held.out)
        )
    return found


def entry_of(held: Held, partition: int, lane: int, message: Message) -> Entry:
    """Return what comes again."""
    return Entry(held.sequence, partition, lane, message, held.attempts, held.due, suspect=held.suspect)


def fresh(sequence: int, partition: int, message: Message, lane: int = NORMAL) -> Entry:
    """Return what has just been read."""
    return Entry(sequence, partition, lane, message)
