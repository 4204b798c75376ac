"""A store that is served to others, and what happens when one of the two ends dies."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from waystation._core.message import Message
from waystation._core.url import parse_url
from waystation._peer.remote import RemoteTransport
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation.transports.sqlite import SqliteTransport

from .served_runs import SERVER, free_port, serve
from .store import info, opened
from .town import Town
from .worker import TEXT, TOPIC


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[RemoteTransport]:
    transport = find_transport(parse_url(f"tcp://127.0.0.1:{port}"), clock=SystemClock())
    assert isinstance(transport, RemoteTransport)
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


async def send(transport: SqliteTransport, *bodies: str) -> None:
    await transport.send(
        [Message(f"m{n}", TOPIC, body.encode(), content_type=TEXT) for n, body in enumerate(bodies)]
    )


@pytest.mark.timeout(60)
async def test_a_message_that_kills_a_client_becomes_a_dead_letter_and_its_neighbours_do_not(
    town: Town,
) -> None:
    """F-06, with a server between: that a client has died counts as an attempt of what it had."""
    port = free_port()
    async with opened(town.path) as transport:
        serve(town, port)
        bodies = [f"fine {number}" for number in range(60)]
        bodies[20] = "poison"
        await send(transport, *bodies)
        async with connected(port) as supervisor:
            life = town.start("poisoned", "c", port=port)
            while (await info(transport)).lag:
                if life.process.exitcode is not None:
                    await supervisor.release_process(town.bury("c", status=-signal.SIGKILL).pid)
                    life = town.start("poisoned", "c", port=port)
                    assert town.deaths <= 5, "the poison kills for ever"
                town.pause(0.01)
        dead = await transport.dead()
        assert [letter.message.body for letter in dead] == [b"poison"]
        assert "not settled in 3 attempts" in dead[0].reason
        handled = [held.id for held in town.history().held]
        assert set(handled) == {f"m{number}" for number in range(60)}
        town.terminate("c")
        town.terminate(SERVER)
