"""`MessageRun`: to everybody a sequence of messages."""

from __future__ import annotations

import pytest

from waystation._core.message import Message
from waystation._core.run import MessageRun, bytes_of, ids_of

SHARED = Message("", "orders", b"", None, {"h": "1"}, type="Order", source="shop", time=5.0, expires_at=9.0)


def message(number: int, key: str | None) -> Message:
    return Message(
        f"m{number}",
        "orders",
        b"x" * number,
        key,
        {"h": "1"},
        type="Order",
        source="shop",
        time=5.0,
        expires_at=9.0,
    )


def run(first: int, count: int, *, keyed: bool = False) -> MessageRun:
    numbers = range(first, first + count)
    keys: list[str | None] | None = [f"k{n}" for n in numbers] if keyed else None
    return MessageRun(SHARED, [f"m{n}" for n in numbers], [b"x" * n for n in numbers], keys)


@pytest.mark.parametrize("keyed", [True, False])
def test_a_run_is_the_sequence_of_its_messages(keyed: bool) -> None:
    expected = [message(n, f"k{n}" if keyed else None) for n in range(3)]
    found = run(0, 3, keyed=keyed)
    assert len(found) == 3
    assert list(found) == expected
    assert [found[0], found[2], found[-1]] == [expected[0], expected[2], expected[2]]
    assert list(found[1:]) == expected[1:]
    assert list(found.pick([2, 0])) == [expected[2], expected[0]]
    assert [found.key_at(n) for n in range(3)] == [each.key for each in expected]
    with pytest.raises(IndexError):
        found[3]


def test_changing_the_headers_of_one_message_changes_no_other() -> None:
    found = run(0, 2)
    found[0].headers["h"] = "2"
    assert found[1].headers == found[0].headers == {"h": "1"}


@pytest.mark.parametrize("keyed", [True, False])
def test_runs_with_the_same_in_common_are_joined(keyed: bool) -> None:
    first, second = run(0, 2, keyed=keyed), run(2, 2, keyed=keyed)
    assert first.joins(second)
    assert list(first + second) == list(run(0, 4, keyed=keyed))
    assert not first.joins(run(2, 2, keyed=not keyed))
    assert not first.joins(MessageRun(Message("", "others", b""), ["m"], [b""]))


def test_ids_and_sizes_are_those_of_a_list_of_the_same_messages() -> None:
    found = run(0, 4)
    assert ids_of(found) == ids_of(list(found)) == ["m0", "m1", "m2", "m3"]
    assert bytes_of(found) == bytes_of(list(found)) == 0 + 1 + 2 + 3
