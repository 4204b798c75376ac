"""A batch as bytes, and back: what a row of `bus_segment` holds; and single messages, for rows of their own.

A run of messages that differ only in id, key and body is written as columns; other messages one after the other. A
checksum stands beside either, so that no wrong body is ever delivered.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from .._core.message import BYTES, Message
from .._core.run import MessageRun
from .ticket import Ticket, read_ticket, write_ticket

#: Bytes of the checksum before a message that has a row of its own.
_CHECKSUM_BYTES: Final = 4


class _Packed(msgspec.Struct, array_like=True, gc=False):
    """A segment's bytes, as MessagePack: columns if there is a `shared`, else messages. A file format."""

    messages: list[Message] = []
    shared: Message | None = None
    ids: list[str] = []
    bodies: list[bytes] = []
    keys: list[str | None] | None = None


#: Where the body is in a message written as an array.
_BODY_INDEX: Final = Message.__struct_fields__.index("body")

_encode = msgspec.msgpack.Encoder(enc_hook=write_ticket).encode
_decode_packed = msgspec.msgpack.Decoder(_Packed).decode
_decode_one = msgspec.msgpack.Decoder(Message).decode
_decode_any = msgspec.msgpack.Decoder(ext_hook=read_ticket).decode


class Ticketed(list[Message]):
    """A segment's messages, at least one of which has a `Ticket` for a body."""


class DamagedSegment(Exception):
    """A segment whose checksum does not fit its bytes."""

    def __init__(self, segment_id: int, first: int, count: int, data: bytes) -> None:
        super().__init__(f"segment {segment_id} does not match its checksum")
        self.segment_id, self.first, self.count, self.data = segment_id, first, count, data


def encode_segment(messages: Sequence[Message]) -> bytes:
    """Return a batch as bytes. A run has no tickets."""
    if isinstance(messages, MessageRun):
        return _encode(_Packed([], messages.shared, messages.ids, messages.bodies, messages.keys))
    return _encode(_Packed(list(messages)))


def decode_segment(
    segment_id: int, first: int, count: int, checksum: int, data: bytes
) -> list[Message] | MessageRun:
    """Return a segment's messages: `Ticketed`, if there is a ticket among their bodies.

    Raises:
        DamagedSegment: The checksum does not fit.
    """
    if zlib.crc32(data) != checksum:
        raise DamagedSegment(segment_id, first, count, data)
    try:
        packed = _decode_packed(data)
    except msgspec.ValidationError:  # a ticket is no body
        return Ticketed(map(_with_ticket, _decode_any(data)[0]))
    if packed.shared is None:
        return packed.messages
    return MessageRun(packed.shared, packed.ids, packed.bodies, packed.keys)


def pack(message: Message) -> bytes:
    """Return one message as bytes, for a row of its own: a checksum, then the message."""
    data = _encode(message)
    return zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "big") + data


def unpack(data: bytes) -> tuple[Message, str | None]:
    """Read what `pack` wrote: the message, or what is left of it and what is wrong."""
    packed = data[_CHECKSUM_BYTES:]
    if zlib.crc32(packed) == int.from_bytes(data[:_CHECKSUM_BYTES], "big"):
        try:
            return _decode_one(packed), None
        except msgspec.ValidationError:  # a ticket is no body
            return _with_ticket(_decode_any(packed)), None
    remains = Message("damaged", "damaged", data, content_type=BYTES)
    return remains, "its bytes do not match their checksum"


def _with_ticket(values: list[Any]) -> Message:
    """Return a message that was decoded without its type, since its body may be a ticket."""
    message = msgspec.convert(values, Message)
    body = values[_BODY_INDEX]
    return msgspec.structs.replace(message, body=body) if isinstance(body, Ticket) else message
