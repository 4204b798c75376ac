"""Numbers as ranges, first and past the last: a thousand deliveries that are accepted in order are two numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, starmap


def ranges_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return numbers, in any order, as ranges in order. A number that comes twice counts once."""
    ordered = sorted(set(numbers))
    if not ordered:
        return []
    if ordered[-1] - ordered[0] == len(ordered) - 1:  # by far the most frequent
        return [(ordered[0], ordered[-1] + 1)]
    found: list[tuple[int, int]] = []
    first = past = ordered[0]
    for number in ordered:
        if number != past:
            found.append((first, past))
            first = number
        past = number + 1
    found.append((first, past))
    return found


def numbers_in(ranges: Iterable[tuple[int, int]]) -> Iterator[int]:
    """Yield every number of ranges, in their order. Of a stranger's ask `count_in` first."""
    return chain.from_iterable(starmap(range, ranges))


def count_in(ranges: Iterable[tuple[int, int]]) -> int:
    """Return how many numbers `numbers_in` would yield, without walking them."""
    return sum([past - first for first, past in ranges if past > first])
