"""Whether a run says anything at all."""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Operations of which fewer than this share met a fault prove nothing.
FAULTED_SHARE_MIN = 0.01


class Verdict(enum.StrEnum):
    """What a run shows."""

    VALID = "valid"  #: faults met operations, and nothing went wrong
    INVALID = "invalid"  #: something went wrong
    UNKNOWN = "unknown"  #: nothing went wrong, and too little happened for that to mean anything


@dataclass(frozen=True, slots=True)
class Exposure:
    """How much of a run faults had met.

    Attributes:
        operations: Sends and deliveries.
        met: Those of them that were under way while a fault was.
    """

    operations: int
    met: int


def exposure(
    operations: Iterable[tuple[int, int | None]], faults: Sequence[tuple[int, int]], *, end: int
) -> Exposure:
    """Count operations, and those that were under way during a fault.

    Args:
        operations: Beginning and end of each; None: it never ended.
        faults: Beginning and end of each.
        end: When the run ended: an operation without an end lasted at most so long.
    """
    spans = _joined(faults)
    begins = [begin for begin, _ in spans]
    total = met = 0
    for began, ended in operations:
        total += 1
        last = bisect_right(begins, end if ended is None else ended) - 1
        met += last >= 0 and spans[last][1] >= began
    return Exposure(total, met)


def verdict(problems: Sequence[str], found: Exposure) -> Verdict:
    """Judge a run. Without problems it is valid only if faults met operations: at least one, and 1 % of all."""
    if problems:
        return Verdict.INVALID
    enough = found.met > 0 and found.met >= FAULTED_SHARE_MIN * found.operations
    return Verdict.VALID if enough else Verdict.UNKNOWN


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found
