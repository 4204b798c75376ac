"""The checkers of time find what came too early, too late, after its expiry, or twice within a window."""

from __future__ import annotations

from typing import Literal

import pytest

from waystation.testing.checkers import dedupe, early, late, liveness, ttl
from waystation.testing.history import Sent

S = 1_000_000_000


def test_what_comes_before_its_time_is_early() -> None:
    due = {"a": 10.0, "b": 20.0}
    assert early(due, [("a", 10.0), ("b", 21.0), ("c", 0.0)]) == []
    assert early(due, [("a", 9.5), ("b", 20.0)]) == ["a came 0.500 s early"]
    assert early(due, [("a", 9.5)], skew_s=1) == []


def test_what_comes_long_after_its_time_is_late() -> None:
    due = {"a": 10.0, "b": 20.0}
    assert late(due, [("b", 20.5), ("a", 11.0), ("a", 50.0)], limit_s=1) == []
    assert late(due, [("a", 12.0), ("b", 20.0)], limit_s=1) == ["a came 2.000 s late"]
    assert late(due, [("a", 10.0)], limit_s=1) == ["b was due and never came"]


def test_nothing_begins_after_its_expiry() -> None:
    assert ttl({"a": 10.0}, [("a", 10.0), ("b", 99.0)]) == []
    assert ttl({"a": 10.0}, [("a", 11.0)]) == ["a was begun 1.000 s after it had expired"]
    assert ttl({"a": 10.0}, [("a", 11.0)], skew_s=1) == []


def sent(
    id_: str,
    began: float,
    ended: float | None,
    outcome: Literal["ok", "fail", "info"] = "ok",
    *,
    dup: bool = False,
) -> Sent:
    return Sent(
        "p",
        id_,
        None,
        round(began * S),
        None if ended is None else round(ended * S),
        outcome,
        None,
        "k",
        "first" if dup else None,
    )


@pytest.mark.parametrize(
    "history",
    [
        [sent("a", 0, 1), sent("b", 5, 6, dup=True), sent("c", 12, 13)],
        [sent("a", 0, 1), sent("b", 9.5, 10.5)],
        [sent("a", 0, None, "info"), sent("b", 99, 100, dup=True)],
        [sent("a", 0, 1, "fail"), sent("b", 2, 3)],
    ],
)
def test_one_of_each_key_is_stored_within_the_window(history: list[Sent]) -> None:
    assert dedupe(history, window_s=10) == []


@pytest.mark.parametrize(
    ("history", "complaint"),
    [
        ([sent("a", 0, 1), sent("b", 2, 3)], "b was stored, although a had the same key 'k'"),
        ([sent("a", 0, 1, dup=True)], "a was refused, although nothing with the key 'k' was in the window"),
        (
            [sent("a", 0, 1), sent("b", 12, 13, dup=True)],
            "b was refused, although nothing with the key 'k' was in the window",
        ),
    ],
)
def test_a_window_that_is_not_kept_is_found(history: list[Sent], complaint: str) -> None:
    assert dedupe(history, window_s=10) == [complaint]


def test_what_was_delivered_was_stored_whatever_its_sender_knows() -> None:
    history = [sent("a", 0, None, "info"), sent("b", 2, 3)]
    assert dedupe(history, window_s=10) == []
    assert dedupe(history, window_s=10, delivered={"b"}) == []
    assert dedupe(history, window_s=10, delivered={"a"}) == ["b was stored, although a had the same key 'k'"]


def test_soon_after_the_last_fault_everything_is_settled() -> None:
    assert liveness(healed_s=10, settled_s=39, owed=0) is None
    assert liveness(healed_s=10, settled_s=None, owed=0) is None
    assert liveness(healed_s=10, settled_s=11, owed=2) == "2 messages were never settled"
    assert "50.0 s after the last fault" in str(liveness(healed_s=10, settled_s=60, owed=0))
