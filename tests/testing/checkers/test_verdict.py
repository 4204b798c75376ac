"""A run in which nothing was attacked is not a valid one."""

from __future__ import annotations

import pytest

from waystation.testing.checkers import Exposure, Verdict, exposure, verdict


def test_operations_that_were_under_way_during_a_fault_are_counted() -> None:
    operations = [(0, 4), (4, 6), (6, 9), (11, 14), (21, 22), (19, None), (23, None)]
    found = exposure(operations, [(12, 12), (5, 7), (20, 20)], end=30)
    assert found == Exposure(operations=7, met=4)


def test_overlapping_faults_count_once() -> None:
    assert exposure([(8, 9)], [(0, 10), (1, 2)], end=20) == Exposure(operations=1, met=1)


@pytest.mark.parametrize(
    ("problems", "operations", "met", "expected"),
    [
        ([], 1000, 10, Verdict.VALID),
        ([], 1000, 9, Verdict.UNKNOWN),
        ([], 5, 0, Verdict.UNKNOWN),
        ([], 0, 0, Verdict.UNKNOWN),
        (["lost"], 1000, 0, Verdict.INVALID),
        (["lost"], 1000, 500, Verdict.INVALID),
    ],
)
def test_a_verdict_needs_faults_and_no_problems(
    problems: list[str], operations: int, met: int, expected: Verdict
) -> None:
    assert verdict(problems, Exposure(operations, met)) == expected
