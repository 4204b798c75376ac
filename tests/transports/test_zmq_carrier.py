"""A stream of bytes over messages: whole, in order, bounded, and never wrong in silence."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peer.stand import until
from waystation._core.limits import (
    WRITE_BUFFER_BYTES_MAX,
    ZMQ_HIGH_WATER_MESSAGES_MAX,
    ZMQ_MESSAGE_BYTES_MAX,
    ZMQ_WINDOW_BYTES_MAX,
)
from waystation.transports.zeromq import carrier as module
from waystation.transports.zeromq.carrier import Carrier
from waystation.transports.zeromq.counts import Counts
from waystation.transports.zeromq.envelope import HEAD_BYTES, Head, Kind, read_head, write_head

STREAM = b"stream-1"


class Ear(asyncio.Protocol):
    """What a carrier's user hears."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.full = False
        self.ended: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.data += data

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.append(exc)


class End:
    """One end of a stream: a carrier, and messages of its own that the other end has not had, up to a mark."""

    def __init__(self, mark: int = ZMQ_HIGH_WATER_MESSAGES_MAX) -> None:
        self.ear, self.counts, self.mark = Ear(), Counts(), mark
        self.queue: list[bytes] = []
        self.gone = False
        self.carrier = Carrier(
            self.ear, STREAM, post=self.post, left=lambda: None, peer=("there", 1), counts=self.counts
        )

    def post(self, message: bytes) -> bool:
        assert len(message) <= ZMQ_MESSAGE_BYTES_MAX
        if self.gone:
            raise ConnectionResetError("gone")
        if len(self.queue) >= self.mark:
            return False
        self.queue.append(message)
        return True

    @property
    def queued_bytes(self) -> int:
        return sum(len(message) - HEAD_BYTES for message in self.queue)

    def hear(self, message: bytes) -> None:
        head = read_head(memoryview(message))
        assert head is not None
        self.carrier.received(head, message[HEAD_BYTES:])


def deliver(one: End, other: End) -> bool:
    """Carry everything that is queued, both ways, once; say whether there was something."""
    moved = False
    for sender, receiver in ((one, other), (other, one)):
        queue, sender.queue = sender.queue, []
        for message in queue:
            receiver.hear(message)
            moved = True
        sender.carrier.flush()
    return moved


def deliver_all(one: End, other: End) -> None:
    while deliver(one, other):
        pass


@given(
    st.lists(st.integers(0, 3 * ZMQ_MESSAGE_BYTES_MAX), max_size=12),
    st.integers(1, 8),
    st.lists(st.booleans(), max_size=12),
)
def test_bytes_arrive_whole_and_in_order_whatever_the_room(
    sizes: list[int], mark: int, turns: list[bool]
) -> None:
    async def run() -> None:
        one, other = End(mark), End(mark)
        said = bytearray()
        for place, size in enumerate(sizes):
            data = bytes([place % 251]) * size
            said += data
            one.carrier.write(data)
            if place < len(turns) and turns[place]:
                deliver(one, other)
        deliver_all(one, other)
        assert other.ear.data == said
        assert one.carrier.get_write_buffer_size() == 0
        assert (one.counts.broken, other.counts.broken, one.ear.ended) == (0, 0, [])

    asyncio.run(run())


async def test_a_peer_that_takes_nothing_costs_a_window_and_a_buffer_and_no_more_and_loses_nothing() -> None:
    one, other = End(), End()
    other.carrier.pause_reading()
    total, part = 0, b"x" * 100_000
    while not one.ear.full:
        one.carrier.write(part)
        total += len(part)
        deliver(one, other)
    assert total <= ZMQ_WINDOW_BYTES_MAX + WRITE_BUFFER_BYTES_MAX + len(part)
    deliver_all(one, other)
    assert one.ear.full, "what was kept there has not been taken"
    assert one.queued_bytes == 0
    assert other.ear.data == b""
    assert one.counts.held_up == 1
    other.carrier.resume_reading()
    await asyncio.sleep(0)
    deliver_all(one, other)
    assert not one.ear.full
    assert len(other.ear.data) == total
    assert one.carrier.get_write_buffer_size() == 0


async def test_what_comes_is_given_out_no_more_once_nobody_reads_and_in_order_when_somebody_does() -> None:
    one, other = End(), End()
    one.carrier.write(b"a")
    deliver(one, other)
    other.carrier.pause_reading()
    assert not other.carrier.is_reading()
    one.carrier.write(b"b")
    deliver(one, other)
    assert other.ear.data == b"a"
    other.carrier.resume_reading()
    one.carrier.write(b"c")  # comes before what was kept is given out
    deliver(one, other)
    await asyncio.sleep(0)
    assert other.ear.data == b"abc"


async def test_the_high_water_mark_makes_the_sender_wait_and_messages_grow_together() -> None:
    one, other = End(mark=2), End()
    for _ in range(100):
        one.carrier.write(b"y" * 100)
    assert len(one.queue) == 2
    assert one.counts.held_up == 1
    deliver(one, other)
    assert len(one.queue) == 1, "what waited went together"
    deliver_all(one, other)
    assert len(other.ear.data) == 10_000


@pytest.mark.parametrize("missing", [0, 1])
async def test_a_hole_ends_the_stream_and_tells_both_sides(missing: int) -> None:
    one, other = End(), End()
    for _ in range(3):
        one.carrier.write(b"z")
    del one.queue[missing]
    deliver_all(one, other)
    await asyncio.sleep(0)
    assert other.ear.data == b"z" * missing
    assert other.counts.broken == 1
    (error,) = other.ear.ended
    assert "1 messages were lost on the way" in str(error)
    assert one.ear.ended == [None], "the sender was told"


async def test_who_sends_more_than_he_may_is_cut_off_before_it_is_kept() -> None:
    one = End()
    one.carrier.pause_reading()
    piece = b"p" * (ZMQ_MESSAGE_BYTES_MAX - HEAD_BYTES)
    number = 0
    while not one.carrier.is_closing():
        one.hear(write_head(Kind.BYTES, STREAM, number, 0) + piece)
        number += 1
    await asyncio.sleep(0)
    assert number * len(piece) <= ZMQ_WINDOW_BYTES_MAX + len(piece)
    assert "more than it may" in str(one.ear.ended[0])
    assert one.counts.broken == 1


async def test_the_end_of_a_stream_comes_after_its_last_bytes() -> None:
    one, other = End(mark=1), End()
    one.carrier.write(b"q" * 3 * ZMQ_MESSAGE_BYTES_MAX)
    one.carrier.close()
    one.carrier.write(b"too late")
    assert one.carrier.is_closing()
    deliver_all(one, other)
    await asyncio.sleep(0)
    assert len(other.ear.data) == 3 * ZMQ_MESSAGE_BYTES_MAX
    assert (one.ear.ended, other.ear.ended) == ([None], [None])


async def test_last_words_that_nobody_takes_are_given_up_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ZMQ_LINGER_S", 0.0)
    one = End(mark=0)
    one.carrier.write(b"last words")
    one.carrier.close()
    assert one.ear.ended == []
    await until(lambda: one.ear.ended, "it is given up")
    assert one.carrier.get_write_buffer_size() == 0


async def test_a_carrier_that_closes_hears_nothing_more_but_lets_go_what_it_has_to_say() -> None:
    one, other = End(), End()
    other.carrier.pause_reading()
    one.carrier.write(b"r" * (ZMQ_WINDOW_BYTES_MAX + 1))
    deliver_all(one, other)
    one.carrier.close()
    other.carrier.write(b"not heard")
    other.carrier.resume_reading()
    await asyncio.sleep(0)
    deliver_all(one, other)
    await asyncio.sleep(0)
    assert len(other.ear.data) == ZMQ_WINDOW_BYTES_MAX + 1
    assert one.ear.data == b""
    assert one.ear.ended == [None]


async def test_a_peer_that_is_gone_ends_the_stream_and_is_counted() -> None:
    one = End()
    one.gone = True
    one.carrier.write(b"s")
    await asyncio.sleep(0)
    assert one.counts.unreachable == 1
    assert isinstance(one.ear.ended[0], ConnectionResetError)
    one.carrier.write(b"t")
    one.carrier.abort()
    one.carrier.close()
    one.carrier.received(Head(Kind.BYTES, STREAM, 0, 0), b"u")
    await asyncio.sleep(0)
    assert len(one.ear.ended) == 1
    assert one.ear.data == b""


async def test_who_is_there_and_how_much_waits_can_be_asked() -> None:
    one = End(mark=0)
    one.carrier.set_write_buffer_limits(high=3)
    one.carrier.write(b"1234")
    assert one.ear.full
    assert one.carrier.get_write_buffer_size() == 4
    assert one.carrier.get_extra_info("peername") == ("there", 1)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\1",
        write_head(Kind.BYTES, STREAM, 0, 0)[:-1],
        b"\2" + write_head(Kind.BYTES, STREAM, 0, 0)[1:],
        b"\1\7" + write_head(Kind.BYTES, STREAM, 0, 0)[2:],
        write_head(Kind.END, STREAM, 0, 0) + b"x",
    ],
)
def test_what_is_no_message_of_ours_is_known(message: bytes) -> None:
    assert read_head(memoryview(message)) is None


@given(
    st.sampled_from(Kind),
    st.binary(min_size=8, max_size=8),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
)
def test_a_head_says_what_was_written(kind: Kind, stream: bytes, number: int, upto: int) -> None:
    assert read_head(memoryview(write_head(kind, stream, number, upto))) == Head(kind, stream, number, upto)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_head_or_none(message: bytes) -> None:
    head = read_head(memoryview(message))
    assert head is None or write_head(Kind(head.kind), *head[1:]) == message[:HEAD_BYTES]
