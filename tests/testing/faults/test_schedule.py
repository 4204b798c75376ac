"""Schedules are drawn from seeds, and shortened to what is to blame."""

import pytest

from waystation.testing.faults import Fault, Kind, Schedule, draw, shorten


def test_a_seed_draws_the_same_schedule_again() -> None:
    assert draw(7, steps=30) == draw(7, steps=30)
    assert draw(7, steps=30) != draw(8, steps=30)


def test_all_seeds_together_draw_every_kind_at_every_step() -> None:
    faults = [fault for seed in range(300) for fault in draw(seed, steps=10)]
    assert {fault.kind for fault in faults} == set(Kind)
    assert {fault.step for fault in faults} >= set(range(1, 11))
    assert all((fault.delay_s > 0) == (fault.kind is Kind.DELAY) for fault in faults)


@pytest.mark.parametrize("guilty", [{1}, {4}, {6}, {2, 5}, {1, 3, 6}, {1, 2, 3, 4, 5, 6}])
async def test_a_schedule_is_shortened_to_what_is_to_blame(guilty: set[int]) -> None:
    schedule = tuple(Fault(step, Kind.DUPLICATE) for step in range(1, 7))

    async def fails(shorter: Schedule) -> bool:
        return {fault.step for fault in shorter} >= guilty

    assert {fault.step for fault in await shorten(schedule, fails)} == guilty


async def test_what_fails_without_faults_is_shortened_to_one() -> None:
    async def fails(shorter: Schedule) -> bool:
        return True

    assert len(await shorten(draw(3, steps=40), fails)) <= 1


def test_a_fault_is_told_in_words() -> None:
    assert str(Fault(4, Kind.CRASH_AFTER)) == "call 4: the process is killed after it"
    assert str(Fault(4, Kind.DELAY, 1.25)) == "call 4: it is late by 1.2 s"
