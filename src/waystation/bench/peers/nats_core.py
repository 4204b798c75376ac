"""nats-py's core: subjects on a server between the two ends, nothing kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import nats
import uvloop

from ..processes import SILENCE_S_MAX
from .parts import Answer, Ask, AsyncParts, Take, Tell

ASK, TELL = "bench.ask", "bench.tell"


class NatsEnds:
    """Clients of a server; `port` is the server's at both ends."""

    @asynccontextmanager
    async def answering(self, answer: Answer, port: int) -> AsyncIterator[int]:
        """Answer questions; gives the port."""

        async def handle(message: Any) -> None:
            await message.respond(answer(message.data))

        async with _subscribed(ASK, handle, port):
            yield port

    @asynccontextmanager
    async def taking(self, take: Take, port: int) -> AsyncIterator[int]:
        """Take what is sent; gives the port."""

        async def handle(message: Any) -> None:
            take(message.data)

        async with _subscribed(TELL, handle, port):
            yield port

    @asynccontextmanager
    async def asking(self, port: int) -> AsyncIterator[Ask]:
        """Connect in order to ask."""
        async with _connected(port) as client:

            async def ask(body: bytes) -> bytes:
                message = await client.request(ASK, body, timeout=SILENCE_S_MAX)
                answered: bytes = message.data
                return answered

            yield ask

    @asynccontextmanager
    async def telling(self, port: int) -> AsyncIterator[Tell]:
        """Connect in order to tell."""
        async with _connected(port) as client:

            async def tell(bodies: Iterable[bytes]) -> None:
                for body in bodies:
                    await client.publish(TELL, body)
                await client.flush()

            yield tell


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[Any]:
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    yield client
    await client.close()


@asynccontextmanager
async def _subscribed(subject: str, handle: Any, port: int) -> AsyncIterator[None]:
    async with _connected(port) as client:
        # Without bounds of its own, so that a client that is slow loses nothing.
        await client.subscribe(subject, cb=handle, pending_msgs_limit=0, pending_bytes_limit=0)
        await client.flush()
        yield


PARTS = AsyncParts(NatsEnds(), uvloop.run)
