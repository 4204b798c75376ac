"""What goes wrong, and when: drawn from a seed, and shortened when it is to blame. Pure."""

from __future__ import annotations

import enum
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

#: A schedule has at most so many faults; more of them hide each other.
FAULTS_MAX = 6

#: The longest delay, in virtual seconds: over a lease's length now and then, which is 10.
_DELAY_S_MAX = 15.0

#: How often a schedule is tried while it is shortened.
_TRIALS_MAX = 60


class Kind(enum.StrEnum):
    """What can go wrong at a call of the transport."""

    DROP_BEFORE = "the connection drops before it"
    DROP_AFTER = "the connection drops after it, before the answer"
    DUPLICATE = "it happens twice"
    DELAY = "it is late"
    REORDER = "messages of different keys change places"
    CRASH_BEFORE = "the process is killed before it"
    CRASH_AFTER = "the process is killed after it"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        step: At which call of the transport, counted from 1; one that this cannot happen to is left alone.
        delay_s: How late it is, in virtual seconds.
    """

    step: int
    kind: Kind
    delay_s: float = 0.0

    def __str__(self) -> str:
        late = f" by {self.delay_s:.1f} s" if self.kind is Kind.DELAY else ""
        return f"call {self.step}: {self.kind}{late}"


Schedule: TypeAlias = tuple[Fault, ...]


def draw(seed: int, *, steps: int) -> Schedule:
    """Draw a schedule for a run of about so many calls; the same seed draws the same one."""
    chance = random.Random(seed)
    faults = []
    for step in sorted(chance.sample(range(1, steps + FAULTS_MAX), chance.randint(1, FAULTS_MAX))):
        kind = chance.choice(list(Kind))
        faults.append(Fault(step, kind, chance.uniform(0.1, _DELAY_S_MAX) if kind is Kind.DELAY else 0.0))
    return tuple(faults)


async def shorten(schedule: Schedule, fails: Callable[[Schedule], Awaitable[bool]]) -> Schedule:
    """Leave out whatever is not needed for a run to fail (Zeller's delta debugging, by halves).

    Args:
        fails: Whether a run under a schedule fails. Called at most 60 times.
    """
    parts, trials = 2, 0
    while len(schedule) > 1:
        for without in _without_a_part(schedule, parts):
            trials += 1
            if trials > _TRIALS_MAX:
                return schedule
            if await fails(without):
                schedule, parts = without, max(2, parts - 1)
                break
        else:
            if parts >= len(schedule):
                return schedule
            parts = min(len(schedule), parts * 2)
    return schedule


def _without_a_part(schedule: Schedule, parts: int) -> Sequence[Schedule]:
    size = -(-len(schedule) // parts)
    return [schedule[:at] + schedule[at + size :] for at in range(0, len(schedule), size)]
