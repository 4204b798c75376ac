"""A streamed reply on its way: numbered parts one way, how many were taken the other way. Values and decisions.

The responder numbers its parts from 0 and sends those that are ready as one message; the end, and a failure, travel
with the last of them. It may be ahead of its caller by so many parts and bytes; then it waits to be told that some were
taken. The caller finds gaps in the numbers, and tells before the responder has to wait. It says when it wants no more,
and the first message that it hears names the stream, so that no other run of the same request is mixed in.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from .errors import DecodeError, StreamBroken
from .limits import STREAM_AHEAD_BYTES_MAX, STREAM_AHEAD_PARTS_MAX

#: The content type of `Parts`: from the responder to its caller.
PARTS: Final = "application/vnd.waystation.parts+msgpack"

#: The content type of `Taken`: from the caller to its responder.
TAKEN: Final = "application/vnd.waystation.taken+msgpack"

#: What a message of parts takes beside their bodies at most, in bytes.
PARTS_EXTRA_BYTES: Final = 1024


class Parts(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive parts of a streamed reply.

    Attributes:
        stream: Names this run of the responder.
        first: The number of the first one; the reply's first part is 0.
        bodies: The parts, each encoded as `content_type` says. Only an end can be without.
        ended: Whether nothing follows.
    """

    stream: str
    first: int
    bodies: list[bytes]
    content_type: str
    ended: bool


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """What a caller has to say.

    Attributes:
        count: How many parts it has taken since the beginning.
        stopped: Whether it wants no more.
    """

    count: int
    stopped: bool = False


_write = msgspec.msgpack.Encoder().encode
_read_parts = msgspec.msgpack.Decoder(Parts).decode
_read_taken = msgspec.msgpack.Decoder(Taken).decode


def write(value: Parts | Taken) -> bytes:
    """Return the body of a message."""
    return _write(value)


def read_parts(body: bytes) -> Parts:
    """Read what `write` wrote.

    Raises:
        DecodeError: It is something else.
    """
    try:
        return _read_parts(body)
    except msgspec.DecodeError as error:
        raise DecodeError(f"these are no parts of a streamed reply: {error}") from error


def read_taken(body: bytes) -> Taken:
    """Read what `write` wrote.

    Raises:
        DecodeError: It is something else.
    """
    try:
        return _read_taken(body)
    except msgspec.DecodeError as error:
        raise DecodeError(f"this is no word from a stream's caller: {error}") from error


class Window:
    """How far a responder is ahead of its caller, and whether it may go on."""

    def __init__(self) -> None:
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._taken = 0

    @property
    def is_open(self) -> bool:
        """Whether another part may be sent: one of any size, as long as there is some room."""
        return len(self._sizes) < STREAM_AHEAD_PARTS_MAX and self._bytes < STREAM_AHEAD_BYTES_MAX

    def add(self, size_bytes: int) -> None:
        """Take in that a part goes out."""
        self._sizes.append(size_bytes)
        self._bytes += size_bytes

    def taken(self, count: int) -> None:
        """Take in how many parts the caller has taken. An old word changes nothing, a false one frees what was sent."""
        for _ in range(min(count - self._taken, len(self._sizes))):
            self._bytes -= self._sizes.popleft()
            self._taken += 1


class Arrivals:
    """What came of one stream: which parts are new, and when their number should be told.

    Attributes:
        stream: The run that these are parts of, once one has come.
        arrived: How many parts have come.
        taken: How many of them the caller was given.
        repeated: How many came once more, and were dropped.
    """

    def __init__(self) -> None:
        self.stream: str | None = None
        self.arrived = self.taken = self.repeated = 0
        self._untold = self._untold_bytes = 0

    def add(self, parts: Parts) -> list[bytes]:
        """Take parts in; return the bodies of those that had not come before, in order.

        Raises:
            StreamBroken: Some in between are missing.
        """
        if parts.first > self.arrived:
            raise StreamBroken(
                f"after {self.arrived} parts of a streamed reply came number {parts.first + 1}: those between are lost",
                parts=self.arrived,
            )
        new = parts.bodies[self.arrived - parts.first :]
        self.stream = parts.stream
        self.arrived += len(new)
        self.repeated += len(parts.bodies) - len(new)
        return new

    def take(self, size_bytes: int) -> bool:
        """Take in that the caller was given a part; say whether the responder should be told now.

        At half the window, so that a responder that has more to say need not wait for the news.
        """
        self.taken += 1
        self._untold += 1
        self._untold_bytes += size_bytes
        return self._untold * 2 >= STREAM_AHEAD_PARTS_MAX or self._untold_bytes * 2 >= STREAM_AHEAD_BYTES_MAX

    def told(self) -> Taken:
        """Return the word for the responder, which takes in that it is told."""
        self._untold = self._untold_bytes = 0
        return Taken(self.taken)
