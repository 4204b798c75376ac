"""A backlog at rates that change: messages as a fluid that runs in and out.

What comes and what is handled are given as phases: steady, or rising or falling evenly. Between two changes the backlog
is a parabola, so its peak, the time when it is gone and the time when a disk is full are roots of quadratic equations;
nothing is stepped through. A fluid has no chance in it: the queue that forms at steady rates, by chance alone, is what
the other models are for. That makes this an approximation, and a good one where the backlog is large.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .trust import ModelError, Trust, zero_or_more


@dataclass(frozen=True, slots=True)
class Phase:
    """A rate for some time.

    Attributes:
        per_s: The rate at the beginning.
        seconds: How long it lasts; infinite for the last one.
        until_per_s: The rate at the end, to which it changes evenly; None for a steady one.
    """

    per_s: float
    seconds: float = math.inf
    until_per_s: float | None = None

    @property
    def slope(self) -> float:
        """How much the rate changes per second."""
        return 0.0 if self.until_per_s is None else (self.until_per_s - self.per_s) / self.seconds


@dataclass(frozen=True, slots=True)
class Stretch:
    """A backlog between two changes: level + growth·t + bend·t² / 2, with t from the stretch's beginning."""

    starts_s: float
    seconds: float
    level: float
    growth: float
    bend: float

    def at(self, since_s: float) -> float:
        """Return the backlog so long after the beginning."""
        return max(0.0, self.level + since_s * (self.growth + since_s * self.bend / 2))

    def first(self, level: float) -> float | None:
        """Return when, after the beginning, the backlog is first at a level; None if never within the stretch."""
        if self.level == level:
            return 0.0
        found = [
            t
            for t in _roots(self.bend / 2, self.growth, self.level - level)
            if 0 < t <= self.seconds * (1 + 1e-12)
        ]
        return min(found, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A backlog over time.

    Attributes:
        stretches: Its parts; the last one lasts for ever.
    """

    stretches: tuple[Stretch, ...]
    model: str = "fluid"
    trust: Trust = Trust.APPROXIMATION

    def at(self, seconds: float) -> float:
        """Return the backlog at a time.

        Raises:
            ModelError: A time before the beginning.
        """
        zero_or_more(seconds, "a time", "seconds from the beginning")
        within = [each for each in self.stretches if each.starts_s <= seconds]
        return within[-1].at(seconds - within[-1].starts_s)

    @property
    def peak(self) -> tuple[float, float]:
        """When the backlog is largest, in seconds, and how large; infinite if it grows for ever."""
        best = (0.0, self.stretches[0].level)
        for each in self.stretches:
            if math.isinf(each.seconds) and (each.growth > 0 or each.bend > 0):
                return math.inf, math.inf
            times = [0.0] if math.isinf(each.seconds) else [0.0, each.seconds]
            if each.bend < 0 and 0 < -each.growth / each.bend < each.seconds:
                times.append(-each.growth / each.bend)
            best = max(best, *((each.starts_s + t, each.at(t)) for t in times), key=lambda point: point[1])
        return best

    def reaches(self, level: float) -> float | None:
        """Return when the backlog is first as large as this, in seconds; None if never."""
        for each in self.stretches:
            if each.level >= level:
                return each.starts_s
            if (found := each.first(level)) is not None:
                return each.starts_s + found
        return None

    def drained(self) -> float | None:
        """Return when nothing is left for good, in seconds; None if something always is."""
        last = self.stretches[-1]
        if last.level > 0 or last.growth > 0 or last.bend > 0:
            return None
        over = [each for each in self.stretches if each.level > 0 or each.growth > 0 or each.bend > 0]
        return over[-1].starts_s + over[-1].seconds if over else 0.0


def course(arrivals: Sequence[Phase], handled: Sequence[Phase], *, messages: float = 0.0) -> Course:
    """Return what a backlog does while messages come and are handled at rates that change.

    Args:
        arrivals: What comes, phase by phase; the last one goes on for ever.
        handled: What can be handled, likewise.
        messages: The backlog at the beginning.

    Raises:
        ModelError: No phase; a rate or a time that is negative; a rate that changes for ever.
    """
    level = zero_or_more(messages, "messages", "how many wait at the beginning")
    stretches: list[Stretch] = []
    for starts_s, seconds, growth, bend in _changes(_checked(arrivals), _checked(handled)):
        for stretch in _above_zero(starts_s, seconds, level, growth, bend):
            stretches.append(stretch)
            if not math.isinf(stretch.seconds):
                level = stretch.at(stretch.seconds)
                level = (
                    0.0 if level < 1e-9 * (stretch.level + abs(stretch.growth) * stretch.seconds) else level
                )
    return Course(stretches=tuple(stretches))


def _changes(
    arrivals: Sequence[Phase], handled: Sequence[Phase]
) -> Iterator[tuple[float, float, float, float]]:
    """Yield (start, length, growth at the start, change of growth per second) between any two changes of either."""
    starts = sorted({0.0, *_ends(arrivals), *_ends(handled)})
    for start, end in zip(starts, [*starts[1:], math.inf], strict=True):
        come, come_slope = _rate(arrivals, start)
        go, go_slope = _rate(handled, start)
        yield start, end - start, come - go, come_slope - go_slope


def _above_zero(
    starts_s: float, seconds: float, level: float, growth: float, bend: float
) -> Iterator[Stretch]:
    """Yield the parts of a stretch in which the backlog is a parabola, and those in which it is nothing."""
    left = seconds
    while left > 0:
        if level <= 0 and (growth < 0 or (growth == 0 and bend <= 0)):
            idle = -growth / bend if bend > 0 else math.inf
            length = min(idle, left)
            yield Stretch(starts_s, length, 0.0, 0.0, 0.0)
            level, growth = 0.0, growth + bend * length if length < math.inf else growth
            growth = 0.0 if idle <= left else growth
        else:
            whole = Stretch(starts_s, left, level, growth, bend)
            empty = [t for t in _roots(bend / 2, growth, level) if 1e-12 * (t + 1) < t < left]
            length = min(empty, default=left)
            yield Stretch(starts_s, length, level, growth, bend)
            level = 0.0 if empty else whole.at(length) if length < math.inf else level
            growth += bend * length if length < math.inf else 0.0
        starts_s, left = starts_s + length, left - length if length < math.inf else 0.0


def _roots(square: float, linear: float, constant: float) -> list[float]:
    """Return the real roots of a·t² + b·t + c, in the form that loses no digits."""
    if square == 0:
        return [-constant / linear] if linear else []
    inside = linear * linear - 4 * square * constant
    if inside < 0:
        return []
    q = -(linear + math.copysign(math.sqrt(inside), linear)) / 2
    return [q / square, *([constant / q] if q else [])]


def _rate(phases: Sequence[Phase], at_s: float) -> tuple[float, float]:
    """Return rate and slope from a time on."""
    start = 0.0
    for phase in phases:
        if at_s < start + phase.seconds:
            return phase.per_s + phase.slope * (at_s - start), phase.slope
        start += phase.seconds
    last = phases[-1]
    return (last.per_s if last.until_per_s is None else last.until_per_s), 0.0


def _ends(phases: Sequence[Phase]) -> Iterator[float]:
    total = 0.0
    for phase in phases:
        total += phase.seconds
        if not math.isinf(total):
            yield total


def _checked(phases: Sequence[Phase]) -> Sequence[Phase]:
    """Return the phases.

    Raises:
        ModelError: There are none, or one cannot be.
    """
    if not phases:
        raise ModelError(
            "rates are given phase by phase", found="there is none", instead="give Phase(2000.0)"
        )
    for phase in phases:
        zero_or_more(phase.per_s, "a phase's rate", "how many per second")
        zero_or_more(
            phase.per_s if phase.until_per_s is None else phase.until_per_s,
            "a phase's rate",
            "how many per second",
        )
        if not phase.seconds > 0:
            raise ModelError(
                "a phase lasts for some time", found=f"{phase.seconds!r} s was given", instead="give 3600"
            )
        if phase.until_per_s is not None and math.isinf(phase.seconds):
            raise ModelError(
                "a rate changes for a limited time", found="the phase has no end", instead="give its seconds"
            )
    return phases
