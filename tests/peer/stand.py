"""A served transport, with times short enough for a test, and clients of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from waystation._core.ports import Transport
from waystation._core.url import parse_url
from waystation._peer.remote import RemoteTransport
from waystation._peer.server import PeerServer, Policy
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation.transports.memory.transport import MemoryTransport

#: How long anything may take that must happen, in seconds.
PATIENCE_S = 10.0


@dataclass
class Stand:
    """A server at work.

    Attributes:
        inner: What is served.
        url: Where.
    """

    inner: Transport
    server: PeerServer
    url: str


@asynccontextmanager
async def serving(
    inner: Transport | None = None, policy: Policy | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Stand]:
    """Serve a transport, by default a memory, on a port of the system's choice."""
    transport = MemoryTransport(SystemClock()) if inner is None else inner
    await transport.open()
    server = PeerServer(transport, policy or Policy(), name="stand")
    listener = await asyncio.get_running_loop().create_server(server.accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield Stand(transport, server, f"tcp://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    finally:
        listener.close()
        await server.close(1.0)
        await listener.wait_closed()
        await transport.close()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[RemoteTransport]:
    """An open client."""
    made = find_transport(parse_url(url), clock=SystemClock())
    assert isinstance(made, RemoteTransport)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


async def until(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until something is so."""
    try:
        async with asyncio.timeout(patience_s):
            while not condition():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None
