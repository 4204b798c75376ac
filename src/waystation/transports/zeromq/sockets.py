"""Sockets of ZeroMQ on an event loop: how they are set up, looked at, listened to and got rid of.

Straight on the descriptor, not by `zmq.asyncio`: half the time of a round trip, a fifth of it with many in flight. Each
socket has one reader, which is never cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from collections.abc import Callable
from typing import Any, Final

from ..._core.limits import (
    GREETING_S,
    HEARTBEATS_MISSED_MAX,
    ZMQ_HIGH_WATER_MESSAGES_MAX,
    ZMQ_LINGER_S,
    ZMQ_MESSAGE_BYTES_MAX,
)

_EVENT: Final = struct.Struct("=HI")

#: Where a monitor is heard, within its context: each has one.
_MONITOR: Final = "inproc://waystation-monitor"


def set_up(zmq: Any, socket: Any, *, heartbeat_s: float) -> None:
    """Bound everything that ZeroMQ leaves open unless told."""
    beat_ms = max(1, round(heartbeat_s * 1000))
    for option, value in (
        (zmq.SNDHWM, ZMQ_HIGH_WATER_MESSAGES_MAX),
        (zmq.RCVHWM, ZMQ_HIGH_WATER_MESSAGES_MAX),
        (zmq.MAXMSGSIZE, ZMQ_MESSAGE_BYTES_MAX),
        (zmq.LINGER, round(ZMQ_LINGER_S * 1000)),
        (zmq.HANDSHAKE_IVL, round(GREETING_S * 1000)),
        (zmq.HEARTBEAT_IVL, beat_ms),
        (zmq.HEARTBEAT_TIMEOUT, beat_ms * HEARTBEATS_MISSED_MAX),
        (zmq.HEARTBEAT_TTL, beat_ms * HEARTBEATS_MISSED_MAX),
        (zmq.IPV6, 1),
    ):
        socket.setsockopt(option, value)


class Retired:
    """A context whose sockets are closed: last words are given time to leave, by a thread that waits for that.

    The interpreter waits for it too, at its end, for as long as the sockets may linger.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._end, name="waystation-zmq-end")
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether it is ended."""
        return self._told.done()

    async def wait(self) -> None:
        """Wait until it is ended, and the thread too."""
        await self._told
        self._thread.join()  # it has nothing left to do

    def _end(self) -> None:
        self._context.term()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        if not self._told.done():
            self._told.set_result(None)


class Watch:
    """Calls a function when a ZeroMQ socket may have something new.

    Its descriptor tells once that something has changed, and not that there is more; any call of the socket may take
    that news away. So `look` is to be called after every send, and the function says whether there may be more.
    """

    def __init__(self, zmq: Any, socket: Any, turn: Callable[[], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd: int = socket.getsockopt(zmq.FD)
        self._turn = turn
        self._soon = self._ended = False
        self._loop.add_reader(self._fd, self._run)
        self.look()  # of what came before anybody looked, the descriptor never tells

    def look(self) -> None:
        """Look soon, in any case."""
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._run)

    def end(self) -> None:
        """Look no more; before the socket is closed."""
        if not self._ended:
            self._ended = True
            self._loop.remove_reader(self._fd)

    def _run(self) -> None:
        self._soon = False
        if not self._ended and self._turn():
            self.look()


class Monitor:
    """Hears what happens to a socket's connections.

    Args:
        heard: Is called with an event and its value, in order.
    """

    def __init__(self, zmq: Any, socket: Any, events: int, heard: Callable[[int, int], None]) -> None:
        self._zmq, self._watched, self._heard = zmq, socket, heard
        socket.monitor(_MONITOR, events)
        self._socket = socket.context.socket(zmq.PAIR)
        self._socket.setsockopt(zmq.RCVHWM, 0)  # with a mark the I/O thread would wait for whoever reads
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(_MONITOR)
        self._watch = Watch(zmq, self._socket, self.read)

    def read(self) -> bool:
        """Hear everything that has happened until now."""
        zmq = self._zmq
        while self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            event, value = _EVENT.unpack(self._socket.recv_multipart(zmq.NOBLOCK)[0])
            self._heard(event, value)
            if self._socket.closed:
                break
        return False

    def end(self) -> None:
        """Hear nothing more; before the socket is closed. May be called twice, and while it hears."""
        if not self._socket.closed:
            self._watch.end()
            self._watched.disable_monitor()
            self._socket.close()
