"""A bus whose responder yields, over a wire that a test can look into and damage."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from waystation import Bus, Endpoint, Message, StreamEndpoint
from waystation._core.delivery import SendOutcome
from waystation._core.ports import Clock
from waystation._core.stream import PARTS, Parts, read_parts
from waystation._runtime.requests import Requests
from waystation.testing import VirtualClock
from waystation.transports.memory.transport import MemoryTransport


class Ask(msgspec.Struct):
    parts: int
    then: str = "end"
    turns: int = 0


class Token(msgspec.Struct):
    number: int


answers = StreamEndpoint("chat.answer", Ask, Token)
plain = Endpoint("chat.plain", Ask, Token)


class Wire(MemoryTransport):
    """A transport that remembers what was sent, and loses or repeats what a test wants.

    Attributes:
        sent: All that was given to it.
        loses: Whether a message is lost.
        repeats: Whether a message arrives twice.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.sent: list[Message] = []
        self.loses: Callable[[Message], bool] = lambda _: False
        self.repeats: Callable[[Message], bool] = lambda _: False

    def post(self, messages: Sequence[Message], done: Callable[[Sequence[SendOutcome]], None], /) -> None:
        self.sent += messages
        lost = Message("lost", "lost.messages", b"")
        super().post([lost if self.loses(message) else message for message in messages], done)
        super().post([message for message in messages if self.repeats(message)], lambda _: None)

    @property
    def parts(self) -> list[Parts]:
        return [read_parts(message.body) for message in self.sent if message.content_type == PARTS]


@dataclass
class Chat:
    """The bus, and what became of its responder's generators."""

    bus: Bus
    clock: VirtualClock
    wire: Wire
    yielded: int = 0
    begun: int = 0
    closed: int = 0
    ends: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def requests(self) -> Requests:
        return self.bus._connected.requests

    def numbers(self, ask: Ask, **options: Any) -> AsyncGenerator[Token]:
        return self.bus.request_stream(answers, ask, **options)

    async def nothing_is_left(self) -> None:
        for _ in range(50):
            await self.clock.advance(0)
        assert self.requests.in_flight == 0
        assert self.begun == self.closed


async def all_of(parts: AsyncGenerator[Token]) -> list[int]:
    return [part.number async for part in parts]


@asynccontextmanager
async def chat(url: str = "memory://", *, concurrency: int = 100) -> AsyncIterator[Chat]:
    clock = VirtualClock()
    bus, wire = Bus(url, clock=clock), Wire(clock)
    if url == "memory://":
        bus._transports = [wire]
    made = Chat(bus, clock, wire)

    @made.bus.respond(answers, concurrency=concurrency)
    async def answer(ask: Ask) -> AsyncIterator[Token]:
        made.begun += 1
        try:
            for number in range(ask.parts):
                for _ in range(ask.turns):
                    await asyncio.sleep(0)
                made.yielded += 1
                yield Token(number)
            if ask.then == "raise":
                raise LookupError("no more words")
            if ask.then == "wait":
                await asyncio.Event().wait()
        finally:
            made.closed += 1
            made.ends.set()

    @made.bus.respond(plain)
    async def answer_at_once(ask: Ask) -> Token:
        return Token(ask.parts)

    async with made.bus.running(drain=0):
        yield made
