"""`Router`: the one socket of a server, and a `Carrier` for each peer's stream.

ZeroMQ tells a ROUTER nothing of its peers' comings and goings. Its monitor does, by the number of the descriptor, which
a peer's first message has with it; and where that is missing, heartbeats do.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from .carrier import Carrier
from .counts import Counts
from .envelope import HEAD_BYTES, Head, Kind, read_head
from .sockets import Monitor, Watch

_log = logging.getLogger("waystation.peer")

#: Messages that are taken in one turn of the event loop, before others have theirs.
_TURN_MESSAGES: Final = 64

#: How often at most the log tells of strangers who are turned away, in seconds: they may be many.
_TELL_S: Final = 1.0


class Router:
    """A bound ROUTER at work. For one event loop.

    Args:
        accept: Makes the line of a peer that begins.
    """

    def __init__(self, zmq: Any, socket: Any, accept: Callable[[], asyncio.Protocol], counts: Counts) -> None:
        self._zmq, self._socket, self._accept, self._counts = zmq, socket, accept, counts
        self._carriers: dict[bytes, Carrier] = {}
        self._by_fd: dict[int, Carrier] = {}
        self._leaving: list[
            Carrier
        ] = []  # their connections are gone; what they said before is still to be read
        self._waiting: set[bytes] = set()  # for room at the high-water mark
        self._begun = 0
        self._loop = asyncio.get_running_loop()
        self._told_at = -_TELL_S
        self._idle: asyncio.Future[None] | None = None
        failed = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        self._failed: int = failed | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        self._monitor = Monitor(zmq, socket, self._failed | zmq.EVENT_DISCONNECTED, self._happened)
        self._watch = Watch(zmq, socket, self._turn)

    async def finish(self, patience_s: float) -> None:
        """Wait until all streams have ended, for so long."""
        if self._carriers:
            self._idle = self._loop.create_future()
            await asyncio.wait([self._idle], timeout=patience_s)

    def end(self) -> None:
        """Look at the socket no more; before it is closed."""
        for carrier in list(self._carriers.values()):
            carrier.lost(None)
        self._monitor.end()
        self._watch.end()

    # --- hearing -----------------------------------------------------------------------------------------------

    def _turn(self) -> bool:
        more = False
        if self._socket.getsockopt(self._zmq.EVENTS) & self._zmq.POLLIN:
            more = self._receive()
        if self._leaving and not more:
            leaving, self._leaving = self._leaving, []
            for carrier in leaving:
                carrier.lost(ConnectionResetError("the peer is gone"))
        if self._waiting:
            waiting, self._waiting = self._waiting, set()
            for identity in waiting:
                if identity in self._carriers:
                    self._carriers[identity].flush()
        return more

    def _receive(self) -> bool:
        """Take what has come; say whether there may be more."""
        zmq, recv = self._zmq, self._socket.recv
        for _ in range(_TURN_MESSAGES):
            try:
                identity = recv(zmq.NOBLOCK)
            except zmq.Again:
                return False
            frame = recv(zmq.NOBLOCK, copy=False)
            if frame.more:
                while frame.more:
                    frame = recv(zmq.NOBLOCK, copy=False)
                self._counts.strange += 1
            else:
                self._heard(identity, frame)
        return True

    def _heard(self, identity: bytes, frame: Any) -> None:
        message = frame.buffer
        head = read_head(message)
        if head is None:
            self._counts.strange += 1
            return
        carrier = self._carriers.get(identity)
        if carrier is None or carrier.stream != head.stream:
            if head.number:  # the rest of a stream that has ended here
                self._counts.strange += head.kind != Kind.END
                return
            if carrier is not None:
                carrier.abort()
            carrier = self._begin(identity, head, frame)
        carrier.received(head, bytes(message[HEAD_BYTES:]))

    def _begin(self, identity: bytes, head: Head, frame: Any) -> Carrier:
        """Give a peer that begins its carrier."""
        self._monitor.read()  # who had this peer's descriptor before is gone before it has come
        self._begun += 1
        line, fd = self._accept(), _metadata(self._zmq, frame, self._zmq.SRCFD)
        address = _metadata(self._zmq, frame, "Peer-Address") or "unknown"
        if address.startswith("localhost:"):  # of a path: user, group and process follow
            address = "localhost"
        carrier = Carrier(
            line,
            head.stream,
            post=partial(self._post, identity),
            left=partial(self._left, identity, head.stream, fd),
            peer=(address, f"#{self._begun}"),  # the port is not told
            key=(_metadata(self._zmq, frame, "User-Id") or "").encode(),
            counts=self._counts,
        )
        self._carriers[identity] = carrier
        if fd is not None:
            self._by_fd[fd] = carrier
        line.connection_made(carrier)
        return carrier

    def _happened(self, event: int, value: int) -> None:
        """Take in what the monitor says."""
        if event & self._failed:
            self._counts.turned_away += 1
            if self._loop.time() - self._told_at >= _TELL_S:
                self._told_at = self._loop.time()
                _log.warning(
                    "somebody was turned away before he could say anything: %s", _why(self._zmq, event)
                )
            return
        carrier = self._by_fd.pop(value, None)
        if carrier is not None:
            self._leaving.append(carrier)
            self._watch.look()

    # --- saying ------------------------------------------------------------------------------------------------

    def _post(self, identity: bytes, message: bytes) -> bool:
        zmq = self._zmq
        try:
            self._socket.send(identity, zmq.SNDMORE | zmq.NOBLOCK)
        except zmq.Again:
            self._waiting.add(identity)
            return False
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            raise ConnectionResetError("the peer is gone") from None
        self._socket.send(message, zmq.NOBLOCK)
        self._watch.look()
        return True

    def _left(self, identity: bytes, stream: bytes, fd: int | None) -> None:
        carrier = self._carriers.get(identity)
        if carrier is not None and carrier.stream == stream:
            del self._carriers[identity]
            if fd is not None and self._by_fd.get(fd) is carrier:
                del self._by_fd[fd]
        if self._idle is not None and not self._carriers and not self._idle.done():
            self._idle.set_result(None)


def _metadata(zmq: Any, frame: Any, name: Any) -> Any:
    """Return what ZeroMQ knows of a message; None: nothing."""
    try:
        return frame.get(name)
    except zmq.ZMQError:
        return None


def _why(zmq: Any, event: int) -> str:
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return "his key is not among those that are let in (?curve_client_keys=)"
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        return "he has another server's key or none, or does not speak ZeroMQ"
    return "he left, or was too slow"
