"""What a group's place in a partition looks like to the broker, and what may be found there instead."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation.transports.kafka.limits import METADATA_BYTES_MAX, WINDOW_OFFSETS_MAX
from waystation.transports.kafka.marks import Mark, gaps, ranges, read, write
from waystation.transports.kafka.names import Names
from waystation.transports.kafka.positions import first_offset, number


def offsets_of(mark: Mark) -> set[int]:
    return {offset for first, past in mark.settled for offset in range(first, past)}


@given(
    floor=st.integers(0, 2**40),
    places=st.sets(st.integers(1, WINDOW_OFFSETS_MAX), max_size=400),
    claimed=st.integers(0, WINDOW_OFFSETS_MAX),
    alone=st.none() | st.tuples(st.integers(0, 1000), st.integers(3, 50)),
    state_from=st.integers(-1, 2**40),
)
def test_a_mark_is_read_as_it_was_written(
    floor: int, places: set[int], claimed: int, alone: tuple[int, int] | None, state_from: int
) -> None:
    mark = Mark(
        floor=floor,
        settled=ranges((floor + place, floor + place + 1) for place in sorted(places)),
        claimed=floor + claimed if claimed else 0,
        alone=None if alone is None else (floor + alone[0], alone[1]),
        state_from=state_from,
        owner="abc",
    )
    text = write(mark)
    assert len(text) <= METADATA_BYTES_MAX
    assert read(floor, text) == mark


@pytest.mark.parametrize("step", [2, 3, 7, 64])
def test_a_window_with_holes_all_over_fits(step: int) -> None:
    """That is why the window is as large as it is."""
    settled = tuple((offset, offset + 1) for offset in range(5, WINDOW_OFFSETS_MAX, step))
    mark = Mark(floor=4, settled=settled, owner="x" * 12, state_from=10**12)
    assert read(4, write(mark)) == mark


def test_what_would_be_too_long_leaves_out_the_highest() -> None:
    settled = tuple((offset, offset + 1) for offset in range(5, 4 * WINDOW_OFFSETS_MAX, 2))
    text = write(Mark(floor=4, settled=settled))
    assert len(text) <= METADATA_BYTES_MAX
    kept = offsets_of(read(4, text))
    assert len(kept) > WINDOW_OFFSETS_MAX // 4
    assert kept == set(range(5, max(kept) + 1, 2))


@given(
    st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: f"ws1:{base64.b85encode(raw).decode()}")
)
def test_metadata_of_strangers_mean_nothing(text: str) -> None:
    mark = read(7, text)
    assert mark.floor == 7
    assert len(offsets_of(mark)) <= 2 * WINDOW_OFFSETS_MAX


def test_a_range_that_nobody_can_have_written_is_not_walked() -> None:
    packed = b"r\x01" + b"\xff" * 8 + b"\x7f"
    text = "ws1:" + base64.b85encode(msgspec.msgpack.encode((0, 0, 0, 0, -1, "", packed))).decode()
    assert read(7, text) == Mark(floor=7)


@given(st.sets(st.integers(10, 49)))
def test_gaps_are_what_is_not_there(offsets: set[int]) -> None:
    found = [each for first, past in gaps(sorted(offsets), 10, 50) for each in range(first, past)]
    assert found == sorted(set(range(10, 50)) - offsets)


@given(st.integers(1, 50), st.integers(0, 1000), st.data())
def test_numbers_tell_messages_of_all_partitions_apart(
    partitions: int, start: int, data: st.DataObject
) -> None:
    partition = data.draw(st.integers(0, partitions - 1))
    first = first_offset(start, partition, partitions)
    assert number(first, partition, partitions) >= start
    assert first == 0 or number(first - 1, partition, partitions) < start


def test_names_are_kept_apart_by_a_prefix() -> None:
    names = Names("shop.")
    assert (names.topic("orders"), names.ours("shop.orders")) == ("shop.orders", "orders")
    for stranger in (
        "orders",
        "shop.",
        "shop.waystation..dead",
        "__consumer_offsets",
        "shop._reply.x",
        "shop.a..b",
    ):
        assert names.ours(stranger) is None, stranger
    assert Names().ours("__consumer_offsets") is None
    again = names.again("billing", "orders.placed")
    assert names.again_parts(again) == ("billing", "orders.placed")
    assert names.again_parts("shop.orders") is None
