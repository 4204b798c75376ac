"""Who may and who may not: CURVE, tokens, strangers of every kind; and what a URL must say."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.peer.stand import client, until
from waystation._core.delivery import Receipt
from waystation._core.errors import ConfigurationError, Disconnected, MissingExtra, Refused
from waystation._core.inspection import Inspector
from waystation._core.message import Message
from waystation._core.url import parse_url
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_gate, find_transport
from waystation.transports.memory.transport import MemoryTransport
from waystation.transports.zeromq.listening import ZeroMQGate
from waystation.transports.zeromq.options import listen_options, peer_options

zmq: Any = pytest.importorskip("zmq")
auth: Any = pytest.importorskip("zmq.auth")

TOKEN = "0123456789abcdef"


@asynccontextmanager
async def listening(query: str = "", address: str = "zmq+tcp://127.0.0.1:0") -> AsyncIterator[ZeroMQGate]:
    transport = MemoryTransport(SystemClock())
    await transport.open()
    gate = find_gate(parse_url(f"{address}?{query}"))
    assert isinstance(gate, ZeroMQGate)
    await gate.open(transport)
    try:
        yield gate
    finally:
        await gate.close(0.1)
        await transport.close()


async def sends(url: str) -> None:
    async with client(url) as made:
        (outcome,) = await made.send([Message("m1", "work", b"")])
        assert isinstance(outcome, Receipt), outcome


async def why_not(url: str) -> str:
    """Try to connect for a moment; return the error's text."""
    with pytest.raises(Disconnected) as caught:
        async with client(f"{url}&connect_timeout=1s"):
            pass
    return str(caught.value)


class Keys:
    """Certificates in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("server", "client", "other"):
            auth.create_certificates(folder, name)

    def public(self, name: str) -> str:
        return f"{self.folder}/{name}.key"

    def secret(self, name: str) -> str:
        return f"{self.folder}/{name}.key_secret"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def stranger() -> Iterator[Any]:
    """A DEALER of somebody else's."""
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    yield socket
    context.destroy(linger=0)


# --- CURVE -----------------------------------------------------------------------------------------------------


async def test_who_knows_the_server_s_key_is_let_in_and_nobody_else(keys: Keys) -> None:
    async with listening(f"curve_key={keys.secret('server')}") as gate:
        await sends(f"{gate.address}?curve_server_key={keys.public('server')}")
        wrong = await why_not(f"{gate.address}?curve_server_key={keys.public('other')}")
        assert "does ?curve_server_key=FILE hold the server's public key" in wrong
        none = await why_not(f"{gate.address}?")
        assert "does ?curve_server_key=FILE" in none
        await until(lambda: int(gate.facts()["handshakes that failed"]) >= 2, "they are counted")
        assert gate.peers == 0


async def test_only_keys_that_are_named_are_let_in(keys: Keys, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text("# who may come\n" + load(keys.public("client")) + "\n")
    async with listening(f"curve_key={keys.secret('server')}&curve_client_keys={allowed}") as gate:
        server = f"curve_server_key={keys.public('server')}"
        await sends(f"{gate.address}?{server}&curve_key={keys.secret('client')}")
        for query in (server, f"{server}&curve_key={keys.secret('other')}"):
            with pytest.raises(Refused, match="does not let this key in: put the public key"):
                async with client(f"{gate.address}?{query}"):
                    pass


def load(path: str) -> str:
    public, _ = auth.load_certificate(path)
    return str(public.decode())


async def test_a_client_with_keys_does_not_talk_to_a_server_without(keys: Keys) -> None:
    async with listening() as gate:
        text = await why_not(f"{gate.address}?curve_server_key={keys.public('server')}")
        assert "does the server use CURVE?" in text


async def test_a_session_belongs_to_the_key_that_began_it(keys: Keys) -> None:
    """Whoever learns its name, and is let in himself, does not get it."""
    query = f"curve_key={keys.secret('server')}&curve_client_keys="
    both = keys.folder / "both"
    both.write_text("\n".join(map(load, (keys.public("client"), keys.public("other")))))
    async with listening(query + str(both)) as gate:
        server = f"{gate.address}?curve_server_key={keys.public('server')}"
        async with client(f"{server}&curve_key={keys.secret('client')}") as one:
            assert one._link is not None
            stolen = one._link._session
            async with client(f"{server}&curve_key={keys.secret('other')}") as other:
                link = other._link
                assert link is not None
                link._session = stolen
                assert link._line is not None
                link._line.abort("to come back as another")
                await until(lambda: link.connected, "it comes back")
                assert link._session != stolen
            assert one._link._line is not None, "nobody took its place"


# --- tokens and strangers --------------------------------------------------------------------------------------


async def test_tokens_are_as_over_tcp() -> None:
    async with listening(f"token={TOKEN}") as gate:
        await sends(f"{gate.address}?token={TOKEN}")
        with pytest.raises(Refused, match="the token is missing or wrong"):
            async with client(f"{gate.address}?token={TOKEN[::-1]}"):
                pass
        await until(lambda: gate.peers == 0, "he is gone")


async def test_a_stranger_s_messages_go_nowhere_and_harm_nobody(stranger: Any) -> None:
    """Whatever he sends by ZeroMQ, in however many parts, with whatever before it."""
    async with listening(f"token={TOKEN}") as gate, client(f"{gate.address}?token={TOKEN}") as honest:
        stranger.connect(gate.address.removeprefix("zmq+"))
        head = b"\1\1stranger" + bytes(16)
        for parts in (
            [b""],
            [b"garbage"],
            [b"a"] * 5,
            [head, b"x"],
            [head + b"GET / HTTP/1.1\r\n"],
            [head[:20]],
        ):
            stranger.send_multipart(parts)
        answer = await asyncio.to_thread(stranger.recv)
        assert b"HTTP" in answer, "he is told what he seems to speak, and that is all"
        await until(lambda: int(gate.facts()["messages thrown away"]) >= 5, "they are counted")
        assert gate.peers == 1
        (outcome,) = await honest.send([Message("m1", "work", b"")])
        assert isinstance(outcome, Receipt)
        assert isinstance(honest, Inspector)
        assert [topic.name for topic in await honest.topics()] == ["work"]


@pytest.mark.parametrize(
    "greeting",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48), os.urandom(4096)],
)
async def test_who_does_not_speak_zeromq_harms_nobody(greeting: bytes) -> None:
    async with listening() as gate, client(gate.address) as honest:
        port = int(gate.address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as rude:
            rude.sendall(greeting)
            (outcome,) = await honest.send([Message("m1", "work", b"")])
            assert isinstance(outcome, Receipt)
        assert gate.peers == 1


async def test_a_message_longer_than_ours_ends_the_connection_before_it_is_taken(stranger: Any) -> None:
    async with listening() as gate, client(gate.address) as honest:
        monitor = stranger.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        stranger.connect(gate.address.removeprefix("zmq+"))
        stranger.send(b"\1\1stranger" + bytes(16) + bytes(1 << 20))
        assert await asyncio.to_thread(monitor.poll, 5000), "it was not cut off"
        stranger.disable_monitor()
        monitor.close()
        await honest.send([Message("m1", "work", b"")])


async def test_an_address_that_is_taken_or_not_ours_is_refused(tmp_path: Path) -> None:
    async with listening() as gate:
        with pytest.raises(ConfigurationError, match="in use"):
            async with listening(address=gate.address):
                pass
    with pytest.raises(ConfigurationError, match="not an address of this machine"):
        async with listening("insecure=yes-i-know", address="zmq+tcp://192.0.2.1:0"):
            pass
    text = await why_not(f"{gate.address}?")
    assert "nobody listens there; is the server running?" in text
    assert "is not known" in await why_not("zmq+tcp://no-such-host.invalid:7500?insecure=yes-i-know")


async def test_a_path_is_its_owner_s_alone_and_a_living_server_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "bus.sock"
    url = f"zmq+ipc://{path}"
    async with listening(address=url) as gate:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await sends(gate.address)
        with pytest.raises(ConfigurationError, match="in use"):
            async with listening(address=url):
                pass
        await sends(gate.address)
    assert not path.exists()


# --- the driver ------------------------------------------------------------------------------------------------


async def test_without_pyzmq_opening_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "zmq", None)
    for url in ("zmq+tcp://127.0.0.1:7500", "zmq+tcp://127.0.0.1:0?listen"):
        with pytest.raises(MissingExtra, match=r"pip install 'waystation\[zmq\]'"):
            await find_transport(parse_url(url), clock=SystemClock()).open()


def test_importing_the_transport_and_making_a_bus_needs_no_pyzmq() -> None:
    code = (
        "import sys; sys.modules['zmq'] = None\n"
        "from waystation import Bus\n"
        "import waystation.transports.zeromq.listening\n"
        "Bus('zmq+tcp://127.0.0.1:7500'); Bus('zmq+tcp://127.0.0.1:7500?listen')\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# --- URLs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("zmq+tcp://", "no address"),
        ("zmq+tcp://host", "no address: write zmq\\+tcp://host:7400"),
        ("zmq+tcp://u:p@h:1", "more than an address"),
        ("zmq+tcp://::1:7500", "in brackets"),
        ("zmq+ipc://host/x", "has no path: write zmq\\+ipc:///"),
        ("zmq+tcp://127.0.0.1:1?tls=on", "no option 'tls'"),
        ("zmq+tcp://shop:7500", "without CURVE"),
        ("zmq+tcp://127.0.0.1:1,shop:2", "without CURVE"),
        ("zmq+tcp://127.0.0.1:1?insecure=yes", "say insecure=yes-i-know"),
        ("zmq+tcp://127.0.0.1:1?curve_key=/nowhere", "needs the key of the server"),
        ("zmq+tcp://127.0.0.1:1?curve_server_key=/nowhere", "cannot be read: No such file"),
        ("zmq+tcp://127.0.0.1:1?heartbeat=1h", "from 50ms to 60s"),
        ("zmq+tcp://127.0.0.1:1?busy_poll=yes", "must be 'on' or 'off'"),
        ("zmq+tcp://127.0.0.1:1?token=a&token_file=b", "which one counts"),
    ],
)
def test_a_client_s_url_that_cannot_be_meant_is_refused(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        peer_options(parse_url(url))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("zmq+tcp://0.0.0.0:1", r"lacks CURVE .* and a token .* or the clients' keys"),
        ("zmq+tcp://0.0.0.0:1?token=" + TOKEN, r"lacks CURVE \(\?curve_key=FILE\); to let in"),
        ("zmq+tcp://127.0.0.1:1?token=short", "at least 16 characters"),
        ("zmq+tcp://127.0.0.1:1,127.0.0.1:2", "several addresses"),
        ("zmq+tcp://127.0.0.1:1?curve_client_keys=/nowhere", "needs the server's own key"),
        ("zmq+tcp://127.0.0.1:1?curve_server_key=/nowhere", "no option 'curve_server_key'"),
    ],
)
def test_a_server_s_url_that_cannot_be_meant_is_refused(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        listen_options(parse_url(url))


def test_off_loopback_curve_and_something_to_show_are_enough(keys: Keys) -> None:
    own = f"zmq+tcp://0.0.0.0:1?curve_key={keys.secret('server')}"
    with pytest.raises(ConfigurationError, match="lacks a token"):
        listen_options(parse_url(own))
    assert listen_options(parse_url(f"{own}&token={TOKEN}")).tokens == (TOKEN,)
    options = listen_options(parse_url(f"{own}&curve_client_keys={keys.public('client')}"))
    assert options.client_keys == (load(keys.public("client")).encode(),)
    assert "secret" not in repr(options).replace("secret_key", "")
    assert peer_options(parse_url(f"zmq+tcp://shop:1?curve_server_key={keys.public('server')}")).server_key
    assert listen_options(parse_url("zmq+tcp://0.0.0.0:1?insecure=yes-i-know")).secret_key is None


@pytest.mark.parametrize(
    ("text", "query", "why"),
    [
        ("no key", "curve_key={}", "holds no secret key of CURVE"),
        ('public-key = "' + "a" * 40 + '"', "curve_key={}", "holds no secret key"),
        ("no key", "curve_key={}&curve_client_keys={}", "holds no secret key"),
    ],
)
def test_a_file_without_a_key_is_refused_and_its_text_not_shown(
    tmp_path: Path, text: str, query: str, why: str
) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=why) as caught:
        listen_options(parse_url("zmq+tcp://127.0.0.1:1?" + query.replace("{}", str(file))))
    assert "a" * 40 not in str(caught.value)


def test_a_server_has_one_public_key(tmp_path: Path, keys: Keys) -> None:
    file = tmp_path / "two"
    file.write_text("\n".join(map(load, (keys.public("client"), keys.public("other")))))
    with pytest.raises(ConfigurationError, match="holds 2 keys; it must be one"):
        peer_options(parse_url(f"zmq+tcp://127.0.0.1:1?curve_server_key={file}"))


async def test_a_key_that_is_none_is_found_before_anybody_listens(tmp_path: Path, keys: Keys) -> None:
    file = tmp_path / "file"
    file.write_text(f'secret-key = "{"#" * 40}"\n')
    with pytest.raises(ConfigurationError, match="is not one of CURVE"):
        async with listening(f"curve_key={file}"):
            pass
    file.write_text("#" * 40)
    with pytest.raises(ConfigurationError, match="one of the keys in curve_client_keys= is not one of CURVE"):
        async with listening(f"curve_key={keys.secret('server')}&curve_client_keys={file}"):
            pass
