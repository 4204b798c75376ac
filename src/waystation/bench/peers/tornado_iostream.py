"""Tornado's IOStream, a line for each message."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import add_accept_handler, bind_sockets
from tornado.tcpclient import TCPClient

from .parts import Answer, AsyncParts, Pipe, Take, Tell

HOST = "127.0.0.1"


class TornadoEnds:
    """What a service looks like that is written straight on IOStreams."""

    @asynccontextmanager
    async def answering(self, answer: Answer, port: int) -> AsyncIterator[int]:
        """Answer questions; gives the port."""

        async def serve(stream: Any) -> None:
            while True:
                line = await stream.read_until(b"\n")
                await stream.write(answer(line) + b"\n")

        with _Listener(serve, port) as own:
            yield own

    @asynccontextmanager
    async def taking(self, take: Take, port: int) -> AsyncIterator[int]:
        """Take what is sent; gives the port."""

        async def serve(stream: Any) -> None:
            while True:
                take(await stream.read_until(b"\n"))

        with _Listener(serve, port) as own:
            yield own

    @asynccontextmanager
    async def asking(self, port: int) -> AsyncIterator[Pipe]:
        """Connect in order to ask."""
        stream = await _connected(port)
        yield _Lines(stream)
        stream.close()

    @asynccontextmanager
    async def telling(self, port: int) -> AsyncIterator[Tell]:
        """Connect in order to tell."""
        stream = await _connected(port)

        async def tell(bodies: Iterable[bytes]) -> None:
            for body in bodies:
                await stream.write(body + b"\n")

        yield tell
        stream.close()


class _Lines:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def send(self, body: bytes, /) -> None:
        await self._stream.write(body + b"\n")

    async def receive(self) -> bytes:
        line: bytes = await self._stream.read_until(b"\n")
        return line


class _Listener:
    """Serves each connection in a task of its own; a context manager that gives the port."""

    def __init__(self, serve: Callable[[Any], Awaitable[None]], port: int) -> None:
        self._serve, self._port = serve, port
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> int:
        (self._socket,) = bind_sockets(self._port, HOST)
        self._stop: Callable[[], None] = add_accept_handler(self._socket, self._accept)
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._socket.close()
        for task in self._tasks:
            task.cancel()

    def _accept(self, connection: socket.socket, address: object) -> None:
        task = asyncio.create_task(self._until_closed(IOStream(connection)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_closed(self, stream: Any) -> None:
        stream.set_nodelay(True)
        try:
            await self._serve(stream)
        except StreamClosedError:
            pass


async def _connected(port: int) -> Any:
    stream = await TCPClient().connect(HOST, port)
    stream.set_nodelay(True)
    return stream


PARTS = AsyncParts(TornadoEnds())
