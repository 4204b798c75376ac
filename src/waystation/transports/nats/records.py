"""What is written in the bucket: the places of groups, who is there, what recurs. As JSON, for people to read, too.

The place of a group in one partition is its `Unit`: which of the partition's messages are *not* settled among those
that have been looked at. So it is small where all is well, and one write of it settles any number of messages in one
step. Its owner writes it by compare-and-set, with the revision that he wrote last: whoever is not the owner any more
cannot settle anything, which JetStream's own acknowledgements do not see to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from ..._core.inspection import MemberInfo

#: Numbers of messages: one, or the first and last of several without a gap.
Ranges: TypeAlias = list[int | tuple[int, int]]


class Held(msgspec.Struct, array_like=True):
    """A message that was tried before, or was brought back.

    Attributes:
        attempts: Deliveries started so far.
        due: Not before this time, in Unix seconds.
        out: Whether it is being handled.
        suspect: Whether a process died while it was handling it.
    """

    sequence: int
    attempts: int
    due: float = 0.0
    out: bool = False
    suspect: bool = False


class Unit(msgspec.Struct, omit_defaults=True):
    """A group's place in one partition of a topic.

    Attributes:
        owner: The process that has it; nothing: none.
        tops: For each lane, how far messages have been looked at. What is beyond is as it was sent.
        out: Messages that are being handled, at their first attempt.
        held: Those that were tried before.
        left: Those that have been looked at and not tried.
        parked: How many of them stand behind an earlier one of their key.
        stamp: When the server stored the newest message that has been read, in nanoseconds. What it stores later is
            new, also where it has lost messages in a power cut and counts on from an earlier number.
    """

    owner: str = ""
    tops: tuple[int, int, int] = (0, 0, 0)
    out: Ranges = []
    held: list[Held] = []
    left: Ranges = []
    parked: int = 0
    stamp: int = 0

    def unsettled(self) -> set[int]:
        """Return the messages looked at that are not settled."""
        return {*numbers(self.out), *numbers(self.left), *(held.sequence for held in self.held)}

    def before(self, sequence: int) -> Unit:
        """Return what this was before a number."""
        first, second, third = (min(top, sequence - 1) for top in self.tops)
        return Unit(
            self.owner,
            (first, second, third),
            ranges(number for number in numbers(self.out) if number < sequence),
            [held for held in self.held if held.sequence < sequence],
            ranges(number for number in numbers(self.left) if number < sequence),
            0,
            self.stamp,
        )

    def floor(self) -> int:
        """Return up to where nothing is needed any more."""
        return min([*self.tops, *(number - 1 for number in self.unsettled())])


class Place(msgspec.Struct):
    """Where a group has begun on a topic: before this number nothing is meant for it."""

    start: int


class Group(msgspec.Struct, omit_defaults=True):
    """A group's subscription.

    Attributes:
        until: Of a temporary group, how long it is kept unless somebody says that he serves it, in Unix seconds.
    """

    group: str
    pattern: str
    ordered: bool = True
    until: float = 0.0


class Process(msgspec.Struct):
    """A process that serves groups, until a time in Unix seconds unless it says so again.

    Attributes:
        serves: Groups with the patterns that it reads for them.
        host: The machine on which it runs.
        pid: Its number there.
    """

    until: float
    serves: list[tuple[str, str]] = []
    host: str = ""
    pid: int = 0


class Said(msgspec.Struct):
    """What a process says of its subscriptions."""

    members: list[MemberInfo]


class Mover(msgspec.Struct):
    """Who sees to it that messages that wait for their time are sent then."""

    owner: str = ""


class Recurs(msgspec.Struct, omit_defaults=True):
    """A message that recurs."""

    name: str
    topic: str
    rule: str
    due: float
    paused: bool = False


def ranges(found: Iterable[int]) -> Ranges:
    """Write numbers short."""
    written: Ranges = []
    first = last = -1
    for number in sorted(found):
        if number == last + 1 and last >= 0:
            last = number
            continue
        if last >= 0:
            written.append(first if first == last else (first, last))
        first = last = number
    if last >= 0:
        written.append(first if first == last else (first, last))
    return written


def numbers(written: Sequence[int | tuple[int, int]]) -> list[int]:
    """Read them."""
    found: list[int] = []
    for each in written:
        if isinstance(each, int):
            found.append(each)
        else:
            found += range(each[0], each[1] + 1)
    return found
