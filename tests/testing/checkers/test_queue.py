"""The checkers of what went in and what came out find what is wrong in histories made by hand."""

from __future__ import annotations

import pytest

from waystation.testing.checkers import conservation, loss_place, loss_shape, total_queue


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


@pytest.mark.parametrize(
    ("lost", "prefix", "middle", "postfix"),
    [
        ("", "", "", ""),
        ("a", "a", "", ""),
        ("ab", "ab", "", ""),
        ("c", "", "c", ""),
        ("e", "", "", "e"),
        ("acde", "a", "", "cde"),
        ("abde", "ab", "", "de"),
        ("bd", "", "bd", ""),
        ("abcde", "", "", "abcde"),
    ],
)
def test_where_messages_are_missing_says_why(lost: str, prefix: str, middle: str, postfix: str) -> None:
    shape = loss_shape("abcde", set(lost))
    assert shape.prefix == tuple(prefix)
    assert shape.middle == tuple(middle)
    assert shape.postfix == tuple(postfix)


def test_what_is_lost_is_gone_or_only_stranded() -> None:
    place = loss_place("abc", "bxy")
    assert place.gone == {"a", "c"}
    assert place.stranded == {"b"}


def test_the_books_balance() -> None:
    assert conservation(accepted=6, settled=3, dead=1, owed=2) is None
    assert "1 are missing" in str(conservation(accepted=7, settled=3, dead=1, owed=2))
    assert "1 too many" in str(conservation(accepted=5, settled=3, dead=1, owed=2))
    assert conservation(accepted=7, settled=3, dead=1, owed=2, expired=1) is None
