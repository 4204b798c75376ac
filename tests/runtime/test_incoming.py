"""A streamed reply at its caller: whole and in order, stopped when nobody wants it, never with a silent hole."""

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from waystation import (
    Bus,
    ConfigurationError,
    DecodeError,
    Disconnected,
    Endpoint,
    Message,
    NoResponder,
    RequestFailed,
    RequestTimeout,
    StreamBroken,
    StreamEndpoint,
)
from waystation._core.limits import STREAM_AHEAD_PARTS_MAX, STREAM_SILENCE_S
from waystation._core.stream import PARTS, TAKEN, Parts, read_parts, write

from .chat import Ask, Token, all_of, answers, chat, plain


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/bus.db"


async def read_into(found: list[int], parts: AsyncGenerator[Token]) -> None:
    async for part in parts:
        found.append(part.number)  # noqa: PERF401 - what came before an error must be there


def once(wanted: Callable[[Parts], bool]) -> Callable[[Message], bool]:
    """Fit the first message of parts that is wanted."""
    found: list[Message] = []

    def fits(message: Message) -> bool:
        if found or message.content_type != PARTS or not wanted(read_parts(message.body)):
            return False
        found.append(message)
        return True

    return fits


@pytest.mark.parametrize("count", [0, 1, 2, STREAM_AHEAD_PARTS_MAX, 1000])
async def test_parts_arrive_in_order_and_the_loop_ends(url: str, count: int) -> None:
    async with chat(url) as c:
        assert await all_of(c.numbers(Ask(count))) == list(range(count))
        await c.nothing_is_left()
        assert c.requests.late == 0


async def test_streams_do_not_mix(url: str) -> None:
    async with chat(url) as c:
        found = await asyncio.gather(*(all_of(c.numbers(Ask(count))) for count in range(50)))
        assert found == [list(range(count)) for count in range(50)]
        await c.nothing_is_left()


async def test_the_responders_exception_comes_after_its_parts(url: str) -> None:
    async with chat(url) as c:
        found: list[int] = []
        with pytest.raises(RequestFailed, match=r"'chat\.answer' failed") as caught:
            await read_into(found, c.numbers(Ask(3, "raise")))
        assert found == [0, 1, 2]
        assert caught.value.reason == "LookupError: no more words"
        await c.nothing_is_left()


async def test_a_part_that_does_not_come_in_time_is_an_error_that_says_how_many_did() -> None:
    async with chat() as c:
        stream = c.numbers(Ask(3, "wait"), timeout="2s")
        assert [(await anext(stream)).number for _ in range(3)] == [0, 1, 2]
        waiting = asyncio.ensure_future(anext(stream))
        await c.clock.advance(1.9)
        assert not waiting.done()
        await c.clock.advance(0.2)
        with pytest.raises(RequestTimeout, match="within 2 s, after 3 parts") as caught:
            await waiting
        assert caught.value.parts == 3
        await c.nothing_is_left()


async def test_the_whole_may_be_bounded_too() -> None:
    async with chat() as c:
        stream = c.numbers(Ask(10**6), total=5)
        for _ in range(100):
            await anext(stream)
        await c.clock.advance(5.1)
        with pytest.raises(RequestTimeout, match="did not end within 5 s; 100 parts were taken") as caught:
            await anext(stream)
        assert caught.value.parts == 100
        await c.nothing_is_left()


async def test_a_lost_part_is_an_error_and_never_a_hole() -> None:
    async with chat() as c:
        c.wire.loses = once(lambda parts: parts.first > 9)
        found: list[int] = []
        with pytest.raises(StreamBroken, match="are lost") as caught:
            await read_into(found, c.numbers(Ask(50, turns=10)))
        assert found == list(range(caught.value.parts))
        await c.nothing_is_left()


async def test_a_lost_end_is_an_error() -> None:
    async with chat() as c:
        c.wire.loses = once(lambda parts: parts.ended)
        reading = asyncio.ensure_future(all_of(c.numbers(Ask(0), timeout=1)))
        await c.clock.advance(1.1)
        with pytest.raises(RequestTimeout):
            await reading
        await c.nothing_is_left()


async def test_repeated_parts_are_dropped() -> None:
    async with chat() as c:
        c.wire.repeats = lambda message: message.content_type == PARTS
        assert await all_of(c.numbers(Ask(300))) == list(range(300))


async def test_a_part_of_another_type_is_an_error_and_stops_the_stream() -> None:
    async with chat() as c:
        other = StreamEndpoint("chat.answer", Ask, list[int])
        with pytest.raises(DecodeError):
            await anext(c.bus.request_stream(other, Ask(10**6)))
        await c.nothing_is_left()


async def test_an_endpoint_asked_in_the_wrong_way_says_so() -> None:
    async with chat() as c:
        with pytest.raises(DecodeError, match="request_stream"):
            await c.bus.request(Endpoint("chat.answer", Ask, Token), Ask(3, "wait"))
        with pytest.raises(DecodeError, match=r"request\(\)"):
            await anext(c.bus.request_stream(StreamEndpoint("chat.plain", Ask, Token), Ask(3)))
        wrong: Any = answers
        with pytest.raises(ConfigurationError, match="request_stream"):
            await c.bus.request(wrong, Ask(3))
        wrong = plain
        with pytest.raises(ConfigurationError, match=r"request\(\)"):
            await anext(c.bus.request_stream(wrong, Ask(3)))
        await c.nothing_is_left()


async def test_nobody_there_is_said_at_once() -> None:
    async with Bus("memory://") as bus:
        with pytest.raises(NoResponder):
            await anext(bus.request_stream(answers, Ask(1)))


async def test_a_slow_caller_is_waited_for() -> None:
    async with chat() as c:
        stream = c.numbers(Ask(1000), timeout=1)
        for number in range(3):
            assert (await anext(stream)).number == number
            await c.clock.advance(10 * STREAM_SILENCE_S)
        assert await all_of(stream) == list(range(3, 1000))


@pytest.mark.parametrize("then", ["end", "wait"])
async def test_closing_stops_the_responder_wherever_it_is(url: str, then: str) -> None:
    async with chat(url) as c:
        async with aclosing(c.numbers(Ask(10 if then == "wait" else 10**6, then))) as stream:
            for _ in range(3):
                await anext(stream)
        await c.ends.wait()
        await c.nothing_is_left()


async def test_leaving_the_loop_stops_the_responder() -> None:
    async with chat() as c:
        async for part in c.numbers(Ask(10**6)):
            if part.number == 5:
                break
        gc.collect()
        await c.ends.wait()
        await c.nothing_is_left()


async def test_cancelling_the_caller_stops_the_responder() -> None:
    async with chat() as c:
        reading = asyncio.ensure_future(all_of(c.numbers(Ask(3, "wait"))))
        while c.begun == 0:
            await asyncio.sleep(0)
        await c.clock.advance(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await c.ends.wait()
        await c.nothing_is_left()


async def test_a_caller_that_left_before_the_first_part_stops_the_responder_with_it() -> None:
    async with chat() as c:
        reading = asyncio.ensure_future(all_of(c.numbers(Ask(10**6))))
        while c.begun == 0:
            await asyncio.sleep(0)
        reading.cancel()
        await c.ends.wait()
        await c.nothing_is_left()
        assert c.requests.late > 0


async def test_a_stream_that_was_never_begun_asks_nobody() -> None:
    async with chat() as c:
        stream = c.numbers(Ask(1))
        await c.clock.advance(1)
        assert c.begun == 0
        await stream.aclose()


@pytest.mark.timeout(60)
async def test_ten_thousand_abandoned_streams_leave_nothing_behind() -> None:
    async with chat(concurrency=50) as c:
        assert await all_of(c.numbers(Ask(3))) == [0, 1, 2]
        tasks = len(asyncio.all_tasks())

        async def abandon(taken: int) -> None:
            stream = c.numbers(Ask(5, "wait"))
            for _ in range(taken):
                await anext(stream)
            await stream.aclose()

        for _ in range(200):
            await asyncio.gather(*(abandon(1 + number % 5) for number in range(50)))
        await c.nothing_is_left()
        assert c.begun == 10_001
        assert len(asyncio.all_tasks()) == tasks
        assert await all_of(c.numbers(Ask(3))) == [0, 1, 2]


async def test_a_closing_bus_ends_its_streams() -> None:
    async with chat() as c:
        stream = c.numbers(Ask(3, "wait"))
        assert (await anext(stream)).number == 0
        await c.requests.close()
        with pytest.raises(Disconnected):
            await all_of(stream)


async def test_a_second_run_of_the_same_request_is_not_mixed_in() -> None:
    async with chat() as c:
        stream = c.numbers(Ask(300))
        await anext(stream)
        (request,) = [message for message in c.wire.sent if message.topic == "chat.answer"]
        await c.bus._transports[0].send([msgspec.structs.replace(request, id="again")])
        assert await all_of(stream) == list(range(1, 300))
        await c.nothing_is_left()
        assert c.begun == 2


async def test_words_of_strangers_do_no_harm() -> None:
    async with chat() as c:
        stream = c.numbers(Ask(10**6))
        await anext(stream)
        (first, *_) = [message for message in c.wire.sent if message.content_type == PARTS]
        name, address = read_parts(first.body).stream, first.reply_to or ""
        question = next(message.id for message in c.wire.sent if message.topic == "chat.answer")
        send = c.bus._transports[0].send
        await send([Message("1", address, b"\xc1", content_type=TAKEN, correlation_id=name)])
        await send([Message("2", address, b"{}", correlation_id=name)])
        await send([Message("3", address, b"\xc1", content_type=PARTS, correlation_id="nobody")])
        await send(
            [
                Message(
                    "4",
                    address,
                    write(Parts("forged", 0, [b"{}"], "application/json", ended=False)),
                    content_type=PARTS,
                    correlation_id=question,
                    reply_to="orders.placed",
                )
            ]
        )
        assert [(await anext(stream)).number for _ in range(500)] == list(range(1, 501))
        assert not [message for message in c.wire.sent if message.topic == "orders.placed"]
        await stream.aclose()
        await c.nothing_is_left()


def test_plain_code_iterates(tmp_path: Path) -> None:
    bus = Bus(f"sqlite:///{tmp_path}/bus.db")
    stopped = threading.Event()

    @bus.respond(answers)
    async def answer(ask: Ask) -> AsyncIterator[Token]:
        try:
            for number in range(ask.parts):
                yield Token(number)
            if ask.then == "raise":
                raise LookupError
        finally:
            stopped.set()

    async def serve(ready: threading.Event, stop: asyncio.Event) -> None:
        async with bus.running(drain=0):
            ready.set()
            await stop.wait()

    client, ready, stop = Bus(f"sqlite:///{tmp_path}/bus.db"), threading.Event(), asyncio.Event()
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        server = threading.Thread(target=lambda: runner.run(serve(ready, stop)))
        server.start()
        ready.wait()
        with client.blocking() as b:
            assert [part.number for part in b.request_stream(answers, Ask(200))] == list(range(200))
            with pytest.raises(RequestFailed):
                list(b.request_stream(answers, Ask(1, "raise"), timeout="5s"))
            stopped.clear()
            for part in b.request_stream(answers, Ask(10**6), total="1m"):
                if part.number == 3:
                    break
            assert stopped.wait(5)
            unfinished = b.request_stream(answers, Ask(10**6))
            next(unfinished)
        unfinished.close()
        loop.call_soon_threadsafe(stop.set)
        server.join()


RESPONDER = """
import asyncio, sys
from collections.abc import AsyncIterator
from tests.runtime.chat import Ask, Token, answers
from waystation import Bus

bus = Bus(sys.argv[1])

@bus.respond(answers)
async def answer(ask: Ask) -> AsyncIterator[Token]:
    for number in range(ask.parts):
        yield Token(number)
    await asyncio.Event().wait()

async def main() -> None:
    async with bus.running():
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_responder_that_is_killed_is_a_timeout_that_says_how_many_parts_came(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/bus.db"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RESPONDER, url, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"ready\n"
    async with Bus(url) as bus:
        stream = bus.request_stream(answers, Ask(100), timeout="1s")
        for number in range(100):
            assert (await anext(stream)).number == number
        child.kill()
        await child.wait()
        with pytest.raises(RequestTimeout, match="after 100 parts") as caught:
            await anext(stream)
        assert caught.value.parts == 100
        assert bus._connected.requests.in_flight == 0
