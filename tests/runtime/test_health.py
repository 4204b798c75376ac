"""Health probes over HTTP, asked as a stranger would."""

import asyncio
import logging
import os
import signal

import msgspec
import pytest

from waystation import Bus, ConfigurationError, Health
from waystation._core.limits import HEALTH_CONNECTIONS_MAX, HEALTH_REQUEST_BYTES_MAX, HEALTH_REQUEST_S
from waystation._runtime import health as health_module
from waystation._runtime.clock import SystemClock
from waystation._runtime.health import answering, ask
from waystation.testing import VirtualClock

from .shop import Order, orders

WELL = Health(live=True, ready=True, reasons=())
NOT_READY = Health(live=True, ready=False, reasons=("billing is deaf",))
HOST = "127.0.0.1"


async def sent(port: int, request: bytes) -> bytes:
    """What comes back for these bytes until the other side hangs up."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request)
    answer = await rest(reader)
    writer.close()
    return answer


async def rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def get(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    answer = await sent(port, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    ("health", "live", "ready"),
    [
        (WELL, 200, 200),
        (NOT_READY, 200, 503),
        (Health(live=False, ready=False, reasons=("broken",)), 503, 503),
    ],
)
async def test_two_questions_have_an_answer(health: Health, live: int, ready: int) -> None:
    async def probe() -> Health:
        return health

    async with answering(HOST, 0, probe, clock=SystemClock()) as port:
        assert (await get(port, "/live"))[0] == live
        status, body = await get(port, "/ready?verbose")
        assert status == ready
        assert msgspec.json.decode(body, type=Health) == health
        assert await get(port, "/ready", "HEAD") == (ready, b"")
        assert (await get(port, "/metrics"))[0] == 404
        assert (await get(port, "/ready", "POST"))[0] == 405
        assert await ask(HOST, port) == health


async def test_who_asks_too_much_or_nothing_is_hung_up_on() -> None:
    clock = VirtualClock()

    async def probe() -> Health:
        return WELL

    async with answering(HOST, 0, probe, clock=clock) as port:
        assert await sent(port, b"GET /live HTTP/1.1\r\nX: " + b"x" * 3 * HEALTH_REQUEST_BYTES_MAX) == b""
        slow = [await asyncio.open_connection(HOST, port) for _ in range(HEALTH_CONNECTIONS_MAX)]
        while await sent(port, b"GET /live HTTP/1.1\r\n\r\n"):
            pass  # until the last of the slow ones has been accepted
        await clock.advance(HEALTH_REQUEST_S)
        for reader, writer in slow:
            assert await rest(reader) == b""
            writer.close()
        while not await sent(port, b"GET /live HTTP/1.1\r\n\r\n"):
            pass  # until the slow ones are gone


async def test_an_address_where_nobody_can_listen_is_refused() -> None:
    async def probe() -> Health:
        return WELL

    async with answering(HOST, 0, probe, clock=SystemClock()) as port:
        with pytest.raises(ConfigurationError, match=f"cannot be asked at {HOST}:{port}"):
            async with answering(HOST, port, probe, clock=SystemClock()):
                pytest.fail("it is taken")


async def test_whoever_does_not_listen_is_starting_and_whoever_does_not_answer_is_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health_module, "HEALTH_REQUEST_S", 0.1)
    stuck = asyncio.Event()

    async def probe() -> Health:
        stuck.set()
        await asyncio.Event().wait()
        return WELL

    async with answering(HOST, 0, probe, clock=SystemClock()) as port:
        silent = await ask(HOST, port)
    assert stuck.is_set()
    gone = await ask(HOST, port)
    assert (gone.live, gone.ready) == (True, False)
    assert (silent.live, silent.ready) == (False, False)


async def test_a_bus_answers_while_it_runs_and_not_before(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "waystation")
    bus, started = Bus("memory://"), asyncio.Event()

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order) -> None:
        started.set()

    running = asyncio.create_task(bus.run(health="0"))
    while "running;" not in caplog.text:
        await asyncio.sleep(0)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "waystation.health"]
    port = int(line.rpartition("/ready")[0].rpartition(":")[2])
    status, body = await get(port, "/ready")
    assert status == 200
    (subscription,) = msgspec.json.decode(body, type=Health).subscriptions
    assert (subscription.name, subscription.state) == ("billing@orders.placed", "waiting")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert "does not answer" in (await ask(HOST, port)).reasons[0]


async def test_an_address_that_is_none_is_refused_before_anything_runs() -> None:
    bus = Bus("memory://")
    bus.on_startup(lambda: pytest.fail("it must not start"))
    with pytest.raises(ConfigurationError, match="health='everywhere' is not an address"):
        await bus.run(health="everywhere")
