"""What stands before the bytes in each message of ZeroMQ.

    0         1      2        10       18     26
    │ version │ kind │ stream │ number │ upto │ bytes …
    └ 1       └ u8   └ 8      └ u64    └ u64; all big endian

ZeroMQ carries messages; a session needs a stream of bytes, of which it knows when it began and whether it is whole.
A client makes up the name of a stream each time that it connects; both sides say it, and number what they say in it. So
a server sees that a peer has begun anew although ZeroMQ joined it to the same identity, and nobody mistakes the rest
of an old stream, or one with a hole in it, for what it is not. `upto` says how many bytes of the stream the other
side may have sent: ZeroMQ counts messages, not bytes, and cannot leave one peer unread while it reads the others.
"""

from __future__ import annotations

import enum
import struct
from typing import Final, NamedTuple

_HEAD: Final = struct.Struct(">BB8sQQ")
_VERSION: Final = 1

HEAD_BYTES: Final = _HEAD.size

#: Bytes of a stream's name.
STREAM_BYTES: Final = 8


class Kind(enum.IntEnum):
    """What a message is.

    Attributes:
        BYTES: The next bytes of the stream; none, if only `upto` had to be said.
        END: Nothing more will be said in this stream, or heard.
    """

    BYTES = 1
    END = 2


class Head(NamedTuple):
    """What stands before the bytes."""

    kind: int
    stream: bytes
    number: int
    upto: int


def write_head(kind: Kind, stream: bytes, number: int, upto: int) -> bytes:
    """Return the beginning of a message."""
    return _HEAD.pack(_VERSION, kind, stream, number, upto)


def read_head(message: memoryview) -> Head | None:
    """Return the beginning of a message; None: it is not one of ours."""
    if len(message) < HEAD_BYTES:
        return None
    version, kind, stream, number, upto = _HEAD.unpack_from(message)
    if (
        version != _VERSION
        or kind not in (Kind.BYTES, Kind.END)
        or (kind == Kind.END and len(message) > HEAD_BYTES)
    ):
        return None
    return Head(kind, stream, number, upto)
