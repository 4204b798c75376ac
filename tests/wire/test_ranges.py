"""Numbers and ranges are the same thing said twice."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation._wire.ranges import count_in, numbers_in, ranges_of


@pytest.mark.parametrize(
    ("numbers", "ranges"),
    [
        ([], []),
        ([5], [(5, 6)]),
        ([0, 1, 2], [(0, 3)]),
        ([3, 1, 2, 2], [(1, 4)]),
        ([1, 3, 4, 9], [(1, 2), (3, 5), (9, 10)]),
    ],
)
def test_numbers_become_the_fewest_ranges(numbers: list[int], ranges: list[tuple[int, int]]) -> None:
    assert ranges_of(numbers) == ranges


@given(st.lists(st.integers(0, 60)))
def test_ranges_have_exactly_the_numbers_that_they_were_made_of(numbers: list[int]) -> None:
    found = ranges_of(iter(numbers))
    assert list(numbers_in(found)) == sorted(set(numbers))
    assert count_in(found) == len(set(numbers))
    assert all(past < first for (_, past), (first, _) in pairwise(found))


def test_a_huge_range_is_counted_without_being_walked() -> None:
    assert count_in([(0, 2**62), (7, 7), (9, 3)]) == 2**62
    assert list(numbers_in([(7, 7), (9, 3), (1, 3)])) == [1, 2]
