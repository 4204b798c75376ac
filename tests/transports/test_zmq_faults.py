"""Peers that are killed, stall, are cut off or come back: what has a receipt is there, and what waits is bounded."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.cli.programs import URL, Program, Shop
from tests.peer import errand
from tests.peer.proxy import WAYS, Way, proxied
from tests.peer.stand import PATIENCE_S, client, until
from tests.store.tier import TIER
from waystation import Bus, SendUnconfirmed, Topic
from waystation._core.delivery import ACCEPT, Receipt
from waystation._core.limits import FRAME_BYTES_MAX, PEER_SEND_BYTES_MAX, WRITE_BUFFER_BYTES_MAX
from waystation._core.message import Message
from waystation._core.ports import Subscription, Topology, Transport
from waystation._core.url import parse_url
from waystation._peer.line import Line
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_gate
from waystation.transports.memory.transport import MemoryTransport
from waystation.transports.zeromq.dialling import _Call
from waystation.transports.zeromq.listening import ZeroMQGate
from waystation.transports.zeromq.sockets import Watch

pytest.importorskip("zmq")

#: Of the places in a session where it can be cut, each so-many-th is tried.
STEP = {"pr": 157, "faults": 1, "soak": 1}[TIER]

WORK = Subscription(pattern="work", group="g")
TOPOLOGY = Topology(("work",), (WORK,))
JOBS = Topic("jobs", str)


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[ZeroMQGate, Transport]]:
    transport = MemoryTransport(SystemClock())
    await transport.open()
    gate = find_gate(parse_url("zmq+tcp://127.0.0.1:0"))
    assert isinstance(gate, ZeroMQGate)
    await gate.open(transport)
    try:
        yield gate, transport
    finally:
        await gate.close(0.1)
        await transport.close()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[_Call]:
    """Every connection that a client of this test makes."""
    made: list[_Call] = []
    carry = _Call.carry

    def noting(call: _Call, line: Line) -> Line:
        made.append(call)
        return carry(call, line)

    monkeypatch.setattr(_Call, "carry", noting)
    return made


# --- cuts ------------------------------------------------------------------------------------------------------


async def run(cuts: dict[Way, int]) -> dict[Way, int]:
    """Run an errand through a proxy that cuts there; return how many bytes went each way."""
    async with listening() as (gate, inner), proxied(gate.address.removeprefix("zmq+")) as proxy:
        proxy.cut_at.update(cuts)
        async with asyncio.timeout(PATIENCE_S), client("zmq+" + proxy.url) as remote:
            done = await errand.run(remote)
        problems = await errand.complaints(inner, done)
        assert not problems, (cuts, problems)
        assert gate.facts()["streams that broke"] == "0"
    return proxy.passed


@pytest.mark.timeout({"pr": 60, "faults": 900, "soak": 900}[TIER])
@pytest.mark.parametrize("way", WAYS)
async def test_a_cut_anywhere_leaves_nothing_lost_doubled_or_unknown(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    length = (await run({}))[way]
    for place in places(length, seed):
        await run({way: place})


def places(length: int, seed: int) -> Iterator[int]:
    chance = random.Random(seed)
    for first in range(1, length, STEP):
        yield first + chance.randrange(STEP)


async def test_a_connection_that_is_cut_is_noticed_at_once_and_greets_anew(calls: list[_Call]) -> None:
    async with listening() as (gate, _), proxied(gate.address.removeprefix("zmq+")) as proxy:
        async with client("zmq+" + proxy.url) as remote:
            proxy.refuses = True
            proxy.cut()
            await until(lambda: gate.peers == 0, "the server knows", 2.0)
            assert remote._link is not None
            await until(lambda: remote._link and not remote._link.connected, "the client knows", 2.0)
            proxy.refuses = False
            (outcome,) = await remote.send([Message("m1", "work", b"")])
            assert isinstance(outcome, Receipt)
            assert gate.peers == 1
        assert len(calls) == 2
        assert calls[0]._carrier is not None
        assert calls[1]._carrier is not None
        assert calls[0]._carrier.stream != calls[1]._carrier.stream


async def test_a_peer_that_begins_anew_under_the_same_identity_greets_anew(calls: list[_Call]) -> None:
    """As when ZeroMQ joined its socket again: what it says in a new stream is not taken for the rest of the old one."""
    async with listening() as (gate, _), client(gate.address) as remote:
        call = calls[0]
        call.socket.send(b"\1\1stranger" + bytes(16) + b"no greeting")
        await until(lambda: len(calls) == 2, "the client's stream was ended, and it came back")
        (outcome,) = await remote.send([Message("m1", "work", b"")])
        assert isinstance(outcome, Receipt)


# --- stalls ----------------------------------------------------------------------------------------------------


async def test_a_peer_that_stalls_costs_a_bounded_amount_and_nobody_else_anything_and_loses_nothing(
    calls: list[_Call],
) -> None:
    """F-34. Six answers of 8 MiB wait for a client that takes none of them."""
    bodies = {f"m{number}": bytes([number]) * (256 * 1024) for number in range(32)}
    async with listening() as (gate, _), client(gate.address) as slow, client(gate.address) as quick:
        await slow.declare(TOPOLOGY)
        await slow.send([Message(id_, "work", body) for id_, body in bodies.items()])
        call = calls[0]
        assert call._watch is not None
        call._watch.end()
        looks = [
            asyncio.ensure_future(slow.browse("work", start="earliest", limit=len(bodies))) for _ in range(6)
        ]
        assert gate._open is not None
        carriers = gate._open._router._carriers.values()
        await until(lambda: max(each.get_write_buffer_size() for each in carriers) > 0, "something waits")
        await until(lambda: int(gate.facts()["waits for room at a peer"]) > 0, "and that is counted")
        for number in range(200):
            (outcome,) = await quick.send([Message(f"q{number}", "other", b"")])
            assert isinstance(outcome, Receipt)
            waiting = max(each.get_write_buffer_size() for each in carriers)
            assert waiting <= WRITE_BUFFER_BYTES_MAX + 2 * FRAME_BYTES_MAX
        assert not any(look.done() for look in looks)
        call._watch = Watch(call._zmq, call.socket, call._turn)
        for look in looks:
            assert {message.id: message.body for _, message in await look} == bodies
        assert gate.facts()["streams that broke"] == "0"


async def test_a_client_that_cannot_send_waits_and_then_everything_has_a_receipt(calls: list[_Call]) -> None:
    """F-34, the other way: published is what was delivered."""
    async with listening() as (gate, inner), client(gate.address) as remote:
        await remote.declare(TOPOLOGY)
        assert gate._open is not None
        watch = gate._open._router._watch
        watch.end()
        sending = [
            asyncio.ensure_future(remote.send([Message(f"m{number}", "work", bytes(200_000))]))
            for number in range(100)
        ]
        carrier = calls[0]._carrier
        assert carrier is not None
        await until(lambda: carrier.get_write_buffer_size() > 0, "something waits")
        assert carrier.get_write_buffer_size() <= PEER_SEND_BYTES_MAX
        router = gate._open._router
        router._watch = Watch(router._zmq, router._socket, router._turn)
        outcomes = [outcome for (outcome,) in await asyncio.gather(*sending)]
        assert all(isinstance(outcome, Receipt) for outcome in outcomes)
        feed = await inner.open_feed(WORK)
        seen: list[str] = []
        while len(seen) < 100:
            deliveries = await feed.receive(100)
            seen += [delivery.message.id for delivery in deliveries]
            await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
        assert seen == [f"m{number}" for number in range(100)]


# --- deaths ----------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.mark.timeout(60)
async def test_a_server_killed_and_started_again_has_everything_that_has_a_receipt(tmp_path: Path) -> None:
    """F-04. Clients come back by themselves, and soon."""
    shop, listen = Shop(tmp_path), f"zmq+tcp://127.0.0.1:{free_port()}"
    seen: set[str] = set()
    bus = Bus(listen)

    @bus.subscribe(JOBS, group="g")
    async def handle(job: str) -> None:
        seen.add(job)

    with ExitStack() as servers:
        first = servers.enter_context(await started(shop, listen))
        async with bus.running():
            names = [f"job {number}" for number in range(60)]
            for name in names[:20]:
                await bus.publish(JOBS, name)
            first.send(signal.SIGKILL)
            publishing = asyncio.ensure_future(publish_all(bus, names[20:]))
            await asyncio.to_thread(first.end)
            servers.enter_context(await started(shop, listen))
            began = asyncio.get_running_loop().time()
            await publishing
            await until(lambda: seen >= set(names), "all of them are handled", 20.0)
            assert asyncio.get_running_loop().time() - began < 10.0


async def started(shop: Shop, listen: str) -> Program:
    server = shop.start("serve", URL, "--listen", listen)
    await asyncio.to_thread(server.until, "serving ")
    return server


async def publish_all(bus: Bus, names: list[str]) -> None:
    """Publish, and again what may not have arrived."""
    for name in names:
        while True:
            try:
                await bus.publish(JOBS, name, message_id=name)
                break
            except SendUnconfirmed:
                pass


HOLDER = """
import asyncio, sys
from waystation import Bus, Topic

async def main():
    bus = Bus(sys.argv[1])

    @bus.subscribe(Topic("jobs", str), group="g")
    async def handle(job: str) -> None:
        print("has", job, flush=True)
        await asyncio.Event().wait()

    await bus.run()

asyncio.run(main())
"""


@pytest.mark.timeout(60)
async def test_what_a_killed_client_held_comes_to_another(tmp_path: Path) -> None:
    """Its server knows at once, long before it would miss heartbeats."""
    async with listening() as (gate, _):
        holder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOLDER, gate.address, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        try:
            bus, seen = Bus(gate.address), asyncio.Event()
            async with bus:
                await bus.publish(JOBS, "one")
                assert holder.stdout is not None
                assert await holder.stdout.readline() == b"has one\n"
                holder.kill()
                await until(lambda: gate.peers == 1, "the server knows", 2.0)
            other = Bus(gate.address)

            @other.subscribe(JOBS, group="g")
            async def handle(job: str) -> None:
                assert job == "one"
                seen.set()

            async with other.running(), asyncio.timeout(15):
                await seen.wait()
        finally:
            if holder.returncode is None:
                holder.kill()
            await holder.wait()


async def test_a_half_open_connection_is_noticed_by_heartbeats_and_the_session_goes_on() -> None:
    """Bytes vanish, and nobody is told."""
    async with (
        listening() as (gate, _),
        proxied(gate.address.removeprefix("zmq+")) as proxy,
        client(f"zmq+{proxy.url}?heartbeat=100ms") as remote,
    ):
        link = remote._link
        assert link is not None
        proxy.swallows.update(WAYS)
        await until(lambda: not link.connected, "the client knows", 5.0)
        proxy.swallows.clear()
        (outcome,) = await remote.send([Message("m1", "work", b"")])
        assert isinstance(outcome, Receipt)
        assert gate.peers == 1
