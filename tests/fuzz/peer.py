"""What a client sends to a server at work, whatever it is: it is answered or sent away, and nothing else happens.

The input is a list of frames without headers, as in `wire`; a greeting goes before, unless the first byte says no.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import msgspec

from tests.fuzz.wire import _bare, _bytes, _framed
from tests.wire.vectors import FILE
from waystation._core.delivery import Delivery
from waystation._core.message import Message
from waystation._core.packed import pack
from waystation._core.ports import Subscription, Topology
from waystation._core.question import Reply
from waystation._peer.server import PeerServer, Policy
from waystation._runtime.clock import SystemClock
from waystation._wire.frames import (
    CODES,
    Ask,
    Call,
    Cancel,
    Close,
    Credit,
    Extend,
    Frame,
    Hello,
    Open,
    Send,
    Settle,
)
from waystation._wire.methods import METHODS
from waystation._wire.states import TRANSITIONS, Role, State
from waystation.transports.memory.feed import GroupFeed
from waystation.transports.memory.transport import MemoryTransport

#: Of a first byte: whether the client has said hello.
_GREETED = 1

#: Turns of the event loop that everything gets that was begun.
_TURNS_COUNT = 12

GREETING = _bytes(Hello("waystation", (1, 1), host="elsewhere", pid=1))


class Ear(asyncio.Transport):
    """What a server writes goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "something was written after the end"

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


class Complaints(logging.Handler):
    """What a server logs as a mistake of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.made: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.made.append(self.format(record))


def attempt(data: bytes) -> None:
    """Let a server hear this.

    Raises:
        AssertionError: It made a mistake.
    """
    complaints = Complaints()
    log = logging.getLogger("waystation")
    propagates, log.propagate = log.propagate, False
    log.addHandler(complaints)
    try:
        asyncio.run(_hear(data))
    finally:
        log.removeHandler(complaints)
        log.propagate = propagates
    assert not complaints.made, complaints.made[0]


async def _hear(data: bytes) -> None:
    asyncio.get_running_loop().set_exception_handler(_raise)
    transport = MemoryTransport(SystemClock())
    await transport.open()
    await transport.declare(
        Topology(("orders.placed",), (Subscription(pattern="orders.*", group="billing"),))
    )
    await _answer(transport)
    server = PeerServer(transport, Policy(), name="fuzzed")
    line, ear = server.accept(), Ear()
    line.connection_made(ear)
    if data and data[0] & _GREETED:
        line.data_received(GREETING)
    for frame in _framed(data[1:]):
        if ear.closed:
            break
        line.data_received(frame)
        await asyncio.sleep(0)
    for _ in range(_TURNS_COUNT):
        await asyncio.sleep(0)
    line.connection_lost(None)
    async with asyncio.timeout(5.0):
        await server.close(0.0)
        await transport.close()


async def _answer(transport: MemoryTransport) -> None:
    """Let questions be answered at once, later, or not at all."""
    responder = Subscription(pattern="prices.quote", group="prices.quote")
    await transport.declare(Topology((), (responder,)))
    feed = await transport.open_feed(responder)
    assert isinstance(feed, GroupFeed)
    loop, replies = asyncio.get_running_loop(), feed.answer

    def take(delivery: Delivery) -> bool:
        how = len(delivery.message.id) % 4
        if how == 0:
            replies(delivery, Reply(delivery.body))
        elif how == 1:
            loop.call_soon(replies, delivery, Reply(delivery.body, failure="no"))
        return how < 3

    feed.offer(take)


def _raise(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    raise AssertionError(str(context.get("exception") or context["message"]))


def _question(name: str, key: str | None = None) -> Message:
    return Message(name, "prices.quote", b"{}", key=key, reply_to="_reply.me")


#: What an honest client might say.
TALK: tuple[Frame, ...] = (
    Open(1, 1, 1, "orders.*", "billing"),
    Open(2, 1, 2, "_reply.me"),
    Credit(1, 0, 100),
    Credit(2, 0, 100),
    Send(3, 1, pack([Message("m1", "orders.placed", b"{}", key="k"), Message("m2", "_reply.me", b"{}")])),
    Extend(4, 1, 1, [(0, 1)]),
    Settle(5, 1, 1, [], [(0, "retry", 0.0, "why", "")]),
    Settle(6, 1, 1, [(1, 2)]),
    Ask(61, 1, [_question("q-1"), _question("q-12", "k"), _question("q", "k"), _question("q-")]),
    Cancel(61),
    *(Call(7 + number, 1, name, msgspec.Raw(b"\x90")) for number, name in enumerate(METHODS)),
    Cancel(7),
    Close(60, 1, 1),
)


def seeds() -> Iterator[bytes]:
    """What a client may say, one frame after the other, and all of it together."""
    said = {code for code, frame in CODES.items() if frame in TRANSITIONS[Role.CLIENT][State.OPEN]}
    vectors = json.loads(FILE.read_text(encoding="utf-8"))
    talk = [frame for each in TALK for frame in _bare(_bytes(each))]
    frames = [frame for vector in vectors for frame in _bare(bytes.fromhex(vector["bytes"]))]
    for frame in [*talk, *(frame for frame in frames if frame and frame[0] in said)]:
        yield bytes([_GREETED]) + frame
    yield bytes([_GREETED]) + b"".join(talk)
    yield b"\0" + b"".join(talk)
