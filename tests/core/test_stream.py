"""Parts of a streamed reply, without a wire between them."""

import pytest

from waystation import DecodeError, StreamBroken
from waystation._core.limits import STREAM_AHEAD_BYTES_MAX, STREAM_AHEAD_PARTS_MAX
from waystation._core.stream import Arrivals, Parts, Taken, Window, read_parts, read_taken, write


def parts(first: int, count: int, *, ended: bool = False) -> Parts:
    bodies = [b"%d" % number for number in range(first, first + count)]
    return Parts("s", first, bodies, "text/plain", ended)


def test_what_is_written_is_read() -> None:
    assert read_parts(write(parts(3, 2, ended=True))) == parts(3, 2, ended=True)
    assert read_taken(write(Taken(7, stopped=True))) == Taken(7, stopped=True)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"{}", b"\x93\x01\x02\x03"])
def test_what_a_stranger_wrote_is_an_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        read_parts(body)
    with pytest.raises(DecodeError):
        read_taken(body)


# --- the responder's side


def test_a_window_closes_when_so_many_parts_are_not_taken() -> None:
    window = Window()
    for _ in range(STREAM_AHEAD_PARTS_MAX):
        assert window.is_open
        window.add(1)
    assert not window.is_open
    window.taken(1)
    assert window.is_open


def test_a_window_closes_when_so_many_bytes_are_not_taken() -> None:
    window = Window()
    window.add(STREAM_AHEAD_BYTES_MAX - 1)
    assert window.is_open
    window.add(10 * STREAM_AHEAD_BYTES_MAX)
    assert not window.is_open
    window.taken(1)
    assert not window.is_open
    window.taken(2)
    assert window.is_open


def test_old_and_false_words_do_no_harm() -> None:
    window = Window()
    for _ in range(STREAM_AHEAD_PARTS_MAX):
        window.add(1)
    window.taken(2)
    window.taken(1)
    window.taken(-5)
    window.add(1)
    assert window.is_open
    window.add(1)
    assert not window.is_open
    window.taken(10**9)
    for _ in range(STREAM_AHEAD_PARTS_MAX):
        assert window.is_open
        window.add(1)
    assert not window.is_open


# --- the caller's side


def test_parts_arrive_in_order_and_once() -> None:
    arrivals = Arrivals()
    assert arrivals.add(parts(0, 3)) == [b"0", b"1", b"2"]
    assert arrivals.add(parts(1, 2)) == []
    assert arrivals.add(parts(2, 3)) == [b"3", b"4"]
    assert arrivals.add(parts(5, 0, ended=True)) == []
    assert (arrivals.arrived, arrivals.repeated) == (5, 3)


@pytest.mark.parametrize("late", [parts(4, 1), parts(4, 0, ended=True)])
def test_a_gap_is_an_error_also_before_the_end(late: Parts) -> None:
    arrivals = Arrivals()
    arrivals.add(parts(0, 3))
    with pytest.raises(StreamBroken, match="after 3 parts of a streamed reply came number 5") as caught:
        arrivals.add(late)
    assert caught.value.parts == 3


def test_the_responder_is_told_before_its_window_closes() -> None:
    arrivals, window = Arrivals(), Window()
    untold = 0
    for _ in range(10 * STREAM_AHEAD_PARTS_MAX):
        assert window.is_open
        window.add(1)
        untold += 1
        if arrivals.take(1):
            window.taken(arrivals.told().count)
            untold = 0
        assert untold <= STREAM_AHEAD_PARTS_MAX // 2


def test_a_large_part_is_told_at_once() -> None:
    arrivals = Arrivals()
    assert arrivals.take(STREAM_AHEAD_BYTES_MAX)
    assert arrivals.told() == Taken(1)
    assert not arrivals.take(1)
