"""Two thousand lives of a small program, each under a schedule of faults of its own, in virtual time.

A failure tells its seed, and the shortest schedule of faults that still makes it. See `waystation.testing.faults`.
"""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.town import Ledger, Town
from waystation.testing.faults import Fault, Kind

#: Seeds in memory, in parts that take a few seconds each.
SEEDS, PART = 2000, 50

#: Seeds on files: each is a real file with real transactions.
FILE_SEEDS, FILE_PART = 40, 10


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Losing connections is what all of this is about, and formatting a hundred thousand warnings takes its time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, SEEDS, PART))
async def test_nothing_is_lost_and_order_is_kept(first: int) -> None:
    await Town().survival.prove(range(first, first + PART))


@pytest.mark.parametrize("first", range(0, FILE_SEEDS, FILE_PART))
async def test_an_effect_happens_once_with_the_inbox(first: int, tmp_path: Path) -> None:
    urls = (f"sqlite:///{tmp_path}/{number}.db" for number in itertools.count())
    await Ledger(urls).survival.prove(range(first, first + FILE_PART))


async def test_every_kind_of_fault_strikes() -> None:
    """A simulation in which nothing happens proves nothing."""
    town = Town()
    steps = await town.survival.run((), seed=0)
    assert steps > 20
    for kind in Kind:
        everywhere = tuple(Fault(step, kind, 1.0) for step in range(4, steps, 7))
        assert await town.survival.run(everywhere, seed=0) > steps / 2
        assert (town.survival.nemesis.life > 2) == (kind in (Kind.CRASH_BEFORE, Kind.CRASH_AFTER))


async def test_a_program_that_gives_up_order_is_found_out() -> None:
    """A simulation that cannot fail proves nothing, either."""
    with pytest.raises(AssertionError, match="came after"):
        await Town(ordered=False).survival.prove(range(20))
