"""Somebody who speaks the protocol byte by byte, and so can say what no client of ours would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from waystation._wire.connection import Connection
from waystation._wire.frames import PROTOCOL, VERSIONS, Bye, Frame, Hello, Ping, Pong, Welcome
from waystation._wire.states import Role

from .stand import PATIENCE_S

F = TypeVar("F", bound=Frame)


class Stranger:
    """One connection. What it hears is kept until somebody looks for it.

    Attributes:
        welcome: What the server said to it.
        heard: What it has heard and nobody has looked at.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.wire = Connection(Role.CLIENT)
        self.heard: list[Frame] = []
        self.welcome: Welcome | None = None

    def say(self, *frames: Frame) -> None:
        """Say something; what is large in all its parts."""
        for frame in frames:
            said = self.wire.say(frame)
            self.writer.writelines([said] if isinstance(said, bytes) else said)

    def say_bytes(self, data: bytes) -> None:
        """Say whatever it is."""
        self.writer.write(data)

    async def hear(self, kind: type[F]) -> F:
        """Wait for a frame of a kind; pings are answered, others kept."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for frame in self.heard:
                    if isinstance(frame, kind):
                        self.heard.remove(frame)
                        return frame
                data = await self.reader.read(1 << 16)
                if not data:
                    raise ConnectionResetError(f"the server hung up; before that it said {self.heard}")
                for frame in self.wire.received(data):
                    if isinstance(frame, Ping):
                        self.say(Pong(frame.number))
                    else:
                        self.heard.append(frame)

    async def greet(self, **fields: Any) -> Welcome:
        """Say hello, and be welcomed."""
        self.say(hello(**fields))
        self.welcome = await self.hear(Welcome)
        return self.welcome

    async def sent_away(self) -> Bye:
        """Wait until the server has said why it ends this, and has hung up."""
        bye = await self.hear(Bye)
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await self.reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass
        return bye

    async def hung_up_on(self) -> None:
        """Wait until the server has hung up, whatever it said before."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await self.reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass

    def close(self) -> None:
        """Hang up without a word."""
        self.writer.transport.abort()


def hello(
    token: str = "", session: bytes = b"", host: str = "elsewhere", pid: int = 1, **fields: Any
) -> Hello:
    """A greeting with these fields in it."""
    return Hello(PROTOCOL, VERSIONS, host=host, pid=pid, token=token, session=session, **fields)


@asynccontextmanager
async def stranger(url: str) -> AsyncIterator[Stranger]:
    """A connection to a server at `tcp://host:port`, not greeted yet."""
    async with strangers(url, 1) as (found,):
        yield found


@asynccontextmanager
async def strangers(url: str, count: int) -> AsyncIterator[list[Stranger]]:
    """Many of them."""
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    made: list[Stranger] = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(host, int(port))
            made.append(Stranger(reader, writer))
        yield made
    finally:
        for each in made:
            each.close()
