"""The checker of order names messages that were overtaken."""

from __future__ import annotations

import pytest

from waystation.testing.checkers import order_by_key

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
