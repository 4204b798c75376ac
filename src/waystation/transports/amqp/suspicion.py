"""What is to be thought of a message whose holder has vanished: pure decisions.

The server counts how often it had to take a message back. It cannot tell what was with a handler from what only lay
there, so a message that kills its process would use up the attempts of all its neighbours. So what comes back is a
suspect: before it is handed out again, it is published anew with what is known of it. The first time suspects are
handed out in company, a hundred at a time; if their process dies once more, one by one, with nothing else in hand. Only
who dies alone is guilty, and only what was handed out can be.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The level from which on a suspect is handed out alone.
ALONE = 2


@dataclass(frozen=True, slots=True)
class Standing:
    """How a message stands when it arrives.

    Attributes:
        attempts: How many were begun, as far as it is to be believed.
        level: 0: nothing is held against it; 1: it may be handed out in company; more: alone.
        doubted: Whether it must be published anew before it is handed out, so that this is known.
    """

    attempts: int
    level: int
    doubted: bool


def standing(*, attempts: int, level: int, vanished: int) -> Standing:
    """Say how a message stands.

    Args:
        attempts: How many were begun when it was published.
        level: How it was handed out since then; 0: as any other.
        vanished: How often its holder has vanished since then.
    """
    if not vanished:
        return Standing(attempts, level, doubted=False)
    # In company it may have been another's fault: that death is not counted, but leads to solitude.
    counted = level != 1
    return Standing(attempts + counted, level + vanished, doubted=True)
