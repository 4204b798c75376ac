"""The checkers find what is wrong in histories made by hand, and accept what is allowed."""

from __future__ import annotations

import pytest

from waystation.testing.checkers import conservation, effect_once, order_by_key, total_queue


def test_a_history_without_faults_is_valid() -> None:
    found = total_queue(invoked="abc", accepted="abc", delivered="cab")
    assert found.is_valid
    assert not found.duplicated
    assert not found.recovered


@pytest.mark.parametrize(
    ("delivered", "lost"), [("bc", "a"), ("ac", "b"), ("ab", "c"), ("", "abc"), ("aab", "c")]
)
def test_what_was_accepted_and_never_came_is_lost(delivered: str, lost: str) -> None:
    found = total_queue(invoked="abc", accepted="abc", delivered=delivered)
    assert found.lost == set(lost)
    assert not found.is_valid


def test_what_nobody_sent_is_unexpected() -> None:
    found = total_queue(invoked="ab", accepted="ab", delivered="abx")
    assert found.unexpected == {"x"}
    assert not found.is_valid


def test_what_was_rejected_and_came_all_the_same_is_unexpected() -> None:
    found = total_queue(invoked="ab", accepted="a", rejected="b", delivered="ab")
    assert found.unexpected == {"b"}
    assert not found.is_valid


def test_what_was_rejected_and_never_came_is_not_lost() -> None:
    assert total_queue(invoked="ab", accepted="a", rejected="b", delivered="a").is_valid


def test_an_unknown_outcome_may_come_or_not() -> None:
    found = total_queue(invoked="abc", accepted="a", delivered="ab")
    assert found.is_valid
    assert found.recovered == {"b"}


def test_duplicates_are_reported_and_allowed() -> None:
    found = total_queue(invoked="ab", accepted="ab", delivered="abab")
    assert found.is_valid
    assert found.duplicated == {"a", "b"}


def test_a_history_that_contradicts_itself_says_nothing() -> None:
    with pytest.raises(ValueError, match="never invoked"):
        total_queue(invoked="a", accepted="ab", delivered="ab")
    with pytest.raises(ValueError, match="accepted and rejected"):
        total_queue(invoked="a", accepted="a", rejected="a", delivered="a")


SENT = {"k": ["1", "2", "3"], "j": ["a", "b"]}


@pytest.mark.parametrize(
    "handled",
    [
        [("k", "1"), ("j", "a"), ("k", "2"), ("j", "b"), ("k", "3")],
        [("k", "1"), ("k", "1"), ("k", "2")],
        [("k", "1"), ("k", "2"), ("k", "1"), ("k", "3")],
        [("k", "2"), ("k", "3")],
    ],
)
def test_each_key_in_its_order_is_valid_also_with_repetitions_and_gaps(
    handled: list[tuple[str, str]],
) -> None:
    assert order_by_key(SENT, handled) == []


@pytest.mark.parametrize(
    ("handled", "complaint"),
    [
        ([("k", "2"), ("k", "1")], "1 of key k came after 2"),
        ([("k", "1"), ("k", "3"), ("j", "a"), ("k", "2")], "2 of key k came after 3"),
        ([("j", "b"), ("k", "1"), ("j", "a")], "a of key j came after b"),
        ([("k", "9")], "never sent"),
    ],
)
def test_a_message_that_was_overtaken_is_named(handled: list[tuple[str, str]], complaint: str) -> None:
    (found,) = order_by_key(SENT, handled)
    assert complaint in found


def test_effects_happen_once() -> None:
    assert effect_once("ab", settled="ab") == []
    assert effect_once("abc", settled="ab") == [], "the settlement was lost, or is still to come"
    assert effect_once("aba", settled="ab") == ["a took effect 2 times"]
    assert effect_once("a", settled="ab") == ["b was accepted without effect"]


def test_the_books_balance() -> None:
    assert conservation(accepted=6, settled=3, dead=1, owed=2) is None
    assert "1 are missing" in str(conservation(accepted=7, settled=3, dead=1, owed=2))
    assert "1 too many" in str(conservation(accepted=5, settled=3, dead=1, owed=2))
