"""The frames of AMQP 0-9-1 that are sent and received for each message. All others are the driver's.

A frame is a kind, a channel, a length, that many bytes and an end mark. A message is three or more of them: the method
that carries it, its properties with the body's length, and the body in pieces.
"""

from __future__ import annotations

import struct
from typing import Final

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
HEARTBEAT: Final = b"\x08\0\0\0\0\0\0\xce"
END: Final = 0xCE
GREETING: Final = b"AMQP\0\0\x09\x01"

HEAD = struct.Struct(">BHI")
_PUBLISH = struct.Struct(">BHIHHH")
_CONTENT = struct.Struct(">BHIHHQ")
_SETTLE = struct.Struct(">BHIHHQBB")
_NACK_LENGTH, _ACK_LENGTH = 13, 13

#: Class and method as one number.
DELIVER: Final = 60 << 16 | 60
RETURN: Final = 60 << 16 | 50
GOT: Final = 60 << 16 | 71
ACK: Final = 60 << 16 | 80
NACK: Final = 60 << 16 | 120

_METHOD_OF = struct.Struct(">I")
_TAG = struct.Struct(">QB")
_LENGTH = struct.Struct(">Q")


def method_of(payload: bytes) -> int:
    """Return which method a frame is about."""
    number: int = _METHOD_OF.unpack_from(payload)[0]
    return number


def publish(
    channel: int, *, route: bytes, mandatory: bool, properties: bytes, body: bytes, piece_bytes: int
) -> bytes:
    """Return the frames of one message.

    Args:
        route: The exchange and the routing key, as short strings.
        mandatory: Whether it comes back if no queue wants it.
        piece_bytes: How much of a body goes into one frame.
    """
    method = _PUBLISH.pack(METHOD, channel, 7 + len(route), 60, 40, 0)
    content = _CONTENT.pack(HEADER, channel, 12 + len(properties), 60, 0, len(body))
    parts = [method, route, b"\1\xce" if mandatory else b"\0\xce", content, properties, b"\xce"]
    if len(body) <= piece_bytes:
        if body:
            parts += (HEAD.pack(BODY, channel, len(body)), body, b"\xce")
        return b"".join(parts)
    for start in range(0, len(body), piece_bytes):
        piece = body[start : start + piece_bytes]
        parts += (HEAD.pack(BODY, channel, len(piece)), piece, b"\xce")
    return b"".join(parts)


def ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    """Return the frame that settles a delivery, or all up to it."""
    return _SETTLE.pack(METHOD, channel, _ACK_LENGTH, 60, 80, tag, multiple, END)


def nack(channel: int, tag: int, *, multiple: bool) -> bytes:
    """Return the frame that gives a delivery back, or all up to it."""
    return _SETTLE.pack(METHOD, channel, _NACK_LENGTH, 60, 120, tag, multiple << 0 | 2, END)


def read_tag(payload: bytes) -> tuple[int, bool]:
    """Return the number that an `ACK` or `NACK` of the server is about, and whether all up to it are meant."""
    tag, flags = _TAG.unpack_from(payload, 4)
    return tag, bool(flags & 1)


def read_deliver(payload: bytes) -> tuple[str, int, bool, str, str]:
    """Return a delivery's consumer, its number, whether it was delivered before, its exchange and routing key."""
    at = 5 + payload[4]
    consumer = payload[5:at].decode()
    tag, redelivered = _TAG.unpack_from(payload, at)
    exchange, routing_key = _two_texts(payload, at + 9)
    return consumer, tag, bool(redelivered), exchange, routing_key


def read_got(payload: bytes) -> tuple[int, bool, str, str]:
    """Return what `read_deliver` does of a message that was asked for, less the consumer."""
    tag, redelivered = _TAG.unpack_from(payload, 4)
    return tag, bool(redelivered), *_two_texts(payload, 13)


def read_return(payload: bytes) -> bytes:
    """Return the route of a message that no queue wanted, as it was published by: two short strings."""
    return payload[7 + payload[6] :]


def read_body_length(payload: bytes) -> int:
    """Return how long the body is that follows a header."""
    length: int = _LENGTH.unpack_from(payload, 4)[0]
    return length


def _two_texts(payload: bytes, at: int) -> tuple[str, str]:
    middle = at + 1 + payload[at]
    end = middle + 1 + payload[middle]
    return payload[at + 1 : middle].decode(errors="replace"), payload[middle + 1 : end].decode(
        errors="replace"
    )
