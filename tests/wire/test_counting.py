"""Counting values without making them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sized
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.pair import ANYTHING, part
from waystation._core.errors import RemoteProtocolError
from waystation._core.limits import WHOLE_BYTES_MAX, WHOLE_VALUES_MAX
from waystation._core.message import Message
from waystation._core.packed import pack
from waystation._wire.counting import has_at_most
from waystation._wire.frames import Call, Send
from waystation._wire.framing import Bulk, Decoder, encode


def counted(value: Any) -> int:
    """How many values a value is, itself included."""
    if isinstance(value, dict):
        return 1 + sum(counted(key) + counted(each) for key, each in value.items())
    return 1 + sum(map(counted, value)) if isinstance(value, list) else 1


@given(ANYTHING)
def test_as_many_values_are_found_as_there_are(value: Any) -> None:
    payload = msgspec.msgpack.encode([value])
    assert has_at_most(counted([value]), payload)
    assert not has_at_most(counted(value), payload)


def name_of(value: object) -> str:
    """Return what the test of a value is called: the same in every process, and short."""
    if isinstance(value, msgspec.msgpack.Ext):
        return f"Ext({value.code}, {len(bytes(value.data))})"
    return f"{type(value).__name__}({len(value)})" if isinstance(value, Sized) else repr(value)


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, -33, 127, 128, 2**8, 2**16, 2**32, -(2**7), -(2**15), -(2**31), -(2**63), 1.5, None, True),
        *("", "x" * 31, "x" * 32, "x" * 256, "x" * 70_000, b"", b"x" * 256, b"x" * 70_000),
        *([0] * 15, [0] * 16, [0] * 70_000, {n: n for n in range(15)}, {n: n for n in range(70_000)}),
        *(msgspec.msgpack.Ext(5, b"x" * size) for size in (0, 1, 2, 4, 8, 16, 17, 300, 70_000)),
    ],
    ids=name_of,
)
def test_every_type_ends_where_it_ends(value: Any) -> None:
    payload = msgspec.msgpack.encode([value, value, 7])
    count = 2 * counted(value) + 2
    assert has_at_most(count, payload)
    assert not has_at_most(count - 1, payload)


@given(st.binary(max_size=40))
def test_bytes_of_any_kind_have_an_answer(payload: bytes) -> None:
    has_at_most(3, payload)
    assert has_at_most(2**70, payload)


def test_what_is_announced_counts_before_it_comes() -> None:
    assert not has_at_most(1000, b"\xdd\xff\xff\xff\xff")
    assert not has_at_most(1000, b"\xde\xff\xff\x01")


def taken(code: int, payload: bytes) -> int:
    """Let a payload come in parts; return how many frames that were."""
    one = Decoder(frame_bytes_max=1 << 20, whole_bytes_max=WHOLE_BYTES_MAX)
    pieces = [payload[place : place + 1_000_000] for place in range(0, len(payload), 1_000_000)]
    return len([frame for piece in pieces for frame in one.feed(part(code, 1, len(payload), piece))])


def test_a_whole_of_countless_values_is_refused_before_they_are_made() -> None:
    words = 2 * WHOLE_VALUES_MAX
    headers = (
        b"\xdf" + words.to_bytes(4, "big") + b"".join(b"\xa3%03x\xa0" % (n % 4096) for n in range(words))
    )
    payload = b"\x93\x01\x01\x91\x91\x95\xa1m\xa1t\xc4\x00\xc0" + headers
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match="values in it") as caught:
            taken(16, payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.code == "limit"
    assert peak < 2.5 * len(payload) + 2_500_000


def test_an_honest_whole_passes() -> None:
    messages = [Message(f"m{n}", "t", b"x" * 2000, headers={"a": "b"}, type="T") for n in range(1000)]
    frame = Send(1, 1, pack(messages))
    bulk = encode(frame)
    assert isinstance(bulk, Bulk)
    one = Decoder(frame_bytes_max=1 << 20, whole_bytes_max=WHOLE_BYTES_MAX)
    assert [heard for each in bulk for heard in one.feed(each)] == [frame]


def test_what_is_kept_as_it_came_may_have_any_number_of_values() -> None:
    rows = msgspec.Raw(msgspec.msgpack.encode([1] * 2_000_000))
    assert taken(18, msgspec.msgpack.encode(Call(1, 1, "executemany", rows))) == 1
