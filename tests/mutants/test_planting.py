"""The tests can fail: a few of the faults that `make mutants` plants, and whether the others can still be planted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.catalogue import ABSENT, KNOWN, MUTANTS
from tests.mutants.planting import ROOT, SOURCE, Mutant, end, is_caught, passes

QUICK = (
    "a flush that fails is not noticed",
    "a range is not fenced",
    "a message is accepted before its handler runs",
)


def named(name: str) -> Mutant:
    (found,) = (mutant for mutant in MUTANTS if mutant.name == name)
    return found


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_fault_can_be_planted(mutant: Mutant) -> None:
    text = mutant.planted_in((SOURCE / mutant.file).read_text(encoding="utf-8"))
    if mutant.file.endswith(".py"):  # others are read by a server
        compile(text, mutant.file, "exec")


@pytest.mark.timeout(120)  # all of these are imported
def test_the_tests_that_must_find_them_are_there() -> None:
    assert passes(needed(), ROOT / "src", ["--collect-only"])


def needed() -> Iterator[str]:
    for mutant in MUTANTS:
        yield from mutant.tests


def test_every_known_fault_is_planted_or_has_its_place() -> None:
    assert len(KNOWN) + len(ABSENT) == 21
    for names in KNOWN.values():
        for name in names:
            named(name)


@pytest.mark.timeout(120)
def test_planted_faults_are_found_and_a_harmless_change_is_not(tmp_path: Path) -> None:
    harmless = replace(named(QUICK[1]), words='"""Ending deliveries', instead='"""Finishing deliveries')
    mutants = [*map(named, QUICK), harmless]
    with ThreadPoolExecutor(2) as pool:
        caught = list(pool.map(is_caught, mutants, [tmp_path / str(n) for n in range(len(mutants))]))
    assert caught == [True, True, True, False]


def test_words_that_are_gone_are_told() -> None:
    with pytest.raises(LookupError, match=r"settle\.py: find the words .* occur 0 times"):
        named(QUICK[1]).planted_in("")


def test_tests_that_hang_are_interrupted_and_clear_away(tmp_path: Path) -> None:
    """They may have started servers."""
    ended = tmp_path / "ended"
    (tmp_path / "test_hanging.py").write_text(
        "import pathlib, threading\n"
        "def test_it(request):\n"
        f"    request.addfinalizer(pathlib.Path({str(ended)!r}).touch)\n"
        "    print('begun', flush=True)\n"
        "    threading.Event().wait()\n",
        encoding="utf-8",
    )
    hanging = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", str(tmp_path)]
    with subprocess.Popen(hanging, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("begun" in line for line in process.stdout)
        end(process)
    assert ended.exists()
