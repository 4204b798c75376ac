"""A TCP proxy that is bad on purpose: it cuts, delays, halves, swallows, and says so by counting.

`up` is what clients say to the server, `down` what the server says to them. Bytes are counted over all connections
together, so that a cut after byte k of a run is the same place whatever connection it falls on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, cast

Way = Literal["up", "down"]
WAYS: tuple[Way, ...] = ("up", "down")


@dataclass
class Proxy:
    """What is done to the bytes; may be changed at any time.

    Attributes:
        url: Where clients connect.
        cut_at: By way, after how many bytes both ends of the connection are cut off. Each cut happens once.
        delay_s: How much later everything arrives.
        halved: Whether everything arrives in two pieces.
        swallows: Ways on which everything vanishes while the connection stays: a half-open connection has both.
        refuses: Whether connections are closed as soon as they are made.
        deaf: How many of the next connections are made, and then swallow everything.
        passed: Bytes so far, by way.
        connections: How many there have been.
        cuts: How many cuts there have been.
    """

    url: str = ""
    cut_at: dict[Way, int] = field(default_factory=dict)
    delay_s: float = 0.0
    halved: bool = False
    swallows: set[Way] = field(default_factory=set)
    refuses: bool = False
    deaf: int = 0
    passed: dict[Way, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    connections: int = 0
    cuts: int = 0
    on_bytes: Callable[[], None] = lambda: None
    _open: set[_Pair] = field(default_factory=set)

    def cut(self) -> None:
        """Cut every connection off, now."""
        for pair in list(self._open):
            pair.cut()

    def allowed(self, way: Way, size: int) -> int:
        """Say how many of the next bytes still get through; fewer than all of them: then the cut comes."""
        limit = self.cut_at.get(way)
        room = size if limit is None else max(0, min(size, limit - self.passed[way]))
        self.passed[way] += room
        if limit is not None and self.passed[way] >= limit:
            del self.cut_at[way]
            return room
        return -1


class _Pair:
    """One connection of a client, and the one to the server that goes with it."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self.proxy, self.host, self.port = proxy, host, port
        self.ends: dict[Way, _End] = {"up": _End(self, "up"), "down": _End(self, "down")}
        self.early: list[bytes] = []
        self.task: asyncio.Task[None] | None = None
        self.is_deaf = False

    async def connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: self.ends["down"], self.host, self.port
            )
        except OSError:
            self.cut()
            return
        for data in self.early:
            self.write("up", data)
        self.early.clear()

    def pass_on(self, way: Way, data: bytes) -> None:
        proxy = self.proxy
        if way in proxy.swallows or self.is_deaf:
            return
        allowed = proxy.allowed(way, len(data))
        for piece in _pieces(data if allowed < 0 else data[:allowed], halved=proxy.halved):
            if proxy.delay_s:
                asyncio.get_running_loop().call_later(proxy.delay_s, self.write, way, piece)
            else:
                self.write(way, piece)
        if allowed >= 0:
            proxy.cuts += 1
            self.cut()
        proxy.on_bytes()

    def write(self, way: Way, data: bytes) -> None:
        """Write what goes this way: to the other end than it came from."""
        transport = self.ends["down" if way == "up" else "up"].transport
        if transport is None:
            self.early.append(data)
        elif not transport.is_closing():
            transport.write(data)

    def cut(self) -> None:
        """End both connections; what was written before still arrives."""
        self.proxy._open.discard(self)
        for end in self.ends.values():
            if end.transport is not None:
                end.transport.close()


class _End(asyncio.Protocol):
    """One socket; what it reads goes `way`."""

    def __init__(self, pair: _Pair, way: Way) -> None:
        self.pair, self.way = pair, way
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        proxy = self.pair.proxy
        if self.way == "up":
            proxy.connections += 1
            proxy._open.add(self.pair)
            if proxy.refuses:
                self.pair.cut()
                return
            if proxy.deaf:
                proxy.deaf -= 1
                self.pair.is_deaf = True
            self.pair.task = asyncio.get_running_loop().create_task(self.pair.connect())
        elif self.pair not in proxy._open:
            transport.close()

    def data_received(self, data: bytes) -> None:
        self.pair.pass_on(self.way, data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.pair.proxy.swallows:
            self.pair.cut()

    def pause_writing(self) -> None:
        """The reader of this socket is slow: so is the other end."""
        self._other_reads(False)

    def resume_writing(self) -> None:
        self._other_reads(True)

    def _other_reads(self, reads: bool) -> None:
        other = self.pair.ends["down" if self.way == "up" else "up"].transport
        if other is not None and not other.is_closing():
            (other.resume_reading if reads else other.pause_reading)()


def _pieces(data: bytes, *, halved: bool) -> list[bytes]:
    middle = len(data) // 2
    return [data[:middle], data[middle:]] if halved and middle else [data] if data else []


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """A proxy before the server at `tcp://host:port`."""
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    proxy = Proxy()
    pairs: list[_Pair] = []

    def accept() -> _End:
        pairs.append(_Pair(proxy, host, int(port)))
        return pairs[-1].ends["up"]

    listener = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    proxy.url = f"tcp://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        listener.close()
        for pair in pairs:
            pair.cut()
        tasks = [pair.task for pair in pairs if pair.task is not None]
        if tasks:
            await asyncio.wait(tasks)
        await listener.wait_closed()
