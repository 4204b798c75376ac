"""Frames become bytes, and bytes frames.

    0       4      5       6          10
    │ bytes │ type │ flags │ checksum │ payload …
    └ u32   └ u8   └ u8    └ CRC-32 of type, flags and payload; all big endian

Whoever reads trusts nothing. A header is judged as soon as its ten bytes are there: an unknown type or flag, or a
payload that is longer than allowed, ends the connection before a byte of that payload is kept. What is kept of an
incomplete frame grows with what has come, not with what was announced.

A payload that is too long for one frame, a *whole*, travels in parts. Each part says the whole's number and total, so
that the total can be judged when the first part comes, and other frames can have their turn in between.

This module knows neither who speaks nor what may be said when.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar
from zlib import crc32

import msgspec

from .._core.errors import LocalProtocolError, RemoteProtocolError
from .._core.limits import FRAME_BYTES_MAX, WHOLE_BYTES_MAX, WHOLE_VALUES_MAX, WHOLES_COUNT_MAX
from .counting import has_at_most
from .frames import CODES, Deliver, Frame, Send

#: A frame of an unknown type with this flag is skipped; without it, the connection ends.
OPTIONAL: Final = 1

#: The payload is a part of a whole: its number, its total of bytes, and then some of its bytes.
PART: Final = 2

_HEADER = struct.Struct(">IHI")  # type and flags are read as one number, by which `_KINDS` is looked up
_PART = struct.Struct(">II")

HEADER_BYTES: Final = _HEADER.size
PART_BYTES: Final = _PART.size

#: What others send first, read as a length: who connects to the wrong port should be told so.
_STRANGERS: Mapping[bytes, str] = {
    b"\x16\x03": "TLS, which is not spoken here: leave TLS away, or turn it on for the one who listens",
    b"GET ": "HTTP",
    b"POST": "HTTP",
    b"HEAD": "HTTP",
    b"PRI ": "HTTP/2",
    b"HTTP": "HTTP",
    b"SSH-": "SSH",
    b"INFO": "NATS",
    b"AMQP": "AMQP",
}

_T = TypeVar("_T")
_encoder = msgspec.msgpack.Encoder()
_encode = _encoder.encode


class _Kind(NamedTuple):
    """What type and flags of a header mean.

    Attributes:
        decoder: None: unknown, and to be skipped.
        checksum: CRC-32 of type and flags, with which that of the payload begins.
        keeps: The frame keeps a view of the bytes from which it was read, so they must be its own.
    """

    name: str
    decoder: msgspec.msgpack.Decoder[Frame] | None
    checksum: int
    in_parts: bool
    keeps: bool


def _kind(word: int) -> _Kind:
    """Judge type and flags.

    Raises:
        RemoteProtocolError: This version of the protocol does not have them.
    """
    code, flags = divmod(word, 256)
    if flags & ~(OPTIONAL | PART):
        raise RemoteProtocolError(
            f"a frame of type {code} has the flags {flags:#04x}, of which some are unknown"
        )
    frame = CODES.get(code)
    if frame is None and not flags & OPTIONAL:
        raise RemoteProtocolError(f"there is no frame of type {code}")
    return _Kind(
        name=frame.__name__ if frame else f"type {code}",
        decoder=msgspec.msgpack.Decoder(frame) if frame else None,
        checksum=crc32(word.to_bytes(2, "big")),
        in_parts=bool(flags & PART),
        keeps=frame is not None and any(field.type is msgspec.Raw for field in msgspec.structs.fields(frame)),
    )


_KINDS: Mapping[int, _Kind] = {
    word: _kind(word) for code in CODES for word in range(code << 8, (code << 8) + (OPTIONAL | PART) + 1)
}

#: For each frame the word in its header, and the checksum of that word; once in one piece and once in parts.
_SAID = {frame: (code << 8, crc32(bytes((code, 0)))) for code, frame in CODES.items()}
_SAID_IN_PARTS = {frame: ((code << 8) + PART, crc32(bytes((code, PART)))) for code, frame in CODES.items()}


#: Messages from which on a payload is long: to put a header before that costs more than to leave room for it.
_MANY: Final = 16

# --- from frames to bytes -----------------------------------------------------------------------------------------


def encode(frame: Frame, *, frame_bytes_max: int = FRAME_BYTES_MAX, whole: int = 0) -> bytes | Bulk:
    """Return a frame as bytes, or its parts if its payload is longer than `frame_bytes_max`.

    Args:
        whole: The number of the whole, if it becomes one: another one than those under way have.

    Raises:
        LocalProtocolError: It has something in it that MessagePack cannot write, or is too long even for parts.
    """
    kind = type(frame)
    many = isinstance(frame, (Send, Deliver)) and len(frame.batch) >= _MANY
    buffer = bytearray(HEADER_BYTES) if many else None
    try:
        payload = _encode(frame) if buffer is None else _written_into(buffer, frame)
    except (OverflowError, UnicodeEncodeError) as error:
        raise LocalProtocolError(f"{kind.__name__} cannot be written: {error}") from error
    size = len(payload)
    if size > frame_bytes_max:
        return Bulk(kind, payload, frame_bytes_max, whole)
    word, checksum = _SAID[kind]
    header = _HEADER.pack(size, word, crc32(payload, checksum))
    if buffer is None:
        return header + payload
    buffer[:HEADER_BYTES] = header
    return bytes(buffer)


def _written_into(buffer: bytearray, frame: Frame) -> memoryview:
    """Write a payload behind the room for its header."""
    _encoder.encode_into(frame, buffer, HEADER_BYTES)
    return memoryview(buffer)[HEADER_BYTES:]


class Bulk(Iterator[bytes]):
    """The parts of a whole, as bytes of one frame each; each is made when it is asked for.

    Whoever has begun to write one writes all of it, and at most `WHOLES_COUNT_MAX` of them at a time.

    Attributes:
        total_bytes: How long the whole is.
    """

    __slots__ = ("_checksum", "_number", "_payload", "_place", "_room", "_word", "total_bytes")

    def __init__(
        self, frame: type[Frame], payload: bytes | memoryview, frame_bytes_max: int, whole: int
    ) -> None:
        if len(payload) > WHOLE_BYTES_MAX:
            raise LocalProtocolError(
                f"{frame.__name__} has {len(payload):,} bytes; at most {WHOLE_BYTES_MAX:,} can be sent",
                code="limit",
            )
        self._word, self._checksum = _SAID_IN_PARTS[frame]
        self._payload = memoryview(payload)
        self._room = frame_bytes_max - PART_BYTES
        self._number = whole
        self._place = 0
        self.total_bytes = len(payload)

    def __next__(self) -> bytes:
        piece = self._payload[self._place : self._place + self._room]
        if not piece:
            raise StopIteration
        self._place += len(piece)
        part = _PART.pack(self._number, self.total_bytes)
        checksum = crc32(piece, crc32(part, self._checksum))
        return b"".join((_HEADER.pack(PART_BYTES + len(piece), self._word, checksum), part, piece))


# --- from bytes to frames -----------------------------------------------------------------------------------------


class Decoder:
    """Bytes as they come, in pieces of any length, become frames. An idle one holds next to nothing.

    After an error it must not be used any more, except to `forget`.

    Attributes:
        whole_bytes: The totals of all wholes under way, of which as much has come as is held.
    """

    __slots__ = ("_frame_bytes_max", "_need", "_pending", "_whole_bytes_max", "_wholes", "whole_bytes")

    def __init__(self, *, frame_bytes_max: int, whole_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._whole_bytes_max = whole_bytes_max
        self._pending: bytearray | None = None  # of an incomplete frame what has come
        self._need = 0  # how long `_pending` must be before another look at it is worth it
        self._wholes: dict[int, _Whole] = {}
        self.whole_bytes = 0

    def allow(self, *, frame_bytes_max: int, whole_bytes_max: int) -> None:
        """Set the limits anew; for the frames whose headers are read from now on."""
        self._frame_bytes_max = frame_bytes_max
        self._whole_bytes_max = whole_bytes_max

    def forget(self) -> None:
        """Let go of all that is incomplete."""
        self._pending = None
        self._wholes.clear()
        self.whole_bytes = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete with these bytes.

        Raises:
            RemoteProtocolError: The bytes are not what the protocol allows. Frames before, in the same bytes, are lost.
        """
        pending = self._pending
        if pending is not None:
            pending += data
            if len(pending) < self._need:
                return []
            self._pending = None
        frames: list[Frame] = []
        view = memoryview(data if pending is None else pending)
        place, end, need = 0, len(view), HEADER_BYTES
        while end - place >= HEADER_BYTES:
            size, word, checksum = _HEADER.unpack_from(view, place)
            if size > self._frame_bytes_max:
                raise _too_long(size, self._frame_bytes_max)
            kind = _KINDS.get(word) or _kind(word)
            begin = place + HEADER_BYTES
            stop = begin + size
            if stop > end:
                need = HEADER_BYTES + size
                break
            payload = view[begin:stop]
            if crc32(payload, kind.checksum) != checksum:
                raise RemoteProtocolError(f"the checksum of a frame is wrong: {kind.name}")
            place = stop
            if kind.decoder is None:
                continue
            if kind.in_parts:
                if (whole := self._part(kind, payload)) is not None:
                    if not kind.keeps and not has_at_most(WHOLE_VALUES_MAX, whole):
                        raise _too_many(kind)
                    frames.append(decode(kind.decoder, whole, kind.name))
                continue
            frames.append(decode(kind.decoder, payload.tobytes() if kind.keeps else payload, kind.name))
        if place < end:
            self._pending, self._need = bytearray(view[place:]), need
        return frames

    def _part(self, kind: _Kind, payload: memoryview) -> bytearray | None:
        """Take a part in; return the whole if it was the last."""
        if len(payload) <= PART_BYTES:
            raise RemoteProtocolError(f"a part of a frame is empty: {kind.name}")
        number, total = _PART.unpack_from(payload)
        whole = self._wholes.get(number)
        if whole is None:
            whole = self._wholes[number] = self._begin(kind, total)
        elif whole.kind is not kind or whole.total != total:
            raise RemoteProtocolError(f"the parts of a frame do not belong together: {kind.name}")
        if len(whole.come) + len(payload) - PART_BYTES > total:
            raise RemoteProtocolError(f"the parts of a frame are longer than its total: {kind.name}")
        whole.come += payload[PART_BYTES:]
        if len(whole.come) < total:
            return None
        del self._wholes[number]
        self.whole_bytes -= total
        return whole.come

    def _begin(self, kind: _Kind, total: int) -> _Whole:
        if total > self._whole_bytes_max:
            raise RemoteProtocolError(
                f"{kind.name} was announced with {total:,} bytes; at most {self._whole_bytes_max:,} are taken in parts"
                + ("" if self._whole_bytes_max else " before the peers know each other"),
                code="limit",
            )
        if len(self._wholes) >= WHOLES_COUNT_MAX:
            raise RemoteProtocolError(
                f"more than {WHOLES_COUNT_MAX} frames are under way in parts at the same time", code="limit"
            )
        self.whole_bytes += total
        return _Whole(kind, total)


class _Whole:
    """A payload of which parts have come."""

    __slots__ = ("come", "kind", "total")

    def __init__(self, kind: _Kind, total: int) -> None:
        self.kind = kind
        self.total = total
        self.come = bytearray()


def _too_many(kind: _Kind) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"{kind.name} has more than {WHOLE_VALUES_MAX:,} values in it: make several of it", code="limit"
    )


def _too_long(size: int, size_max: int) -> RemoteProtocolError:
    first = size.to_bytes(4, "big")
    for beginning, speech in _STRANGERS.items():
        if first.startswith(beginning):
            return RemoteProtocolError(
                f"the peer does not speak Waystation's protocol; it looks like {speech}"
            )
    return RemoteProtocolError(
        f"a frame was announced with {size:,} bytes; at most {size_max:,} are taken", code="limit"
    )


def decode(
    decoder: msgspec.msgpack.Decoder[_T], payload: bytes | bytearray | memoryview | msgspec.Raw, name: str
) -> _T:
    """Return what a payload says; also for what stands as `Raw` in a frame, whose `name` it then has.

    Raises:
        RemoteProtocolError: It is not valid MessagePack, or does not fit; with the field if that can be told.
    """
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        field = _field(decoder.type, str(error))
        where = f"{name}.{field}" if field else name
        raise RemoteProtocolError(f"{where} is not valid: {error}", field=where if field else "") from None


def _field(frame: Any, complaint: str) -> str:
    """Return the name of the field that msgspec complains about: `$[2]…` is the third, `got 2` that it is missing."""
    found = re.search(r"`\$\[(\d+)\]|of at least length \d+, got (\d+)$", complaint)
    names = getattr(frame, "__struct_fields__", ())
    place = int(found[1] or found[2]) if found else len(names)
    return names[place] if place < len(names) else ""
