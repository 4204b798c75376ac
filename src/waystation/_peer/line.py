"""`Line`: one connection at work: bytes to frames and back, heartbeats, small frames between the parts of large ones.

It is an asyncio protocol, and what carries its bytes an asyncio transport, whether that is a socket, TLS, or something
that a gate of ours dresses up as one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from .._core.errors import LocalProtocolError, ProtocolError, RemoteProtocolError, WaystationError
from .._core.limits import (
    GREETING_S,
    HEARTBEATS_MISSED_MAX,
    STALL_BYTES_MAX,
    WHOLES_COUNT_MAX,
    WRITE_BUFFER_BYTES_MAX,
)
from .._wire.connection import Connection
from .._wire.frames import Bye, Frame, Ping, Pong
from .._wire.framing import Bulk
from .._wire.states import Role, State

_log = logging.getLogger("waystation.peer")

#: What a peer says of itself is shown up to here, in characters.
_SHOWN_CHARS_MAX = 300

#: Frames that go together at most, so that the peer is at work on the first while the last are being made.
_TOGETHER_COUNT_MAX = 16

#: How long something waits at most for something else to go along with, in seconds.
_LINGER_S = 0.002


class Listener(Protocol):
    """Who hears what the peer says."""

    def heard(self, line: Line, frames: Sequence[Frame]) -> None:
        """Take frames in, in order.

        Raises:
            RemoteProtocolError: One of them is not what it may be: the line says so to the peer and ends.
        """

    def ended(self, line: Line, reason: str) -> None:
        """Nothing more comes, and nothing more can be said. Called once."""


class Line(asyncio.Protocol):
    """One connection of either role.

    Attributes:
        parting: The peer's `Bye`, if it said one.
        heard_at: When the peer said something last, by the event loop's clock.
        heard_bytes: How much it has said, in bytes.
        full: Whether the peer takes less than is said: what can wait should.
        blamed: Whether the peer said what it may not.
        on_whole: Is called when something large begins to come from the peer, or has come.
    """

    __slots__ = (
        "_beat_at", "_bulks", "_flushing", "_held", "_lingering", "_listener", "_loop", "_out", "_patient", "_said_at",
        "_stuck_bytes", "_stuck_since", "_transport", "_whole_bytes", "_wire", "blamed", "full", "heard_at",
        "heard_bytes", "on_room", "on_whole", "parting",
    )  # fmt: skip

    def __init__(self, role: Role, listener: Listener) -> None:
        self._wire = Connection(role)
        self._listener: Listener | None = listener
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._bulks: deque[Bulk] | None = None
        self._flushing = self._lingering = False
        self.full = self.blamed = self._held = False
        # A client bounds what comes to it by credit, and reads on whatever happens: if both waited for the other to
        # read first, both would wait for ever.
        self._patient = role is Role.SERVER
        self._stuck_bytes, self._stuck_since = 0, 0.0
        self._whole_bytes = self.heard_bytes = 0
        self.on_room: Callable[[], None] | None = None
        self.on_whole: Callable[[Line], None] | None = None
        self.parting: Bye | None = None
        self.heard_at = self._said_at = self._beat_at = self._loop.time()

    # --- what the event loop calls -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        if self._listener is None:  # it was ended before TLS was agreed on
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        self.heard_at = self._loop.time()
        self.heard_bytes += len(data)
        listener = self._listener
        if listener is None:
            return
        try:
            frames = self._wire.received(data)
            for frame in frames:
                if isinstance(frame, (Ping, Pong, Bye)):
                    frames = self._own(frames)
                    break
            if frames:
                listener.heard(self, frames)
            if self._wire.whole_bytes != self._whole_bytes:
                self._whole_bytes = self._wire.whole_bytes
                if self.on_whole is not None:
                    self.on_whole(self)
        except RemoteProtocolError as error:
            self.blame(error)
        except Exception:  # noqa: BLE001 - a mistake of ours ends this connection, and no other
            _log.exception("%s: what a peer said could not be handled", self.peer)
            self.blamed = True
            self.end(Bye("protocol", "internal error"))
        else:
            if self._flushing and not self.full:
                self._flush()
        if self.parting is not None:
            self._finish(f"the peer left: {printable(self.parting.text or self.parting.code)}")

    def eof_received(self) -> bool:
        """The peer says nothing more: so does this side."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take in that the connection is gone."""
        self._finish(f"the connection was lost: {exc}" if exc else "the peer closed the connection")

    def pause_writing(self) -> None:
        """The peer does not take what is said: a server reads nothing more from it, until it does."""
        self.full, self._stuck_since = True, self._loop.time()
        self._stuck_bytes = self._unwritten
        self._read_or_not()

    def resume_writing(self) -> None:
        """It does."""
        self.full = False
        self._read_or_not()
        self._flush()
        if self.on_room is not None:
            self.on_room()

    # --- what its user calls -----------------------------------------------------------------------------------

    @property
    def peer(self) -> str:
        """Who is at the other end, for people."""
        return _shown(self.info("peername"))

    @property
    def open(self) -> bool:
        """Whether something can be said."""
        return self._listener is not None and self._transport is not None

    @property
    def deaf(self) -> bool:
        """Whether nothing is read from the peer."""
        return self._held or (self.full and self._patient)

    def is_stuck(self, stall_s: float) -> bool:
        """Say whether the peer has taken next to nothing for so long. To be called often."""
        if not self.full:
            return False
        now, unwritten = self._loop.time(), self._unwritten
        if unwritten <= self._stuck_bytes - STALL_BYTES_MAX:
            self._stuck_bytes, self._stuck_since = unwritten, now
        return now - self._stuck_since > stall_s

    def hold(self) -> None:
        """Read nothing more from the peer for now."""
        self._held = True
        self._read_or_not()

    def go_on(self) -> None:
        """Read on."""
        self._held = False
        self._read_or_not()

    @property
    def was_cut(self) -> bool:
        """Whether it ended in the middle of a talk: who comes back at once is still known there."""
        return self._listener is None and self._wire.state is State.OPEN

    @property
    def whole_bytes(self) -> int:
        """Announced bytes of large frames that are under way from the peer."""
        return self._wire.whole_bytes

    def info(self, name: str) -> object:
        """What the transport knows, as `get_extra_info`."""
        return None if self._transport is None else self._transport.get_extra_info(name)

    def attend(self, listener: Listener) -> None:
        """Let somebody else hear from now on."""
        self._listener = listener

    def say(self, frame: Frame, *, soon: bool = True) -> None:
        """Say something, together with all else that is said in this turn of the loop. Nothing, once it has ended.

        Args:
            soon: Else nobody hurries for it: it goes along with what is said next, or by itself after a moment, for
                a system call costs as much as dozens of frames.

        Raises:
            LocalProtocolError: It may not be said now.
        """
        if self._listener is None:
            return
        if not self._put(frame):
            soon = True
        if soon:
            if len(self._out) >= _TOGETHER_COUNT_MAX:
                self._flush()
            elif not self._flushing:
                self._flushing = True
                self._loop.call_soon(self._flush)
        elif not self._lingering:
            self._lingering = True
            self._loop.call_later(_LINGER_S, self._linger)

    def say_now(self, frame: Frame) -> None:
        """As `say`, without waiting for what else is said in this turn of the loop; what was said before goes along."""
        if self._listener is not None:
            self._put(frame)
            self._flush()

    def _put(self, frame: Frame) -> bool:
        """Put a frame to what is to be written; say whether it is in one piece."""
        data = self._wire.say(frame)
        if isinstance(data, bytes):
            self._out.append(data)
            return True
        if self._bulks is None:
            self._bulks = deque()
        self._bulks.append(data)
        return False

    def flush(self) -> None:
        """Let what was said go now: nothing more is said in this turn of the loop."""
        if self._flushing:
            self._flush()

    def beat(self, interval_s: float) -> None:
        """Say something if nothing was said for a while; end if nothing was heard for too long. To be called often."""
        now = self._loop.time()
        if now - self._beat_at > interval_s:
            self.heard_at = now  # who has slept himself judges nobody
        self._beat_at = now
        silence_s = now - self.heard_at
        if silence_s > interval_s * HEARTBEATS_MISSED_MAX and not self.deaf:
            self.end(Bye("silence", f"nothing was heard for {silence_s:.0f} s"))
        elif now - self._said_at >= interval_s or silence_s >= interval_s:
            self.say(Ping())

    def end(self, bye: Bye, *, reason: str = "") -> None:
        """Say a last word, if it can still be said, and close when it was taken."""
        if self._listener is None:
            return
        try:
            self.say(bye)
            self._flush()
        except LocalProtocolError:
            pass
        self._finish(reason or bye.text or bye.code)

    def blame(self, error: ProtocolError) -> None:
        """End because of something that the peer may not say."""
        self.blamed = True
        self.end(Bye(error.code, str(error), error.field))

    def abort(self, reason: str) -> None:
        """Close at once, whatever was not taken yet."""
        transport = self._transport
        self._finish(reason)
        if transport is not None:
            transport.abort()

    # --- inside ------------------------------------------------------------------------------------------------

    def _own(self, frames: list[Frame]) -> list[Frame]:
        """Deal with what concerns the connection alone; return the rest."""
        others = []
        for frame in frames:
            if isinstance(frame, Ping):
                self.say(Pong(frame.number))
            elif isinstance(frame, Bye):
                self.parting = frame
            elif not isinstance(frame, Pong):
                others.append(frame)
        return others

    def _linger(self) -> None:
        self._lingering = False
        self._flush()

    def _flush(self) -> None:
        """Give what was said to the transport; of what is large one part, then others have their turn."""
        self._flushing = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        out = self._out
        if out:
            self._out = []
            self._said_at = self._loop.time()
            transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self._bulks and not self.full:
            self._say_part(transport, self._bulks)

    def _say_part(self, transport: asyncio.Transport, bulks: deque[Bulk]) -> None:
        """Write the next part of the first large frame, and put that behind the others that have begun."""
        bulk = bulks.popleft()
        part = next(bulk, None)
        if part is not None:
            self._said_at = self._loop.time()
            transport.write(part)
            bulks.insert(WHOLES_COUNT_MAX - 1, bulk)
        if bulks and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    @property
    def _unwritten(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def _read_or_not(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self.deaf:
            transport.pause_reading()
        else:
            transport.resume_reading()
            self.heard_at = self._loop.time()  # it was not listened to

    def _finish(self, reason: str) -> None:
        listener, self._listener = self._listener, None
        transport = self._transport
        if transport is not None and not transport.is_closing():
            waits = self._unwritten > 0
            transport.close()
            if waits:  # who does not take it does not keep the socket either
                self._loop.call_later(GREETING_S, transport.abort)
        self._out, self._bulks, self.on_room, self.on_whole = [], None, None, None
        if listener is not None:
            try:
                listener.ended(self, reason)
            except WaystationError:
                _log.exception("%s: the end of a connection could not be handled", self.peer)


def printable(text: str) -> str:
    """Return what a peer says for a log: not too long, and in one line."""
    shown = text if len(text) <= _SHOWN_CHARS_MAX else f"{text[:_SHOWN_CHARS_MAX]}…"
    return "".join([each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in shown])


def _shown(peername: object) -> str:
    if isinstance(peername, tuple) and len(peername) >= 2:
        host, port = peername[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return str(peername or "a peer")
