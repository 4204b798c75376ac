"""Where a monotone function crosses: plain bisection, which no shape of function can lead astray."""

from __future__ import annotations

from collections.abc import Callable

#: Relative width at which a crossing counts as found; a few hundred times the spacing of floats.
_WIDTH_RATIO = 1e-13


def first_true(holds: Callable[[float], bool], guess: float) -> float:
    """Return the smallest positive number from which on `holds` is true, to 13 digits.

    Args:
        holds: False below some number and true above it; jumps are welcome.
        guess: A positive number of about the right size.
    """
    low, high = 0.0, guess
    while not holds(high):
        low, high = high, 2 * high
    while low == 0.0 and high > 1e-300 and holds(high / 2):
        high /= 2
    low = max(low, high / 2)
    while high - low > _WIDTH_RATIO * high:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def first_whole(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the smallest whole number from `low` to `high` for which `holds` is true, if there is one.

    Looks near `low` first, in steps that double, so that a small answer is found without a large question.
    """
    step, top = 1, low
    while not holds(top):
        if top == high:
            return None
        low, top, step = top + 1, min(high, top + step), 2 * step
    while low < top:
        middle = (low + top) // 2
        low, top = (low, middle) if holds(middle) else (middle + 1, top)
    return top
