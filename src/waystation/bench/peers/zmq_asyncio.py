"""pyzmq's asyncio face: DEALER and ROUTER for questions, PUSH and PULL one way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import uvloop
import zmq
from zmq.asyncio import Context

from .parts import Answer, AsyncParts, Pipe, Take, Tell

ADDRESS = "tcp://127.0.0.1"


class ZmqEnds:
    """Sockets of one context, closed with it."""

    @asynccontextmanager
    async def answering(self, answer: Answer, port: int) -> AsyncIterator[int]:
        """Answer questions; gives the port."""
        async with _socket(zmq.ROUTER) as socket:

            async def serve() -> None:
                while True:
                    peer, body = await socket.recv_multipart()
                    await socket.send_multipart([peer, answer(body)])

            async with _bound(socket, serve()) as own:
                yield own

    @asynccontextmanager
    async def taking(self, take: Take, port: int) -> AsyncIterator[int]:
        """Take what is sent; gives the port."""
        async with _socket(zmq.PULL) as socket:

            async def serve() -> None:
                while True:
                    take(await socket.recv())

            async with _bound(socket, serve()) as own:
                yield own

    @asynccontextmanager
    async def asking(self, port: int) -> AsyncIterator[Pipe]:
        """Connect in order to ask."""
        async with _socket(zmq.DEALER) as socket:
            socket.connect(f"{ADDRESS}:{port}")
            yield _Pipe(socket)

    @asynccontextmanager
    async def telling(self, port: int) -> AsyncIterator[Tell]:
        """Connect in order to tell."""
        async with _socket(zmq.PUSH) as socket:
            socket.connect(f"{ADDRESS}:{port}")

            async def tell(bodies: Iterable[bytes]) -> None:
                for body in bodies:
                    await socket.send(body)

            yield tell


class _Pipe:
    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def send(self, body: bytes, /) -> None:
        await self._socket.send(body)

    async def receive(self) -> bytes:
        body: bytes = await self._socket.recv()
        return body


@asynccontextmanager
async def _socket(kind: int) -> AsyncIterator[Any]:
    with Context() as context, context.socket(kind) as socket:
        yield socket


@asynccontextmanager
async def _bound(socket: Any, serving: Any) -> AsyncIterator[int]:
    port = socket.bind_to_random_port(ADDRESS)
    task = asyncio.create_task(serving)
    yield port
    task.cancel()
    await asyncio.wait([task])


PARTS = AsyncParts(ZmqEnds(), uvloop.run)
