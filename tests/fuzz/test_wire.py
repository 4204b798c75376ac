"""What the fuzzer does, without a fuzzer: its seeds, and the like of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.wire import _FRAMED, _GREETED, attempt, seeds
from waystation._wire import framing

SEEDS = list(seeds())


@pytest.mark.parametrize("first", range(0, len(SEEDS), 40))
def test_no_seed_finds_a_fault(first: int) -> None:
    for seed in SEEDS[first : first + 40]:
        attempt(seed)


@given(st.sampled_from(SEEDS), st.integers(0, 200), st.binary(max_size=4))
def test_nothing_like_them_does(seed: bytes, place: int, instead: bytes) -> None:
    attempt(seed[:place] + instead + seed[place + 1 :])


@given(st.binary(max_size=60))
def test_nothing_else_does(data: bytes) -> None:
    attempt(data)


def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "_field", lambda *_: 1 / 0)
    wrong_field = bytes([_GREETED | _FRAMED, 5, 0, 0, 2]) + b"\x91\xc2"
    with pytest.raises(ZeroDivisionError):
        attempt(wrong_field)


def test_it_runs_or_says_that_it_cannot() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=15)
    assert "left out" in done.stdout or "Done" in done.stderr
