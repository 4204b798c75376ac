"""`Dialler`: connects to one address after the other, each time with a new DEALER.

ZeroMQ would join a socket to its server again by itself and say nothing, and a session would never know what was lost
meanwhile. So a DEALER is for one connection: when that is gone, so is the socket, and the next one greets anew.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
from collections.abc import Callable
from typing import Any, Final

from ..._core.errors import Disconnected, Refused
from ..._core.extras import import_driver
from ..._core.limits import GREETING_S
from ..._peer.line import Line
from ..._peer.options import Address
from .carrier import Carrier
from .counts import Counts
from .curve import key_pair, use_curve
from .envelope import HEAD_BYTES, STREAM_BYTES, read_head
from .options import PeerOptions
from .sockets import Monitor, Retired, Watch, set_up

#: Longer than any connection is tried: `Link` dials again, with a socket of its own.
_NEVER_MS: Final = 24 * 3600 * 1000

#: Messages that are taken in one turn of the event loop, before others have theirs.
_TURN_MESSAGES: Final = 64


class Dialler:
    """Each call tries the next address of a URL."""

    def __init__(self, options: PeerOptions) -> None:
        self._options = options
        self._addresses = itertools.cycle(options.addresses)
        self._pair: tuple[bytes, bytes] | None = None
        self._zmq: Any = None
        self._retired: list[Retired] = []
        self.counts = Counts()

    def prepare(self) -> None:
        """Import the driver and read the keys.

        Raises:
            MissingExtra: pyzmq is not installed.
            ConfigurationError: A key is none.
        """
        self._zmq = import_driver("zmq", extra="zmq")
        if self._options.server_key is not None:
            self._pair = key_pair(self._zmq, self._options.secret_key)

    async def finish(self) -> None:
        """Wait until connections that were closed have said their last words, and nothing is left of them."""
        while self._retired:
            await self._retired.pop().wait()

    def _keep(self, retired: Retired) -> None:
        self._retired = [*(each for each in self._retired if not each.over), retired]

    def facts(self) -> dict[str, str]:
        """Return what `doctor` prints: the library, and what it could not do at once."""
        return {f"{name}, here": fact for name, fact in self.counts.facts(self._zmq.zmq_version()).items()}

    async def __call__(self, make: Callable[[], Line], /) -> Line:
        """Connect.

        Raises:
            Disconnected: It could not be done; trying again, or elsewhere, may help.
            Refused: The server does not let this client's key in, and trying again will not change that.
        """
        address = next(self._addresses)
        trouble: Disconnected | None = None
        for endpoint in await _endpoints(address):
            call = _Call(self._zmq, address, self._options.heartbeat_s, self.counts, self._keep)
            try:
                if self._pair is not None and self._options.server_key is not None:
                    use_curve(self._zmq, call.socket, self._options.server_key, self._pair)
                await call.connect(endpoint)
                return call.carry(make())
            except Refused:
                call.close()
                raise
            except Disconnected as error:
                call.close()
                trouble = error
            except BaseException:
                call.close()
                raise
        raise trouble or Disconnected(f"the name in {address} is not known")


async def _endpoints(address: Address) -> list[str]:
    """Return what ZeroMQ calls an address; several, if its host has several.

    Raises:
        Disconnected: The host's name is not known.
    """
    if address.path:
        return [f"ipc://{address.path}"]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )
    except socket.gaierror as error:
        raise Disconnected(f"the name in {address} is not known: {error.strerror}") from None
    return list(dict.fromkeys(str(Address("tcp", str(place[0]), address.port)) for *_, place in found))


class _Call:
    """One DEALER, and all that there is for its one connection."""

    def __init__(
        self,
        zmq: Any,
        address: Address,
        heartbeat_s: float,
        counts: Counts,
        ended: Callable[[Retired], None],
    ) -> None:
        self._zmq, self._address, self._counts, self._ended = zmq, address, counts, ended
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        set_up(zmq, self.socket, heartbeat_s=heartbeat_s)
        self.socket.setsockopt(zmq.RECONNECT_IVL, _NEVER_MS)
        self.socket.setsockopt(zmq.CONNECT_TIMEOUT, round(GREETING_S * 1000))
        self._connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._carrier: Carrier | None = None
        self._gone = self._closed = self._blocked = False
        self._watch: Watch | None = None
        handshakes = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        handshakes |= zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        events = handshakes | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
        self._monitor = Monitor(zmq, self.socket, events, self._happened)

    async def connect(self, endpoint: str) -> None:
        """Connect, and wait until ZeroMQ's own greeting is done.

        Raises:
            Disconnected: It could not be done.
            Refused: The server does not let this client's key in.
        """
        self.socket.connect(endpoint)
        await self._connected

    def carry(self, line: Line) -> Line:
        """Join a line to the server."""
        self._carrier = Carrier(
            line,
            secrets.token_bytes(STREAM_BYTES),
            post=self._post,
            left=self.close,
            peer=self._address.path or (self._address.host, self._address.port),
            counts=self._counts,
        )
        self._watch = Watch(self._zmq, self.socket, self._turn)
        self._watch.look()
        line.connection_made(self._carrier)
        return line

    def close(self) -> None:
        """Close everything; what was said last may still leave. May be called twice."""
        if not self._closed:
            self._closed = True
            self._monitor.end()
            if self._watch is not None:
                self._watch.end()
            self.socket.close()
            self._ended(Retired(self._context))

    # --- inside ------------------------------------------------------------------------------------------------

    def _happened(self, event: int, _: int) -> None:
        """Take in what the monitor says."""
        zmq = self._zmq
        if self._connected.done():
            if event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED) and self._watch is not None:
                self._gone = True  # what it said before is still to be read
                self._watch.look()
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._connected.set_result(None)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._counts.turned_away += 1
            self._connected.set_exception(
                Refused(
                    f"{self._address} does not let this key in: put the public key of the one in ?curve_key=FILE into "
                    "the server's ?curve_client_keys=FILE"
                )
            )
        elif event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED):
            self._connected.set_exception(
                Disconnected(
                    f"{self._address} cannot be reached: nobody listens there; is the server running? "
                    "(waystation serve …, or a bus with ?listen)"
                )
            )
        else:
            self._counts.turned_away += 1
            self._connected.set_exception(
                Disconnected(
                    f"{self._address} does not answer as ZeroMQ does, or has another key: does ?curve_server_key=FILE "
                    "hold the server's public key, and does the server use CURVE?"
                )
            )

    def _turn(self) -> bool:
        more = False
        carrier = self._carrier
        assert carrier is not None, "nothing is read before there is who hears it"
        if self.socket.getsockopt(self._zmq.EVENTS) & self._zmq.POLLIN:
            more = self._receive(carrier)
        if self._gone and not more:
            carrier.lost(ConnectionResetError("the server is gone"))
        if self._blocked and not self._closed:
            self._blocked = False
            carrier.flush()
        return more

    def _receive(self, carrier: Carrier) -> bool:
        """Take what has come; say whether there may be more."""
        zmq = self._zmq
        for _ in range(_TURN_MESSAGES):
            if self._closed:
                return False
            try:
                frame = self.socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return False
            message = frame.buffer
            head = None if frame.more else read_head(message)
            while frame.more:
                frame = self.socket.recv(zmq.NOBLOCK, copy=False)
            if head is None or head.stream != carrier.stream:
                self._counts.strange += 1
            else:
                carrier.received(head, bytes(message[HEAD_BYTES:]))
        return True

    def _post(self, message: bytes) -> bool:
        zmq = self._zmq
        if self._closed or self._watch is None:
            raise ConnectionResetError("the server is gone")
        try:
            self.socket.send(message, zmq.NOBLOCK)
        except zmq.Again:
            self._blocked = True
            return False
        self._watch.look()
        return True
