"""Batches as bytes: what was written is what is read, and damage is noticed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation._core.message import Message
from waystation._core.run import MessageRun
from waystation._store.segment import DamagedSegment, decode_segment, encode_segment, pack, unpack

texts = st.text(max_size=20)
messages = st.builds(
    Message,
    id=texts,
    topic=texts,
    body=st.binary(max_size=50),
    key=st.none() | texts,
    headers=st.dictionaries(texts, texts, max_size=3),
    time=st.floats(0, 2**40),
    expires_at=st.none() | st.floats(0, 2**40),
    priority=st.integers(0, 9),
)
columns = st.lists(st.tuples(texts, st.binary(max_size=50), texts), max_size=5)


def round_trip(batch: Sequence[Message]) -> Sequence[Message]:
    data = encode_segment(batch)
    return decode_segment(1, 0, len(batch), zlib.crc32(data), data)


@given(st.lists(messages, max_size=5))
def test_messages_of_any_kind_are_read_as_they_were_written(batch: list[Message]) -> None:
    assert list(round_trip(batch)) == batch


@given(messages, columns, st.booleans())
def test_a_run_is_read_as_a_run(shared: Message, rows: list[tuple[str, bytes, str]], keyed: bool) -> None:
    run = MessageRun(
        shared,
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows] if keyed else None,
    )
    found = round_trip(run)
    assert isinstance(found, MessageRun)
    assert list(found) == list(run)


@given(st.lists(messages, min_size=1, max_size=3), st.data())
def test_a_changed_byte_is_noticed(batch: list[Message], data: st.DataObject) -> None:
    written = bytearray(encode_segment(batch))
    checksum = zlib.crc32(written)
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DamagedSegment):
        decode_segment(1, 0, len(batch), checksum, bytes(written))


@given(messages)
def test_a_message_of_its_own_is_read_as_it_was_written_or_told_to_be_damaged(message: Message) -> None:
    data = pack(message)
    assert unpack(data) == (message, None)
    _, damage = unpack(data[:-1] + bytes([data[-1] ^ 1]))
    assert damage is not None
