"""`ZeroMQGate`: serves a transport on a ROUTER."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from dataclasses import replace
from typing import Any

from ..._core.errors import ConfigurationError
from ..._core.extras import import_driver
from ..._core.limits import DRAIN_S, ZMQ_LINGER_S
from ..._core.ports import Transport
from ..._peer.options import Address
from ..._peer.server import PeerServer, Policy
from ..._peer.sockets import bind_path, path_identity, room_for_peers, why_not_listening
from .counts import Counts
from .curve import key_pair, raw_keys, serve_curve
from .doorkeeper import Doorkeeper
from .options import ListenOptions
from .router import Router
from .sockets import Retired, set_up

_log = logging.getLogger("waystation.peer")

#: Connections that the kernel keeps until they are accepted.
_BACKLOG = 1024


class ZeroMQGate:
    """One ROUTER, and the server behind it. May be opened again after it was closed."""

    def __init__(self, options: ListenOptions) -> None:
        self._options = options
        self._address = options.address
        self._open: _Opened | None = None
        self._made: tuple[int, int] | None = None  # which file our socket is

    @property
    def address(self) -> str:
        """Where it listens, as a URL for clients on this machine; of port 0, the port that it got."""
        return str(self._address)

    @property
    def peers(self) -> int:
        """How many clients are connected."""
        return 0 if self._open is None else self._open.server.peers

    def facts(self) -> dict[str, str]:
        """Return what `doctor` prints: clients, the library, and what it could not do at once."""
        return {} if self._open is None else {"clients": str(self.peers), **self._open.facts()}

    async def open(self, transport: Transport) -> None:
        """Begin to serve a transport that is open.

        Raises:
            MissingExtra: pyzmq is not installed.
            ConfigurationError: A key is none, or nobody can listen at this address.
        """
        zmq, options = import_driver("zmq", extra="zmq"), self._options
        pair = None if options.secret_key is None else key_pair(zmq, options.secret_key)
        client_keys = raw_keys(options.client_keys) if options.client_keys else None
        try:
            bound = await _bind(options.address)
        except OSError as error:
            raise ConfigurationError(
                f"nobody can listen at {options.address}: {why_not_listening(error)}"
            ) from None
        if options.address.path:
            self._made = path_identity(options.address.path)
        else:
            self._address = replace(options.address, port=bound.getsockname()[1])
        peers_max, strangers_max = room_for_peers()
        policy = Policy(
            tokens=options.tokens,
            heartbeat_s=options.heartbeat_s,
            busy_poll=options.busy_poll,
            peers_max=peers_max,
            strangers_max=strangers_max,
        )
        server = PeerServer(transport, policy, name="waystation", facts=self.facts)
        context = zmq.Context()
        try:
            made = context.socket(zmq.ROUTER)
            set_up(zmq, made, heartbeat_s=options.heartbeat_s)
            made.setsockopt(zmq.ROUTER_MANDATORY, 1)  # who cannot be reached is told of, not dropped
            if pair is not None:
                serve_curve(zmq, made, pair, asked=client_keys is not None)
            self._open = _Opened(zmq, made, server, client_keys)
            self._open.listen(bound, self._address)
        except BaseException:
            bound.close()
            await self.close(0.0)
            await server.close(0.0)
            context.destroy(linger=0)
            raise

    async def close(self, drain_s: float = DRAIN_S) -> None:
        """Take no more connections, let clients finish what is under way, and leave. May be called twice."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.stop_listening()
            self._remove_path()  # now: in a moment another server may have its own there
            await opened.close(drain_s)

    def _remove_path(self) -> None:
        """Remove the socket's file, if it is still ours."""
        path, made, self._made = self._options.address.path, self._made, None
        if made is not None and path_identity(path) == made:
            os.unlink(path)


class _Opened:
    """What there is while a gate is open.

    Args:
        made: The ROUTER.
        client_keys: Whose secret key a client must have; None: it is not asked.
    """

    def __init__(self, zmq: Any, made: Any, server: PeerServer, client_keys: frozenset[bytes] | None) -> None:
        self.server = server
        self._zmq, self._socket, self._context = zmq, made, made.context
        self._counts = Counts()
        self._doorkeeper = None if client_keys is None else Doorkeeper(zmq, self._context, client_keys)
        self._router = Router(zmq, made, server.accept, self._counts)
        self._endpoint = ""

    def listen(self, bound: socket.socket, address: Address) -> None:
        """Begin at a socket that listens; it is ZeroMQ's from now on."""
        place = address.path or bound.getsockname()
        endpoint = f"ipc://{place}" if address.path else str(replace(address, scheme="tcp", host=place[0]))
        self._socket.setsockopt(self._zmq.USE_FD, bound.fileno())
        self._socket.bind(endpoint)
        bound.detach()
        # As ZeroMQ knows it: of a path, the one where it was made.
        self._endpoint = self._socket.getsockopt(self._zmq.LAST_ENDPOINT).rstrip(b"\0").decode()

    def facts(self) -> dict[str, str]:
        """Return what `doctor` prints."""
        return self._counts.facts(self._zmq.zmq_version())

    def stop_listening(self) -> None:
        """Take no more connections."""
        if self._endpoint:
            self._socket.unbind(self._endpoint)

    async def close(self, drain_s: float) -> None:
        """Let clients finish, say last words, and close everything."""
        await self.server.close(drain_s)
        await self._router.finish(ZMQ_LINGER_S)
        self._router.end()
        if self._doorkeeper is not None:
            self._doorkeeper.end()
        self._socket.close()
        await Retired(self._context).wait()
        _log.info("left %s; %s", self._endpoint, self._counts)


async def _bind(address: Address) -> socket.socket:
    """Return a socket that listens. ZeroMQ would take the path of a server that lives, and open it to everybody.

    Raises:
        OSError: That cannot be done.
    """
    if address.path:
        bound = bind_path(address.path)
    else:
        loop = asyncio.get_running_loop()
        family, _, _, _, place = (
            await loop.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        )[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(place)
        except BaseException:
            bound.close()
            raise
        bound.setblocking(False)
    bound.listen(_BACKLOG)
    return bound
