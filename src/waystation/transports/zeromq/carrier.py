"""`Carrier`: a stream of bytes to one peer, over messages of ZeroMQ. To a `Line` it is any asyncio transport.

It keeps its own account of bytes. What one side has sent and the other has not taken yet is at most a window, so that a
peer that stalls costs that much and no more, wherever it waits: here, in libzmq, in the kernel, or there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..._core.limits import (
    WRITE_BUFFER_BYTES_MAX,
    ZMQ_LINGER_S,
    ZMQ_MESSAGE_BYTES_MAX,
    ZMQ_WINDOW_BYTES_MAX,
)
from .counts import Counts
from .envelope import HEAD_BYTES, Head, Kind, write_head

#: The most bytes of a stream in one message.
_PIECE_BYTES = ZMQ_MESSAGE_BYTES_MAX - HEAD_BYTES


class Carrier(asyncio.Transport):
    """One stream. For one event loop.

    Args:
        line: Who uses it.
        post: Hands a message to ZeroMQ; False: there is no room, and `flush` is called when there may be. Raises
            `ConnectionError` if the peer is gone.
        left: Is called once, when nothing more is sent or heard.
        peer: Who is at the other end, as `get_extra_info("peername")` says it.
        key: His public key, if it was asked for; as `get_extra_info("peer_key")`.

    Attributes:
        stream: Its name.
    """

    def __init__(
        self,
        line: asyncio.Protocol,
        stream: bytes,
        *,
        post: Callable[[bytes], bool],
        left: Callable[[], None],
        peer: object,
        key: bytes = b"",
        counts: Counts,
    ) -> None:
        super().__init__({"peername": peer, "peer_key": key})
        self.stream = stream
        self._line, self._post, self._left, self._counts = line, post, left, counts
        self._loop = asyncio.get_running_loop()
        self._number = 0  # of the next message that is said
        self._said = 0  # bytes
        self._may_say = ZMQ_WINDOW_BYTES_MAX
        self._out = bytearray()
        self._high, self._low = WRITE_BUFFER_BYTES_MAX, WRITE_BUFFER_BYTES_MAX // 4
        self._full = self._stuck = False
        self._expected = 0  # the number of the next message that is heard
        self._heard = 0  # bytes
        self._taken = 0  # of them, what the line has
        self._granted = ZMQ_WINDOW_BYTES_MAX
        self._held = bytearray()  # heard while nobody was reading
        self._owes = False  # whether the peer should be told that it may say more
        self._reading = True
        self._closing = self._ended = False
        self._patience: asyncio.TimerHandle | None = None

    # --- what ZeroMQ brings ------------------------------------------------------------------------------------

    def received(self, head: Head, data: bytes) -> None:
        """Take in a message of this stream."""
        if self._ended:
            return
        if head.number != self._expected:
            self._break(f"{head.number - self._expected} messages were lost on the way")
            return
        self._expected += 1
        if head.upto > self._may_say:
            self._may_say = head.upto
            if self._out:
                self.flush()
        if head.kind == Kind.END:
            self.lost(None)
        elif data:
            self._heard += len(data)
            if self._heard > self._granted:
                self._break("the peer sent more than it may")
            elif self._closing:
                return
            elif self._reading and not self._held:
                self._give(data)
            else:
                self._held += data

    def lost(self, error: Exception | None) -> None:
        """Nothing more can be said or heard; None: the peer has ended the stream."""
        if self._ended:
            return
        self._ended = self._closing = True
        self._out.clear()
        self._held.clear()
        if self._patience is not None:
            self._patience.cancel()
        self._left()
        self._loop.call_soon(self._line.connection_lost, error)

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        out = self._out
        while out:
            size = min(len(out), self._may_say - self._said, _PIECE_BYTES)
            if size <= 0 or not self._say(Kind.BYTES, bytes(out[:size])):
                break
            self._said += size
            del out[:size]
        if self._ended:
            return
        if out and not self._stuck:
            self._counts.held_up += 1
        self._stuck = bool(out)
        if self._closing:
            if not out and self._say(Kind.END, b""):
                self.lost(None)
            return
        if self._owes:
            self._say(Kind.BYTES, b"")
        if self._full and len(out) <= self._low:
            self._full = False
            self._line.resume_writing()

    # --- what asyncio asks of a transport ----------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, now or when there is room."""
        if self._closing:
            return
        self._out += data
        self.flush()
        if len(self._out) > self._high and not self._full and not self._closing:
            self._full = True
            self._line.pause_writing()

    def close(self) -> None:
        """Send what waits, for a while, and leave."""
        if self._closing:
            return
        self._closing = True
        self._held.clear()
        self._patience = self._loop.call_later(ZMQ_LINGER_S, self.abort)
        self.flush()

    def abort(self) -> None:
        """Leave at once."""
        if not self._ended:
            self._out.clear()
            self._say(Kind.END, b"")  # without room for it the peer finds out by the silence
            self.lost(None)

    def is_closing(self) -> bool:
        """Whether nothing more is taken."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether the line gets what comes."""
        return self._reading

    def pause_reading(self) -> None:
        """Keep what comes; the peer may not send more than a window of it."""
        self._reading = False

    def resume_reading(self) -> None:
        """Give the line what comes, beginning with what was kept."""
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._give_held)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set how many bytes may wait before the line is told to pause, and to go on."""
        self._high = WRITE_BUFFER_BYTES_MAX if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """Bytes that wait here."""
        return len(self._out)

    # --- inside ------------------------------------------------------------------------------------------------

    def _say(self, kind: Kind, data: bytes) -> bool:
        """Send one message; False: it was not taken."""
        upto = self._taken + ZMQ_WINDOW_BYTES_MAX
        try:
            sent = self._post(write_head(kind, self.stream, self._number, upto) + data)
        except ConnectionError as error:
            if kind is not Kind.END:
                self._counts.unreachable += 1
            self.lost(error)
            return False
        if sent:
            self._number += 1
            self._granted, self._owes = upto, False
        return sent

    def _give(self, data: bytes) -> None:
        self._taken += len(data)
        if self._taken + ZMQ_WINDOW_BYTES_MAX - self._granted >= ZMQ_WINDOW_BYTES_MAX // 2:
            self._owes = True
        self._line.data_received(data)
        if self._owes and not self._ended:
            self._say(Kind.BYTES, b"")

    def _give_held(self) -> None:
        if self._reading and self._held and not self._closing:
            held, self._held = bytes(self._held), bytearray()
            self._give(held)

    def _break(self, why: str) -> None:
        """End a stream that cannot go on; its session begins another."""
        self._counts.broken += 1
        self._out.clear()
        self._say(Kind.END, b"")
        self.lost(ConnectionError(why))
