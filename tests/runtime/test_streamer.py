"""A streamed reply at its responder: in batches, bounded, stopped, failed."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from waystation import (
    Bus,
    ConfigurationError,
    Delivery,
    Depends,
    Handler,
    Message,
    RequestFailed,
    StreamEndpoint,
    Transaction,
)
from waystation._core.limits import STREAM_AHEAD_PARTS_MAX, STREAM_REMINDER_S, STREAM_SILENCE_S
from waystation._core.stream import TAKEN

from .chat import Ask, Token, all_of, answers, chat, plain


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/bus.db"


async def test_what_is_yielded_meanwhile_travels_together() -> None:
    async with chat() as c:
        assert len(await all_of(c.numbers(Ask(1000)))) == 1000
        batches = c.wire.parts
        assert sum(len(batch.bodies) for batch in batches) == 1000
        assert len(batches) <= 2 * 1000 / (STREAM_AHEAD_PARTS_MAX / 2)


async def test_parts_may_be_bytes_text_or_none() -> None:
    bus = Bus("memory://")
    endpoints: list[tuple[StreamEndpoint[None, Any], list[Any]]] = [
        (StreamEndpoint("as.bytes", type(None), bytes), [b"", b"\0", b"x" * 10]),
        (StreamEndpoint("as.text", type(None), str), ["", "\u20ac"]),
        (StreamEndpoint("as.nothing", type(None), type(None)), [None, None]),
        (StreamEndpoint("as.msgpack", type(None), dict, "application/msgpack"), [{"a": 1}]),
    ]

    def responder(parts: list[Any]) -> Callable[[None], AsyncIterator[Any]]:
        async def respond(_: None) -> AsyncIterator[Any]:
            for part in parts:
                yield part

        return respond

    for endpoint, parts in endpoints:
        bus.respond(endpoint)(responder(parts))
    async with bus.running():
        for endpoint, parts in endpoints:
            assert [part async for part in bus.request_stream(endpoint, None)] == parts


async def test_a_large_part_travels_alone_and_a_too_large_one_is_an_error() -> None:
    blobs = StreamEndpoint("blobs", int, bytes)
    bus = Bus("memory://")
    largest = bus.capabilities.message_bytes_max

    @bus.respond(blobs)
    async def blob(size: int) -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * size

    async with bus.running():
        size = 3 * 1024 * 1024
        assert [len(part) async for part in bus.request_stream(blobs, size)] == [size] * 3
        with pytest.raises(RequestFailed, match="MessageTooLarge"):
            await anext(bus.request_stream(blobs, largest))


async def test_a_responder_is_ahead_of_its_caller_by_a_bounded_number_of_parts(url: str) -> None:
    async with chat(url) as c:
        stream = c.numbers(Ask(10_000))
        await anext(stream)
        for taken in (1, 500):
            for _ in range(100):
                await c.clock.advance(0)
            assert taken <= c.yielded <= taken + STREAM_AHEAD_PARTS_MAX + 1
            for _ in range(499):
                await anext(stream)
        await stream.aclose()
        await c.nothing_is_left()


async def test_a_caller_that_is_not_heard_of_any_more_is_given_up() -> None:
    async with chat() as c:
        stream = c.numbers(Ask(1000))
        await anext(stream)
        c.wire.loses = lambda message: message.content_type == TAKEN
        await c.clock.advance(STREAM_SILENCE_S + STREAM_REMINDER_S)
        assert c.closed == 1
        await stream.aclose()


async def test_a_responder_that_stops_says_so(url: str) -> None:
    async with chat(url) as c:
        stream = c.numbers(Ask(3, "wait"))
        assert [(await anext(stream)).number for _ in range(3)] == [0, 1, 2]
        assert await c.bus.drain(0) == 1
        with pytest.raises(RequestFailed, match="stopped before the end"):
            await anext(stream)


async def test_a_handler_that_is_cancelled_from_within_fails_the_stream() -> None:
    bus = Bus("memory://")

    @bus.respond(answers)
    async def answer(ask: Ask) -> AsyncIterator[Token]:
        yield Token(1)
        raise asyncio.CancelledError

    async with bus.running():
        with pytest.raises(RequestFailed, match="CancelledError"):
            await all_of(bus.request_stream(answers, Ask(1)))
        with pytest.raises(RequestFailed, match="CancelledError"):
            await all_of(bus.request_stream(answers, Ask(1)))


async def test_a_request_whose_responder_died_is_answered_by_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with chat() as c:
        stream = c.numbers(Ask(3))
        transport = c.bus._transports[0]
        assert await all_of(stream) == [0, 1, 2]
        request = c.wire.sent[0]
        await transport.send([msgspec.structs.replace(request, id="later")])
        await c.nothing_is_left()
        assert c.requests.late > 0


@pytest.mark.parametrize("address", [None, "orders.placed"])
async def test_a_request_without_a_reply_address_is_dropped(
    address: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "waystation.consumer")
    async with chat() as c:
        body = msgspec.json.encode(Ask(3))
        await c.bus._transports[0].send([Message("x", "chat.answer", body, reply_to=address)])
        await c.clock.advance(0)
        assert c.begun == 0
    assert "no reply address" in caplog.text


def test_only_an_async_generator_answers_in_parts() -> None:
    bus = Bus("memory://")
    respond: Any = bus.respond(answers)

    def returns(ask: Ask) -> Token:
        return Token(1)

    def yields(ask: Ask) -> Any:
        yield Token(1)

    async def yields_another(ask: Ask) -> AsyncIterator[Ask]:
        yield ask

    async def says_another(ask: Ask) -> AsyncIterator[Any]:
        yield Token(1)

    says_another.__annotations__["return"] = Token

    async def writes(ask: Ask, tx: Transaction) -> AsyncIterator[Token]:
        yield Token(1)

    async def right(ask: Ask) -> AsyncGenerator[Token, None]:
        yield Token(1)

    for wrong, words in [
        (returns, "'async def' with 'yield'"),
        (yields, "'async def' with 'yield'"),
        (yields_another, r"annotate it AsyncIterator\[Token\]"),
        (says_another, r"annotate it AsyncIterator\[Token\]"),
        (writes, r"bus\.transaction\(\)"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            respond(wrong)
    respond(right)
    respond_plain: Any = bus.respond(plain)
    with pytest.raises(ConfigurationError, match="StreamEndpoint"):
        respond_plain(right)


async def test_middleware_and_dependencies_are_around_the_whole_stream() -> None:
    events: list[str] = []

    def logged(handler: Handler) -> Handler:
        async def wrapped(delivery: Delivery, body: Any) -> Any:
            events.append("begin")
            result = await handler(delivery, body)
            events.append("end")
            return result

        return wrapped

    async def database() -> AsyncIterator[str]:
        events.append("open")
        yield "rows"
        events.append("close")

    bus = Bus("memory://", middleware=[logged])

    @bus.respond(answers)
    async def answer(
        ask: Ask, message: Message, rows: Annotated[str, Depends(database)]
    ) -> AsyncIterator[Token]:
        for number in range(ask.parts):
            events.append(rows)
            yield Token(number)
        await bus.publish("said", message.id)

    async with bus.running():
        assert await all_of(bus.request_stream(answers, Ask(2))) == [0, 1]
    assert events == ["begin", "open", "rows", "rows", "close", "end"]


async def test_a_stream_holds_up_no_other_request_however_many_there_are(url: str) -> None:
    async with chat(url) as c:
        streams = [c.numbers(Ask(1, "wait")) for _ in range(40)]
        for stream in streams:  # one by one, so that each is a message of its own
            assert (await anext(stream)).number == 0
        assert c.begun == 40
        assert c.closed == 0
        for stream in streams:
            await stream.aclose()
        await c.nothing_is_left()


async def test_a_request_is_not_begun_again_by_another_responder(url: str) -> None:
    async with chat(url) as c:
        stream = c.numbers(Ask(0, "wait"))
        waiting = asyncio.ensure_future(anext(stream))
        while c.begun == 0:
            await c.clock.advance(0)
        await c.clock.advance(25)
        assert await c.bus.drain(0) == 1
        with pytest.raises(RequestFailed, match="stopped before the end"):
            await waiting
        (group,) = [info for info in await c.bus.inspector().groups() if info.group == answers.name]
        assert (group.ready, group.in_flight, group.waiting) == (0, 0, 0)
