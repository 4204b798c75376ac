"""`Packed`: a batch as one value, which is either of two things and never half of each."""

from __future__ import annotations

import msgspec
import pytest

from waystation._core.limits import CREDIT_MESSAGES_MAX
from waystation._core.message import Message
from waystation._core.packed import Packed, pack, unpack
from waystation._core.run import MessageRun

SHARED = Message("", "orders", b"", None, {"h": "1"}, type="Order", time=5.0)
MESSAGES = [Message("m1", "orders", b"1", "k"), Message("m2", "others", b"", deliver_at=7.0)]
RUN = MessageRun(SHARED, ["m1", "m2"], [b"1", b""], ["k", None])


def travelled(packed: Packed) -> Packed:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(packed), type=Packed)


@pytest.mark.parametrize(
    "messages", [[], MESSAGES, tuple(MESSAGES), RUN, RUN[:1], RUN[:0], MessageRun(SHARED, ["m"], [b"x"])]
)
def test_a_batch_is_the_same_when_it_was_packed_written_read_and_unpacked(
    messages: list[Message] | MessageRun,
) -> None:
    packed = travelled(pack(messages))
    assert len(packed) == len(messages)
    assert list(unpack(packed)) == list(messages)
    assert isinstance(unpack(packed), MessageRun) == isinstance(messages, MessageRun)


def test_a_run_stays_columns() -> None:
    found = unpack(travelled(pack(RUN)))
    assert isinstance(found, MessageRun)
    assert (found.shared, found.ids, found.bodies, found.keys) == (SHARED, RUN.ids, RUN.bodies, RUN.keys)


@pytest.mark.parametrize(
    "fields",
    [
        ([], SHARED, ["m1"], []),
        ([], SHARED, [], [b"x"]),
        ([], SHARED, ["m1"], [b"x"], []),
        ([], SHARED, ["m1"], [b"x"], ["k", "k"]),
        ([], None, ["m1"], [b"x"]),
        (MESSAGES, SHARED),
    ],
)
def test_columns_that_do_not_fit_are_refused_when_they_are_read(fields: tuple[object, ...]) -> None:
    with pytest.raises(msgspec.ValidationError, match="columns"):
        msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=Packed)
    with pytest.raises(msgspec.ValidationError, match="columns"):
        msgspec.convert(fields, Packed)


@pytest.mark.parametrize("count", [CREDIT_MESSAGES_MAX, CREDIT_MESSAGES_MAX + 1])
def test_a_batch_has_a_limit(count: int) -> None:
    many = [MESSAGES[0]] * count
    data = msgspec.msgpack.encode((many,))
    if count == CREDIT_MESSAGES_MAX:
        assert msgspec.msgpack.decode(data, type=Packed) == pack(many)
        return
    with pytest.raises(msgspec.ValidationError, match="length"):
        msgspec.msgpack.decode(data, type=Packed)
    with pytest.raises(ValueError, match="too many for one batch"):
        pack(many)
