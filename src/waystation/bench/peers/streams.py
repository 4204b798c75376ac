"""Two ends with asyncio's streams: a line for each message, as JSON has no line breaks of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from .parts import Answer, Pipe, Take, Tell

HOST = "127.0.0.1"

#: Messages written between two waits for room.
DRAIN_MESSAGES = 100


class StreamEnds:
    """What a service looks like that is written straight on streams."""

    @asynccontextmanager
    async def answering(self, answer: Answer, port: int) -> AsyncIterator[int]:
        """Answer questions; gives the port."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(answer(line) + b"\n")
                await writer.drain()

        async with _listening(serve, port) as own:
            yield own

    @asynccontextmanager
    async def taking(self, take: Take, port: int) -> AsyncIterator[int]:
        """Take what is sent; gives the port."""

        async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                take(line)

        async with _listening(serve, port) as own:
            yield own

    @asynccontextmanager
    async def asking(self, port: int) -> AsyncIterator[Pipe]:
        """Connect in order to ask."""
        reader, writer = await asyncio.open_connection(HOST, port)
        yield _Lines(reader, writer)
        writer.close()
        await writer.wait_closed()

    @asynccontextmanager
    async def telling(self, port: int) -> AsyncIterator[Tell]:
        """Connect in order to tell."""
        _reader, writer = await asyncio.open_connection(HOST, port)

        async def tell(bodies: Iterable[bytes]) -> None:
            for number, body in enumerate(bodies):
                writer.write(body + b"\n")
                if number % DRAIN_MESSAGES == 0:
                    await writer.drain()

        yield tell
        writer.close()
        await writer.wait_closed()


class _Lines:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, body: bytes, /) -> None:
        self._writer.write(body + b"\n")
        await self._writer.drain()

    async def receive(self) -> bytes:
        return await self._reader.readline()


@asynccontextmanager
async def _listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], port: int
) -> AsyncIterator[int]:
    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()

    async with await asyncio.start_server(until_closed, HOST, port) as server:
        yield server.sockets[0].getsockname()[1]
