"""Frames and bytes: what goes in comes out, wherever it is cut; and nothing else does."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.pair import EXAMPLES, frames, part, written
from waystation._core.errors import LocalProtocolError, RemoteProtocolError
from waystation._core.limits import (
    CREDIT_MESSAGES_MAX,
    FRAME_BYTES_MAX,
    WHOLE_BYTES_MAX,
    WHOLES_COUNT_MAX,
)
from waystation._core.message import Message
from waystation._core.packed import pack
from waystation._wire.frames import CODES, Call, Cancel, Deliver, Failed, Frame, Ping, Send
from waystation._wire.framing import Bulk, Decoder, decode, encode

CODE_OF = {frame: code for code, frame in CODES.items()}
EACH = pytest.mark.parametrize("frame", EXAMPLES, ids=lambda frame: type(frame).__name__)


def decoder(frame_bytes_max: int = FRAME_BYTES_MAX, whole_bytes_max: int = WHOLE_BYTES_MAX) -> Decoder:
    return Decoder(frame_bytes_max=frame_bytes_max, whole_bytes_max=whole_bytes_max)


def whole_of(frame: Frame) -> bytes:
    data = encode(frame)
    assert isinstance(data, bytes)
    return data


def parts_of(frame: Frame, frame_bytes_max: int, number: int = 0) -> list[bytes]:
    found = encode(frame, frame_bytes_max=frame_bytes_max, whole=number)
    assert isinstance(found, Bulk)
    return list(found)


def kept_bytes(one: Decoder) -> int:
    """What a decoder holds of all that is incomplete."""
    return len(one._pending or b"") + sum(len(whole.come) for whole in one._wholes.values())


def refused(data: bytes, *, by: Decoder | None = None) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        (by or decoder()).feed(data)
    return caught.value


# --- what goes in comes out ---------------------------------------------------------------------------------------


def test_there_is_an_example_of_every_frame() -> None:
    assert [type(frame) for frame in EXAMPLES] == list(CODES.values())


@EACH
def test_a_frame_has_the_bytes_that_the_document_describes(frame: Frame) -> None:
    assert whole_of(frame) == written(CODE_OF[type(frame)], msgspec.msgpack.encode(frame))


@pytest.mark.parametrize("count", [15, 16, 1000])
@pytest.mark.parametrize("kind", [Send, Deliver])
def test_a_batch_of_any_size_has_them_too(kind: type[Send | Deliver], count: int) -> None:
    batch = pack([Message(f"m{n}", "t", b"x" * n) for n in range(count)])
    frame = kind(1, 1, batch)
    payload = msgspec.msgpack.encode(frame)
    assert whole_of(frame) == written(CODE_OF[kind], payload)
    parts = parts_of(frame, 100, number=3)
    assert b"".join(each[18:] for each in parts) == payload
    assert parts[0] == part(CODE_OF[kind], 3, len(payload), payload[:92])


@EACH
def test_a_frame_that_is_cut_anywhere_into_two_pieces_is_the_same(frame: Frame) -> None:
    data = whole_of(frame)
    for cut in range(len(data) + 1):
        one = decoder()
        assert one.feed(data[:cut]) + one.feed(data[cut:]) == [frame]
        assert kept_bytes(one) == 0


@EACH
def test_a_frame_that_comes_byte_by_byte_is_the_same(frame: Frame) -> None:
    one = decoder()
    data = whole_of(frame)
    found = [heard for place in range(len(data)) for heard in one.feed(data[place : place + 1])]
    assert found == [frame]


@given(st.lists(frames(), max_size=6), st.lists(st.integers(1, 40), min_size=1), st.integers(16, 200))
def test_any_frames_come_out_in_order_however_they_are_cut(
    said: list[Frame], cuts: list[int], frame_bytes_max: int
) -> None:
    stream = b""
    for number, frame in enumerate(said):
        data = encode(frame, frame_bytes_max=frame_bytes_max, whole=number)
        stream += data if isinstance(data, bytes) else b"".join(data)
    one, heard, place = decoder(frame_bytes_max), [], 0
    while place < len(stream):
        size = cuts[place % len(cuts)]
        heard += one.feed(stream[place : place + size])
        place += size
    assert heard == said
    assert kept_bytes(one) == one.whole_bytes == 0


def test_what_a_frame_keeps_does_not_keep_the_bytes_around_it() -> None:
    large = whole_of(Send(1, 1, pack([Message("m", "t", b"x" * 500_000)])))
    tracemalloc.start()
    try:
        kept = decoder().feed(large + whole_of(Call(2, 1, "groups", msgspec.Raw(b"\x90"))))[1:]
        del large
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept == [Call(2, 1, "groups", msgspec.Raw(b"\x90"))]
    assert size < 100_000


# --- parts --------------------------------------------------------------------------------------------------------


def test_what_is_too_long_for_a_frame_travels_in_parts_of_that_length() -> None:
    frame = Send(1, 1, pack([Message("m", "t", b"x" * 1000)]))
    parts = parts_of(frame, 100, number=7)
    payload = msgspec.msgpack.encode(frame)
    assert parts[0] == part(16, 7, len(payload), payload[:92])
    assert {len(each) for each in parts[:-1]} == {110}
    one = decoder(100)
    assert [heard for each in parts for heard in one.feed(each)] == [frame]
    assert one.whole_bytes == kept_bytes(one) == 0


def test_a_part_is_made_when_it_is_asked_for() -> None:
    frame = Send(1, 1, pack([Message("m", "t", b"x" * 8_000_000)]))
    bulk = encode(frame)
    assert isinstance(bulk, Bulk)
    assert bulk.total_bytes == len(msgspec.msgpack.encode(frame))
    tracemalloc.start()
    try:
        sizes = [len(each) for each in bulk]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(sizes) == 8
    assert max(sizes) == FRAME_BYTES_MAX + 10
    assert peak < 2.5 * FRAME_BYTES_MAX
    with pytest.raises(StopIteration):
        next(bulk)


def test_between_the_parts_of_one_frame_others_have_their_turn() -> None:
    first, second = (Send(n, 1, pack([Message(f"m{n}", "t", b"x" * 300)])) for n in (1, 2))
    one, heard = decoder(100), []
    for pieces in zip(parts_of(first, 100, 1), parts_of(second, 100, 2), strict=True):
        heard += one.feed(b"".join((pieces[0], whole_of(Ping(5)), pieces[1])))
    assert [frame for frame in heard if frame != Ping(5)] == [first, second]
    assert heard.count(Ping(5)) == len(parts_of(first, 100))
    assert heard[0] == Ping(5)


def test_totals_are_counted_while_they_are_under_way() -> None:
    one = decoder()
    one.feed(part(16, 1, 1000, b"x"))
    one.feed(part(16, 2, 500, b"x"))
    assert one.whole_bytes == 1500
    one.forget()
    assert one.whole_bytes == kept_bytes(one) == 0


@pytest.mark.parametrize(
    ("data", "text", "code"),
    [
        (part(16, 1, WHOLE_BYTES_MAX + 1, b"x"), "announced with", "limit"),
        (part(16, 1, 2**32 - 1, b"x"), "announced with", "limit"),
        (part(16, 1, 0, b"x"), "longer than its total", "protocol"),
        (part(16, 1, 2, b"xyz"), "longer than its total", "protocol"),
        (part(16, 1, 4, b"xy") + part(16, 1, 4, b"xyz"), "longer than its total", "protocol"),
        (part(16, 1, 4, b"xy") + part(16, 1, 5, b"x"), "do not belong together", "protocol"),
        (part(16, 1, 4, b"xy") + part(34, 1, 4, b"xy"), "do not belong together", "protocol"),
        (part(16, 1, 4, b"xy") + part(16, 1, 4, b"xy", flags=3), "do not belong together", "protocol"),
        (part(16, 1, 4, b""), "empty", "protocol"),
        (written(16, b"\0\0\0\1", flags=2), "empty", "protocol"),
        (part(5, 1, 2, b"\x91") + part(5, 1, 2, b"\xc0"), "Ping.number is not valid", "protocol"),
        (
            b"".join(part(16, number, 100, b"x") for number in range(WHOLES_COUNT_MAX + 1)),
            "under way",
            "limit",
        ),
    ],
)
def test_parts_that_lie_are_refused(data: bytes, text: str, code: str) -> None:
    error = refused(data)
    assert text in str(error)
    assert error.code == code


def test_as_many_wholes_as_are_allowed_may_be_under_way() -> None:
    one = decoder()
    payload = msgspec.msgpack.encode(Ping(77))
    for number in range(WHOLES_COUNT_MAX):
        assert one.feed(part(5, number, len(payload), payload[:1])) == []
    assert one.feed(part(5, 2, len(payload), payload[1:])) == [Ping(77)]
    assert one.feed(part(5, 9, len(payload), payload)) == [Ping(77)]


def test_what_is_too_long_even_for_parts_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError, match="at most") as caught:
        encode(Send(1, 1, pack([Message("m", "t", b"x" * (WHOLE_BYTES_MAX + 1))])))
    assert caught.value.code == "limit"


# --- headers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [FRAME_BYTES_MAX + 1, 2**31, 2**32 - 1])
def test_a_length_over_the_limit_is_refused_before_memory_is_taken(size: int) -> None:
    header = size.to_bytes(4, "big") + bytes([16, 0, 0, 0, 0, 0])
    one = decoder()
    tracemalloc.start()
    try:
        error = refused(header, by=one)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (error.code, peak < 64 * 1024) == ("limit", True)
    assert kept_bytes(one) == 0


def test_what_is_announced_takes_memory_only_as_it_comes() -> None:
    one = decoder()
    tracemalloc.start()
    try:
        one.feed(FRAME_BYTES_MAX.to_bytes(4, "big") + bytes([16, 0, 0, 0, 0, 0]) + b"x" * 100)
        for number in range(WHOLES_COUNT_MAX):
            one.feed(b"")
            two = decoder()
            two.feed(part(16, number, WHOLE_BYTES_MAX, b"x"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes(one) == 110
    assert peak < 64 * 1024


def test_a_header_is_judged_as_soon_as_it_is_complete() -> None:
    one = decoder()
    header = whole_of(Ping(1))[:4] + bytes([99, 0, 0, 0, 0, 0])
    assert one.feed(header[:9]) == []
    assert "no frame of type 99" in str(refused(header[9:], by=one))


def test_limits_can_be_set_anew() -> None:
    one = decoder(frame_bytes_max=4, whole_bytes_max=0)
    assert refused(written(1, b"x" * 5)).code == "protocol"  # within the usual limits, and nonsense
    assert refused(written(1, b"x" * 5), by=one).code == "limit"
    one.allow(frame_bytes_max=5, whole_bytes_max=0)
    assert refused(written(1, b"x" * 5), by=one).code == "protocol"


@EACH
def test_any_byte_that_is_changed_is_noticed(frame: Frame) -> None:
    data = bytearray(whole_of(frame))
    for place in range(4, len(data)):
        data[place] ^= 0x40
        refused(bytes(data))
        data[place] ^= 0x40
    data[3] ^= 1  # a length that is wrong by one: too short is wrong at once, too long with the next frame
    refused(bytes(data) + whole_of(Ping(1)))


def test_a_frame_that_was_cut_short_is_noticed_with_the_next_one() -> None:
    data = whole_of(EXAMPLES[6])
    for size in range(1, len(data)):
        one = decoder()
        with pytest.raises(RemoteProtocolError):
            one.feed(data[:size] + data + data)


@pytest.mark.parametrize("flags", [4, 8, 0x80, 5, 0xFF])
def test_an_unknown_flag_is_refused(flags: int) -> None:
    assert "flags" in str(refused(written(5, b"\x91\x01", flags=flags)))


@pytest.mark.parametrize("code", [0, 7, 255])
def test_a_frame_of_an_unknown_type_is_refused_unless_it_is_optional(code: int) -> None:
    assert f"no frame of type {code}" in str(refused(written(code, b"\x90")))
    one = decoder()
    ping = whole_of(Ping(1))
    assert one.feed(ping + written(code, b"not MessagePack \xc1", flags=1) + ping) == [Ping(1), Ping(1)]
    assert one.feed(part(code, 1, WHOLE_BYTES_MAX + 1, b"x", flags=3) + ping) == [Ping(1)]
    assert kept_bytes(one) == one.whole_bytes == 0


def test_of_what_is_skipped_the_length_and_the_checksum_count_all_the_same() -> None:
    data = written(99, b"x", flags=1)
    assert "checksum" in str(refused(data[:-1] + b"y"))
    assert refused(b"\xff" + data[1:]).code == "limit"


def test_a_known_frame_may_be_optional() -> None:
    assert decoder().feed(written(5, b"\x91\x01", flags=1)) == [Ping(1)]


@pytest.mark.parametrize(
    ("first", "looks"),
    [
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
    ],
)
def test_who_speaks_something_else_is_told_so(first: bytes, looks: str) -> None:
    assert looks in str(refused(first))


# --- payloads -----------------------------------------------------------------------------------------------------


def test_unknown_fields_at_the_end_are_passed_over() -> None:
    later = [5, "new", {"x": [1, 2]}, b"bytes"]
    assert decoder().feed(written(5, msgspec.msgpack.encode(later))) == [Ping(5)]


def test_missing_fields_have_their_defaults() -> None:
    assert decoder().feed(written(5, b"\x90") + written(20, b"\x92\x01\xa1x")) == [Ping(0), Failed(1, "x")]


@pytest.mark.parametrize(
    ("code", "payload", "field"),
    [
        (5, b"", ""),
        (5, b"\xc1", ""),
        (5, b"\x91", ""),
        (5, b"\x91\x01\x01", ""),
        (5, b"\x80", ""),
        (5, b"\xc0", ""),
        (5, b"\xdd\xff\xff\xff\xff", ""),
        (5, [2**63], "Ping.number"),
        (5, [-1], "Ping.number"),
        (5, [1.0], "Ping.number"),
        (5, [True], "Ping.number"),
        (5, b"\x91\xd6\xff\x00\x00\x00\x00", "Ping.number"),
        (1, ["waystation"], "Hello.versions"),
        (1, ["waystation", [1, 1], [], "", "", 0, "", b"", 1, [], 0.0], "Hello.heartbeat_s"),
        (1, ["waystation", [1, 1], [], "", "", 0, "", b"", 1, [], float("nan")], "Hello.heartbeat_s"),
        (1, ["waystation", [1, 1], [], "", "", 0, "", b"", 1, [], float("inf")], "Hello.heartbeat_s"),
        (1, ["waystation", [1, 1], [], "", "", 0, "", b"", 1, [[1, -1]]], "Hello.channels"),
        (1, b"\x92\xa3\xed\xa0\x80\x92\x01\x01", ""),
        (16, [1, 1], "Send.batch"),
        (16, [1, 1, [[], None, ["m"], []]], "Send.batch"),
        (16, [1, 1, [[], ["", "t", b""], ["m"], [b"", b""]]], "Send.batch"),
        (16, [1, 1, [[], ["", "t", b""], ["m"], [b""], []]], "Send.batch"),
        (16, [1, 1, [[], None, ["m"], [b""]]], "Send.batch"),
        (16, [1, 1, [[["m", "t", b""]], ["", "t", b""]]], "Send.batch"),
        (16, [1, 1, [[["m", "t"]]]], "Send.batch"),
        (16, [1, 1, [[["m", "t", b""]] * (CREDIT_MESSAGES_MAX + 1)]], "Send.batch"),
        (16, b"\x93\x01\x01\x91\xdd\xff\xff\xff\xff", "Send.batch"),
        (34, [1, 0, [[["m", "t", b""]]], [0]], "Deliver.attempts"),
        (34, [1, 0, [[["m", "t", b""]]], [1, 1]], ""),
        (36, [1, 1, 1, [], [[1, "burn", 0.0, "", ""]]], "Settle.others"),
        (36, [1, 1, 1, [], [[1, "retry", float("nan"), "", ""]]], "Settle.others"),
        (36, [1, 1, 1, [], [[1, "retry", float("inf"), "", ""]]], "Settle.others"),
        (36, [1, 1, 1, [[0, 1]] * (CREDIT_MESSAGES_MAX + 1)], "Settle.accepted"),
        (17, [1, 3, {"0": "m"}], "Sent.firsts"),
    ],
)
def test_a_payload_that_does_not_fit_names_its_field(
    code: int, payload: bytes | list[object], field: str
) -> None:
    data = payload if isinstance(payload, bytes) else msgspec.msgpack.encode(payload)
    error = refused(written(code, data))
    assert (error.code, error.field) == ("protocol", field)
    assert (field or CODES[code].__name__) in str(error)


@pytest.mark.parametrize("deep", [b"\x91" * 200_000, b"\x81\x01" * 200_000, b"\x81" * 200_000])
def test_deep_nesting_is_refused_where_it_stands(deep: bytes) -> None:
    refused(written(5, b"\x92\x01" + deep))
    refused(written(18, b"\x94\x01\x01\xa1x" + deep))
    refused(written(16, b"\x93\x01\x01" + deep))


def test_deep_nesting_that_was_kept_for_later_is_refused_then() -> None:
    raw = msgspec.Raw(b"\x91" * 900 + b"\xc0")
    with pytest.raises(RemoteProtocolError, match="groups is not valid"):
        decode(msgspec.msgpack.Decoder(list[int]), raw, "groups")


def test_of_a_key_that_comes_twice_the_last_value_counts() -> None:
    payload = b"\x93\x01\xa1x\xa1y\x82\xa1a\xa11\xa1a\xa12"
    assert decoder().feed(written(20, b"\x94" + payload[1:])) == [Failed(1, "x", "y", {"a": "2"})]


def test_what_cannot_be_written_is_told_so() -> None:
    with pytest.raises(LocalProtocolError, match="Failed cannot be written"):
        encode(Failed(1, "x", "\ud800"))
    with pytest.raises(LocalProtocolError, match="Cancel cannot be written"):
        encode(Cancel(2**64))


# --- anything at all ----------------------------------------------------------------------------------------------

LIMIT, WHOLE_LIMIT = 64, 200


@st.composite
def nearly_frames(draw: st.DrawFn) -> bytes:
    """Bytes that get further than chance would: headers that fit, payloads that do not, parts that lie."""
    code = draw(st.sampled_from([*CODES, 99]))
    flags = draw(st.sampled_from([0, 1, 2, 3]))
    payload = draw(st.binary(max_size=LIMIT))
    if flags & 2:
        number, total = draw(st.integers(0, 5)), draw(st.integers(0, WHOLE_LIMIT + 1))
        return part(code, number, total, payload[: LIMIT - 8], flags=flags)
    if draw(st.booleans()):
        frame = draw(frames())
        payload, code = msgspec.msgpack.encode(frame), CODE_OF[type(frame)]
        place = draw(st.integers(0, len(payload)))
        payload = payload[:place] + draw(st.binary(max_size=2)) + payload[place + 1 :]
    return written(code, payload, flags=flags)


@given(st.lists(st.binary(max_size=100) | nearly_frames(), max_size=8))
def test_any_bytes_make_frames_or_a_protocol_error_and_keep_no_more_than_the_limits_allow(
    pieces: list[bytes],
) -> None:
    one = decoder(LIMIT, WHOLE_LIMIT)
    for piece in pieces:
        try:
            heard = one.feed(piece)
        except RemoteProtocolError:
            one.forget()
        else:
            assert all(type(frame) in CODE_OF for frame in heard)
        assert len(one._pending or b"") < LIMIT + 10
        assert sum(len(whole.come) for whole in one._wholes.values()) <= one.whole_bytes
        assert one.whole_bytes <= WHOLES_COUNT_MAX * WHOLE_LIMIT
