"""The checkers of effects find what happened twice, never, or by half."""

from __future__ import annotations

import pytest

from waystation.testing.checkers import effect_once, torn


def test_effects_happen_once() -> None:
    assert effect_once("ab", settled="ab") == []
    assert effect_once("abc", settled="ab") == [], "the settlement was lost, or is still to come"
    assert effect_once("aba", settled="ab") == ["a took effect 2 times"]
    assert effect_once("a", settled="ab") == ["b was accepted without effect"]


def test_rows_and_messages_that_agree_are_whole() -> None:
    assert torn("abc", "cab", committed="ab", undone="x") == []


@pytest.mark.parametrize(
    ("rows", "messages", "committed", "undone", "complaint"),
    [
        ("ab", "a", "", "", "b has a row and no message"),
        ("a", "ab", "", "", "b has a message and no row"),
        ("aa", "a", "", "", "a happened 2 times"),
        ("a", "aaa", "", "", "a happened 3 times"),
        ("a", "a", "ab", "", "b was committed and is gone"),
        ("ab", "ab", "", "b", "b was rolled back and is there"),
    ],
)
def test_half_a_transaction_is_named(
    rows: str, messages: str, committed: str, undone: str, complaint: str
) -> None:
    assert torn(rows, messages, committed=committed, undone=undone) == [complaint]
