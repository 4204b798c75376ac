"""The parts that a peer plays, each in a process: answer or ask, take or tell. Orders are encoded and decoded here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from .. import asking
from ..orders import Order, Tally, make_orders
from ..processes import SILENCE_S_MAX, Channel

#: Takes a question's bytes and returns the answer's.
Answer = Callable[[bytes], bytes]
Take = Callable[[bytes], None]
Ask = Callable[[bytes], Awaitable[bytes]]
Tell = Callable[[Iterable[bytes]], Awaitable[None]]

_NS_PER_S = 1_000_000_000


class Parts(Protocol):
    """What a process can play. `port` is that of a broker, or of the other end; 0 for any that is free."""

    def answer(self, channel: Channel, port: int) -> None:
        """Say the port, and answer each order with itself until told to end."""
        ...

    def ask_in_turn(self, channel: Channel, port: int, total: int) -> None:
        """Ask one question after another; say what each took, in µs."""
        ...

    def ask_together(self, channel: Channel, port: int, total: int, in_flight: int) -> None:
        """Keep `in_flight` questions under way; say the round trips per second."""
        ...

    def take(self, channel: Channel, port: int, total: int) -> None:
        """Say the port, take all orders, say when the last one was there, in ns, and stay until told to end."""
        ...

    def tell(self, channel: Channel, port: int, total: int) -> None:
        """Send all orders; say when the first one began, in ns."""
        ...


class Pipe(Protocol):
    """A connection on which answers come in the order of the questions."""

    async def send(self, body: bytes, /) -> None:
        """Send a question."""
        ...

    async def receive(self) -> bytes:
        """Return the next answer."""
        ...


class Ends(Protocol):
    """A library that runs in an event loop, as a user of it would write its two ends."""

    def answering(self, answer: Answer, port: int) -> AbstractAsyncContextManager[int]:
        """Answer questions; gives the port."""
        ...

    def taking(self, take: Take, port: int) -> AbstractAsyncContextManager[int]:
        """Take what is sent; gives the port."""
        ...

    def asking(self, port: int) -> AbstractAsyncContextManager[Ask | Pipe]:
        """Connect in order to ask: by a call for each question, or by a pipe where that is faster."""
        ...

    def telling(self, port: int) -> AbstractAsyncContextManager[Tell]:
        """Connect in order to tell."""
        ...


class AsyncParts:
    """The parts of a library that runs in an event loop.

    Args:
        run: Runs a coroutine on the loop with which the library is fastest.
    """

    def __init__(self, ends: Ends, run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run) -> None:
        self._ends = ends
        self._run = run

    def answer(self, channel: Channel, port: int) -> None:
        """Say the port, and answer each order with itself until told to end."""
        self._run(self._answer(channel, port))

    def ask_in_turn(self, channel: Channel, port: int, total: int) -> None:
        """Ask one question after another; say what each took, in µs."""
        self._run(self._ask_in_turn(channel, port, total))

    def ask_together(self, channel: Channel, port: int, total: int, in_flight: int) -> None:
        """Keep `in_flight` questions under way; say the round trips per second."""
        self._run(self._ask_together(channel, port, total, in_flight))

    def take(self, channel: Channel, port: int, total: int) -> None:
        """Say the port, take all orders, say when the last one was there, in ns, and stay until told to end."""
        self._run(self._take(channel, port, total))

    def tell(self, channel: Channel, port: int, total: int) -> None:
        """Send all orders; say when the first one began, in ns."""
        self._run(self._tell(channel, port, total))

    async def _answer(self, channel: Channel, port: int) -> None:
        async with self._ends.answering(answerer(), port) as own:
            channel.say(own)
            await asking.until_told(channel)

    async def _ask_in_turn(self, channel: Channel, port: int, total: int) -> None:
        async with self._ends.asking(port) as connection:
            channel.ready()
            channel.say(await asking.ask_in_turn(_typed(connection), total))

    async def _ask_together(self, channel: Channel, port: int, total: int, in_flight: int) -> None:
        async with self._ends.asking(port) as connection:
            channel.ready()
            if callable(connection):
                channel.say(await asking.ask_together(_typed(connection), total, in_flight))
                return
            await _keep_asking(connection, make_orders(0, asking.WARM_UP_COUNT), in_flight)
            orders = make_orders(0, total)
            started_ns = time.perf_counter_ns()
            await _keep_asking(connection, orders, in_flight)
            channel.say(total * _NS_PER_S / (time.perf_counter_ns() - started_ns))

    async def _take(self, channel: Channel, port: int, total: int) -> None:
        arrived = asyncio.Event()
        taker = Taker(total, arrived.set)
        async with self._ends.taking(taker.take, port) as own:
            channel.say(own)
            async with asyncio.timeout(SILENCE_S_MAX):
                await arrived.wait()
            taken_ns = time.monotonic_ns()
            taker.tally.check(total)
            channel.say(taken_ns)
            await asking.until_told(channel)

    async def _tell(self, channel: Channel, port: int, total: int) -> None:
        encode = msgspec.json.Encoder().encode
        async with self._ends.telling(port) as tell:
            orders = make_orders(0, total)
            channel.ready()
            channel.say(time.monotonic_ns())
            await tell(map(encode, orders))


class Taker:
    """Decodes and counts what arrives, and calls `done` when that is all."""

    def __init__(self, total: int, done: Callable[[], object]) -> None:
        self._total, self._done = total, done
        self._decode = msgspec.json.Decoder(Order).decode
        self.tally = Tally()

    def take(self, body: bytes) -> None:
        """Take one order."""
        self.tally.add(self._decode(body))
        if self.tally.count == self._total:
            self._done()


def answerer() -> Answer:
    """Return what answers an order with itself, decoded and encoded."""
    encode = msgspec.json.Encoder().encode
    decode = msgspec.json.Decoder(Order).decode
    return lambda body: encode(decode(body))


def _typed(connection: Ask | Pipe) -> asking.Ask:
    encode = msgspec.json.Encoder().encode
    decode = msgspec.json.Decoder(Order).decode
    if callable(connection):
        call = connection

        async def ask(order: Order) -> Order:
            return decode(await call(encode(order)))

        return ask
    pipe = connection

    async def exchange(order: Order) -> Order:
        await pipe.send(encode(order))
        return decode(await pipe.receive())

    return exchange


async def _keep_asking(pipe: Pipe, orders: Sequence[Order], in_flight: int) -> None:
    """Send a question for each answer, from one task: faster than a task and a future for each."""
    encode = msgspec.json.Encoder().encode
    decode = msgspec.json.Decoder(Order).decode
    async with asyncio.timeout(SILENCE_S_MAX):
        for order in orders[:in_flight]:
            await pipe.send(encode(order))
        for answered in range(len(orders)):
            asking.check_answer(answered, decode(await pipe.receive()))
            if answered + in_flight < len(orders):
                await pipe.send(encode(orders[answered + in_flight]))
