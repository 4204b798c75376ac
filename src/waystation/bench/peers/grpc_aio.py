"""grpc.aio: a unary call for each question, one stream of messages one way. Bodies are ours, so no generated code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import uvloop
from grpc import aio

from ..processes import EXIT_S_MAX
from .parts import Answer, Ask, AsyncParts, Take, Tell

HOST = "127.0.0.1"
SERVICE = "bench.Orders"


class GrpcEnds:
    """A service with two methods, and its stubs."""

    @asynccontextmanager
    async def answering(self, answer: Answer, port: int) -> AsyncIterator[int]:
        """Answer questions; gives the port."""

        async def ask(body: bytes, _context: Any) -> bytes:
            return answer(body)

        async with _serving({"Ask": grpc.unary_unary_rpc_method_handler(ask)}, port) as own:
            yield own

    @asynccontextmanager
    async def taking(self, take: Take, port: int) -> AsyncIterator[int]:
        """Take what is sent; gives the port."""

        async def tell(bodies: AsyncIterator[bytes], _context: Any) -> bytes:
            async for body in bodies:
                take(body)
            return b""

        async with _serving({"Tell": grpc.stream_unary_rpc_method_handler(tell)}, port) as own:
            yield own

    @asynccontextmanager
    async def asking(self, port: int) -> AsyncIterator[Ask]:
        """Connect in order to ask."""
        async with aio.insecure_channel(f"{HOST}:{port}") as connection:
            await connection.channel_ready()
            call = connection.unary_unary(f"/{SERVICE}/Ask")

            async def ask(body: bytes) -> bytes:
                answered: bytes = await call(body)
                return answered

            yield ask

    @asynccontextmanager
    async def telling(self, port: int) -> AsyncIterator[Tell]:
        """Connect in order to tell."""
        async with aio.insecure_channel(f"{HOST}:{port}") as connection:
            await connection.channel_ready()
            call = connection.stream_unary(f"/{SERVICE}/Tell")()

            async def tell(bodies: Iterable[bytes]) -> None:
                for body in bodies:
                    await call.write(body)
                await call.done_writing()
                await call

            yield tell


@asynccontextmanager
async def _serving(methods: dict[str, Any], port: int) -> AsyncIterator[int]:
    server = aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    own = server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    yield own
    await server.stop(EXIT_S_MAX)


PARTS = AsyncParts(GrpcEnds(), uvloop.run)
