"""Addresses: taken, unknown, abandoned, of others; sockets in the file system, and who may use them."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from waystation._core.delivery import Receipt
from waystation._core.errors import ConfigurationError, Disconnected
from waystation._core.message import Message
from waystation._core.url import parse_url
from waystation._peer.sockets import room_for_peers
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation.transports.memory.transport import MemoryTransport
from waystation.transports.tcp.listening import SocketGate
from waystation.transports.tcp.options import listen_options


@asynccontextmanager
async def listening_at(url: str) -> AsyncIterator[SocketGate]:
    transport = MemoryTransport(SystemClock())
    await transport.open()
    gate = SocketGate(listen_options(parse_url(url)))
    await gate.open(transport)
    try:
        yield gate
    finally:
        await gate.close(0.1)
        await transport.close()


async def sends(url: str) -> None:
    transport = find_transport(parse_url(url), clock=SystemClock())
    await transport.open()
    try:
        (outcome,) = await transport.send([Message("m1", "work", b"")])
        assert isinstance(outcome, Receipt), outcome
    finally:
        await transport.close()


async def why_not(url: str) -> str:
    """Try to connect for a moment; return the error's text."""
    transport = find_transport(
        parse_url(f"{url}{'&' if '?' in url else '?'}connect_timeout=300ms"), clock=SystemClock()
    )
    began = asyncio.get_running_loop().time()
    with pytest.raises(Disconnected) as caught:
        await transport.open()
    await transport.close()
    assert asyncio.get_running_loop().time() - began < 3.0, "it hung"
    return str(caught.value)


async def test_an_address_in_use_is_a_clear_error() -> None:
    async with listening_at("tcp://127.0.0.1:0") as gate:
        with pytest.raises(ConfigurationError, match="the address is in use; another server may be running"):
            async with listening_at(gate.address):
                pass
        await sends(gate.address)


async def test_an_address_of_another_machine_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match="it is not an address of this machine"):
        async with listening_at("tcp://192.0.2.1:0?insecure=yes-i-know"):
            pass


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("tcp://no-such-host.invalid:7400?insecure=yes-i-know", "is not known"),
        ("tcp://a..b:7400?insecure=yes-i-know", "no host can be called that"),
        ("unix:///nowhere/bus.sock", "nobody listens there; is the server running?"),
    ],
)
async def test_a_place_that_there_is_not_is_a_clear_error_by_the_deadline(url: str, words: str) -> None:
    assert words in await why_not(url)


async def test_a_port_at_which_nobody_listens_is_a_clear_error_by_the_deadline() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert "nobody listens there" in await why_not(f"tcp://127.0.0.1:{taken.getsockname()[1]}")


async def test_a_server_that_says_nothing_is_a_clear_error_by_the_deadline() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        assert "did not answer within 0.3 s" in await why_not(f"tcp://127.0.0.1:{deaf.getsockname()[1]}")


async def test_of_several_addresses_the_next_one_is_tried() -> None:
    async with listening_at("tcp://127.0.0.1:0") as gate:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            nobody = f"127.0.0.1:{taken.getsockname()[1]}"
            await sends(f"tcp://{nobody},{gate.address.removeprefix('tcp://')}")


async def test_a_socket_is_its_owners_alone_also_while_it_is_made(tmp_path: Path) -> None:
    """Security 26."""
    path = tmp_path / "bus.sock"
    before = os.umask(0)
    try:
        async with listening_at(f"unix://{path}"):
            mode = path.stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o600
            assert os.listdir(tmp_path) == ["bus.sock"]
            await sends(f"unix://{path}")
    finally:
        os.umask(before)
    assert os.listdir(tmp_path) == []


async def test_a_socket_that_a_dead_process_left_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "bus.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with listening_at(f"unix://{path}"):
        await sends(f"unix://{path}")
        with pytest.raises(ConfigurationError, match="the address is in use"):
            async with listening_at(f"unix://{path}"):
                pass
        await sends(f"unix://{path}")


async def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(ConfigurationError, match="something that is no socket is there"):
        async with listening_at(f"unix://{path}"):
            pass
    assert path.read_text() == "mine"


async def test_a_server_that_is_closing_takes_away_its_own_socket_and_not_its_successors(
    tmp_path: Path,
) -> None:
    """As when one program takes the place of another while that one lets its clients finish."""
    url = f"unix://{tmp_path / 'bus.sock'}"
    async with listening_at(url) as old:
        listener = old._listener
        assert listener is not None
        closing = asyncio.ensure_future(old.close(0.1))
        while listener.is_serving():
            await asyncio.sleep(0)
        async with listening_at(url):
            await closing
            await sends(url)


def test_connections_leave_descriptors_for_the_rest_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    peers, strangers = room_for_peers()
    assert peers + strangers <= 1024 - 128
    assert strangers > 100
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert room_for_peers() == (10_000, 1000)
