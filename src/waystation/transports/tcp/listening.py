"""`SocketGate`: serves a transport on a TCP or Unix socket."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

from ..._core.errors import ConfigurationError
from ..._core.limits import DRAIN_S, GREETING_S
from ..._core.ports import Transport
from ..._peer.server import PeerServer, Policy
from ..._peer.sockets import bind_path, path_identity, room_for_peers, why_not_listening
from .options import ListenOptions

#: Connections that the kernel keeps until they are accepted.
_BACKLOG = 1024


class SocketGate:
    """One listening socket, and the server behind it. May be opened again after it was closed."""

    def __init__(self, options: ListenOptions) -> None:
        self._options = options
        self._server: PeerServer | None = None
        self._listener: asyncio.Server | None = None
        self._address = options.address
        self._made: tuple[int, int] | None = None  # which file our socket is

    @property
    def address(self) -> str:
        """Where it listens, as a URL for clients on this machine; of port 0, the port that it got."""
        return str(self._address)

    @property
    def peers(self) -> int:
        """How many clients are connected."""
        return 0 if self._server is None else self._server.peers

    def facts(self) -> dict[str, str]:
        """Return what `doctor` prints: how many clients there are."""
        return {"clients": str(self.peers)}

    async def open(self, transport: Transport) -> None:
        """Begin to serve a transport that is open.

        Raises:
            ConfigurationError: Nobody can listen at this address.
        """
        peers_max, strangers_max = room_for_peers()
        policy = Policy(
            tokens=self._options.tokens,
            heartbeat_s=self._options.heartbeat_s,
            busy_poll=self._options.busy_poll,
            peers_max=peers_max,
            strangers_max=strangers_max,
        )
        server = PeerServer(transport, policy, name="waystation", facts=self.facts)
        try:
            self._listener = await self._listen(server)
        except OSError as error:
            await server.close(0.0)
            raise ConfigurationError(
                f"nobody can listen at {self._options.address}: {why_not_listening(error)}"
            ) from None
        self._server = server

    async def close(self, drain_s: float = DRAIN_S) -> None:
        """Take no more connections, let clients finish what is under way, and leave. May be called twice."""
        listener, self._listener = self._listener, None
        server, self._server = self._server, None
        if listener is not None:
            listener.close()
            self._remove_path()  # now: in a moment another server may have its own there
        if server is not None:
            await server.close(drain_s)
        if listener is not None:
            await listener.wait_closed()

    async def _listen(self, server: PeerServer) -> asyncio.Server:
        loop, address, tls = asyncio.get_running_loop(), self._options.address, self._options.tls
        wait_s = None if tls is None else GREETING_S
        if address.path:
            bound = bind_path(address.path)
            self._made = path_identity(address.path)
            return await loop.create_unix_server(
                server.accept,
                sock=bound,
                ssl=tls,
                backlog=_BACKLOG,
                ssl_handshake_timeout=wait_s,
                ssl_shutdown_timeout=wait_s,
            )
        listener = await loop.create_server(
            server.accept,
            address.host,
            address.port,
            ssl=tls,
            backlog=_BACKLOG,
            ssl_handshake_timeout=wait_s,
            ssl_shutdown_timeout=wait_s,
        )
        port = listener.sockets[0].getsockname()[1]
        self._address = replace(address, port=port)
        return listener

    def _remove_path(self) -> None:
        """Remove the socket's file, if it is still ours."""
        path, made, self._made = self._options.address.path, self._made, None
        if made is not None and path_identity(path) == made:
            os.unlink(path)
