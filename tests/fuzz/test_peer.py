"""What the fuzzer does to a server at work, without a fuzzer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.peer import TALK, attempt, seeds
from waystation._peer.register import Register

SEEDS = list(seeds())


def test_no_seed_finds_a_fault() -> None:
    assert len(SEEDS) > 10
    for seed in SEEDS:
        attempt(seed)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(SEEDS), max_size=4), st.integers(0, 2000), st.binary(max_size=4))
def test_nothing_like_them_does(some: list[bytes], place: int, instead: bytes) -> None:
    said = b"\1" + b"".join(seed[1:] for seed in (*SEEDS[: len(TALK)], *some))
    place %= len(said)
    attempt(said[:place] + instead + said[place + 1 :])


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60))
def test_nothing_else_does(data: bytes) -> None:
    attempt(data)


def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Register, "count", lambda *_: 1 / 0)
    with pytest.raises(AssertionError, match="could not be handled"):
        attempt(SEEDS[0])
