"""What a connection gives two programs that know each other: a bare uvloop Protocol at both ends, each a process.

The work is that of the figures, less everything that makes it a messaging library: a body is encoded and decoded as
there, a frame is its length and the body, answers come in the order of the questions. Each question and each answer is
a write of its own, as it is for a program that has one at a time; one way, many messages share a write.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import msgspec
import uvloop

from .asking import check_answer, until_told
from .orders import Order, Tally, make_orders
from .processes import SILENCE_S_MAX, Channel
from .report import MeasurementFailed

HOST = "127.0.0.1"

#: Messages in one write, one way.
WRITE_MESSAGES = 100

_LENGTH = struct.Struct(">I")
_NS_PER_S = 1_000_000_000
_NS_PER_US = 1000


def answer(channel: Channel, port: int) -> None:
    """Say the port, and answer each order with itself until told to end."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Answerer, HOST, port)
        async with server:
            channel.say(server.sockets[0].getsockname()[1])
            await until_told(channel)

    uvloop.run(main())


def ask_in_turn(channel: Channel, port: int, total: int) -> None:
    """Ask one question after another; say what each took, in µs."""
    times_ns = _asked(channel, port, total, in_flight=1)
    channel.say([(end - start) / _NS_PER_US for start, end in pairwise(times_ns)])


def ask_together(channel: Channel, port: int, total: int, in_flight: int) -> None:
    """Keep `in_flight` questions under way; say the round trips per second."""
    times_ns = _asked(channel, port, total, in_flight)
    channel.say(total * _NS_PER_S / (times_ns[-1] - times_ns[0]))


def take(channel: Channel, port: int, total: int) -> None:
    """Say the port, take all orders, say when the last one was there, in ns, and stay until told to end."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        taker = _Taker(total, loop.create_future())
        async with await loop.create_server(lambda: taker, HOST, port) as server:
            channel.say(server.sockets[0].getsockname()[1])
            async with asyncio.timeout(SILENCE_S_MAX):
                taken_ns = await taker.taken_ns
            taker.tally.check(total)
            channel.say(taken_ns)
            await until_told(channel)

    uvloop.run(main())


def tell(channel: Channel, port: int, total: int) -> None:
    """Send all orders, many with one write; say when the first one began, in ns."""
    encode = msgspec.json.Encoder().encode

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, teller = await loop.create_connection(_Teller, HOST, port)
        orders = make_orders(0, total)
        channel.ready()
        channel.say(time.monotonic_ns())
        for first in range(0, total, WRITE_MESSAGES):
            transport.write(_framed([encode(order) for order in orders[first : first + WRITE_MESSAGES]]))
            await teller.room.wait()
        transport.close()
        await teller.closed.wait()

    uvloop.run(main())


class _Framed(asyncio.Protocol):
    """Cuts what arrives into bodies."""

    def __init__(self) -> None:
        self._rest = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # which uvloop's is, but does not inherit from

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        start, end = 0, len(data)
        bodies = []
        while start + _LENGTH.size <= end:
            (size,) = _LENGTH.unpack_from(data, start)
            stop = start + _LENGTH.size + size
            if stop > end:
                break
            bodies.append(data[start + _LENGTH.size : stop])
            start = stop
        self._rest = data[start:]
        self.handle(bodies)

    def handle(self, bodies: Sequence[bytes]) -> None:
        """Do what this end does with what came together."""
        raise NotImplementedError


class _Answerer(_Framed):
    def __init__(self) -> None:
        super().__init__()
        self._decode = msgspec.json.Decoder(Order).decode
        self._encode = msgspec.json.Encoder().encode

    def handle(self, bodies: Sequence[bytes]) -> None:
        write, encode, decode, pack = self.transport.write, self._encode, self._decode, _LENGTH.pack
        for body in bodies:
            answered = encode(decode(body))
            write(pack(len(answered)) + answered)


class _Asker(_Framed):
    """Keeps questions under way; the start and each arrival of answers is a time."""

    def __init__(self, orders: Sequence[Order], done: asyncio.Future[None]) -> None:
        super().__init__()
        self._total = len(orders)
        self._orders = iter(orders)
        self._answered = 0
        self._done = done
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(Order).decode
        self.times_ns: list[int] = []

    def start(self, in_flight: int) -> None:
        """Ask the first questions."""
        self.times_ns.append(time.perf_counter_ns())
        for _ in range(in_flight):
            self._ask()

    def handle(self, bodies: Sequence[bytes]) -> None:
        for body in bodies:
            check_answer(self._answered, self._decode(body))
            self._answered += 1
            self._ask()
        self.times_ns.append(time.perf_counter_ns())
        if self._answered == self._total:
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(MeasurementFailed(f"the connection ended early: {exc}"))

    def _ask(self) -> None:
        order = next(self._orders, None)
        if order is not None:
            body = self._encode(order)
            self.transport.write(_LENGTH.pack(len(body)) + body)


class _Taker(_Framed):
    def __init__(self, total: int, taken_ns: asyncio.Future[int]) -> None:
        super().__init__()
        self._total = total
        self._decode = msgspec.json.Decoder(Order).decode
        self.taken_ns = taken_ns
        self.tally = Tally()

    def handle(self, bodies: Sequence[bytes]) -> None:
        for body in bodies:
            self.tally.add(self._decode(body))
        if self.tally.count >= self._total and not self.taken_ns.done():
            self.taken_ns.set_result(time.monotonic_ns())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.taken_ns.done():
            self.taken_ns.set_exception(MeasurementFailed(f"{self.tally.count:,} orders came: {exc}"))


class _Teller(asyncio.Protocol):
    """Knows when there is room to write."""

    def __init__(self) -> None:
        self.room, self.closed = asyncio.Event(), asyncio.Event()
        self.room.set()

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.room.set()
        self.closed.set()


def _asked(channel: Channel, port: int, total: int, in_flight: int) -> list[int]:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        orders = make_orders(0, total)
        transport, asker = await loop.create_connection(lambda: _Asker(orders, done), HOST, port)
        channel.ready()
        asker.start(in_flight)
        async with asyncio.timeout(SILENCE_S_MAX):
            await done
        transport.close()
        return asker.times_ns

    return uvloop.run(main())


def _framed(bodies: Sequence[bytes]) -> bytes:
    pack = _LENGTH.pack
    return b"".join([part for body in bodies for part in (pack(len(body)), body)])
