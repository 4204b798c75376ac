"""Answers to health probes over HTTP/1.1: `GET /live` and `GET /ready`, and nothing else.

200 if it is so, else 503, with `Health` as JSON either way. One request a connection, a few connections at once, a few
seconds and bytes for each: whoever can reach the port can learn the state, and do no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import msgspec

from .._core.errors import ConfigurationError
from .._core.limits import HEALTH_CONNECTIONS_MAX, HEALTH_REQUEST_BYTES_MAX, HEALTH_REQUEST_S
from .._core.liveness import Health
from .._core.ports import Clock

Probe = Callable[[], Awaitable[Health]]
"""Finds out how things are now."""

_log = logging.getLogger("waystation.health")


@asynccontextmanager
async def answering(host: str, port: int, probe: Probe, *, clock: Clock) -> AsyncIterator[int]:
    """Answer on an address until the block ends; yields the port, which the system chooses if it is 0.

    Raises:
        ConfigurationError: Nobody can listen there: it is taken, forbidden, or not this machine's.
    """
    responder = _Responder(probe, clock)
    try:
        server = await asyncio.start_server(responder.connected, host, port, limit=HEALTH_REQUEST_BYTES_MAX)
    except OSError as error:
        raise ConfigurationError(f"health cannot be asked at {host}:{port}: {error}") from error
    bound = server.sockets[0].getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    _log.info("health: http://%s:%d/ready and /live", shown, bound)
    try:
        yield bound
    finally:
        server.close()
        await responder.close()


async def ask(host: str, port: int) -> Health:
    """Ask a process that answers as above. Whatever goes wrong is an answer too."""
    try:
        async with asyncio.timeout(HEALTH_REQUEST_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET /ready HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                _, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
        return msgspec.json.decode(body, type=Health)
    except TimeoutError:
        return Health(
            live=False,
            ready=False,
            reasons=(f"it has not answered for {HEALTH_REQUEST_S:g} s: its loop is stuck",),
        )
    except (OSError, msgspec.DecodeError):
        return Health(live=True, ready=False, reasons=("it does not answer: it is starting, or ending",))


class _Responder:
    """Serves connections."""

    def __init__(self, probe: Probe, clock: Clock) -> None:
        self._probe, self._clock = probe, clock
        self._tasks: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection, unless there are too many."""
        if len(self._tasks) >= HEALTH_CONNECTIONS_MAX:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer), name="waystation health")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Hang up on everybody."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a request, answer it, hang up."""
        timer = self._clock.call_later(HEALTH_REQUEST_S, writer.transport.abort)
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            writer.write(await self._answer(request))
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # it asked nothing, too much, or hung up
        finally:
            timer.cancel()
            writer.close()

    async def _answer(self, request: bytes) -> bytes:
        method, _, rest = request.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, b"{}", head=False)
        if path not in (b"/live", b"/ready"):
            return _response(HTTPStatus.NOT_FOUND, b'{"paths":["/live","/ready"]}', head=method == b"HEAD")
        health = await self._probe()
        well = health.live if path == b"/live" else health.ready
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        return _response(status, msgspec.json.encode(health), head=method == b"HEAD")


def _response(status: HTTPStatus, body: bytes, *, head: bool) -> bytes:
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if head else body)
