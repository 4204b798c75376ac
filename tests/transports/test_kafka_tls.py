"""kafka:// with TLS, on a broker with a certificate of its own: who is let in, and what everybody else is told."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.brokers import again, own
from tests.transports.kafka_stand import ORDERS, Traffic, make, message, opened, send, take
from waystation import Bus, Disconnected, Refused
from waystation._core.delivery import ACCEPT
from waystation._core.limits import SEND_TIMEOUT_S
from waystation._servers.desk import Server
from waystation._servers.probing import free_ports
from waystation.transports.kafka.limits import ASK_S

pytestmark = pytest.mark.timeout(120)

_PASSWORD = "correct-horse-battery"

#: Where the broker listens besides, and by which certificate.
_LISTENERS = {"TLS": "server", "ELSEWHERE": "elsewhere", "MUTUAL": "server", "SECRET": "server"}


class Stand(NamedTuple):
    """A broker, its ports by the names of its listeners, and a folder with certificates."""

    server: Server
    ports: dict[str, int]
    papers: Path

    def url(self, listener: str, options: str = "", user: str = "") -> str:
        """Return a URL under which nothing is. `{0}` in options is the folder."""
        place = f"{user}127.0.0.1:{self.ports[listener]}"
        return f"kafka://{place}?prefix=s{secrets.token_hex(6)}.{options.format(self.papers)}"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("kafka-tls")
    papers = folder / "papers"
    papers.mkdir()
    _write_papers(papers)
    with own("kafka", folder) as server:
        server.stop()
        ports = dict(zip(_LISTENERS, free_ports(len(_LISTENERS)), strict=True))
        _listen(server, ports, papers)
        plain = {"PLAIN": server.nodes[0].port or 0}
        yield Stand(again(server), ports | plain, papers)


def _write_papers(folder: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    other.cert_pem.write_to_path(str(folder / "other.pem"))
    for name, by, identity in (
        ("server", authority, "127.0.0.1"),
        ("elsewhere", authority, "elsewhere.example"),
        ("client", authority, "shop@example.org"),
        ("stranger", other, "shop@example.org"),
    ):
        issued = by.issue_cert(identity)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # as Java wants it
        certificate = b"".join(each.bytes() for each in issued.cert_chain_pems)
        for ending, content in ((".key", pkcs8), (".crt", certificate), (".pem", pkcs8 + certificate)):
            (folder / f"{name}{ending}").write_bytes(content)


def _listen(server: Server, ports: dict[str, int], papers: Path) -> None:
    """Give a node more places to listen at."""
    file = server.folder / "node1" / "server.properties"
    lines = dict(line.split("=", 1) for line in file.read_text().splitlines())
    for name, certificate in _LISTENERS.items():
        here = f",{name}://127.0.0.1:{ports[name]}"
        lines["listeners"] += here
        lines["advertised.listeners"] += here
        lines["listener.security.protocol.map"] += f",{name}:{'SASL_SSL' if name == 'SECRET' else 'SSL'}"
        own_settings = {"ssl.keystore.type": "PEM", "ssl.keystore.location": f"{papers / certificate}.pem"}
        if name == "MUTUAL":
            own_settings["ssl.client.auth"] = "required"
            own_settings |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": f"{papers / 'ca.pem'}"}
        if name == "SECRET":
            own_settings["sasl.enabled.mechanisms"] = "PLAIN"
            own_settings["plain.sasl.jaas.config"] = (
                f'org.apache.kafka.common.security.plain.PlainLoginModule required user_ann="{_PASSWORD}";'
            )
        lines |= {f"listener.name.{name.lower()}.{key}": value for key, value in own_settings.items()}
    file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))


@pytest.mark.parametrize(
    ("listener", "options", "user"),
    [
        ("TLS", "&tls=on&tls_ca={0}/ca.pem", ""),
        ("MUTUAL", "&tls_ca={0}/ca.pem&tls_cert={0}/client.crt&tls_key={0}/client.key", ""),
        ("MUTUAL", "&tls_ca={0}/ca.pem&tls_cert={0}/client.pem", ""),
        ("SECRET", "&tls_ca={0}/ca.pem&sasl=PLAIN", f"ann:{_PASSWORD}@"),
    ],
    ids=["tls", "mutual", "mutual, one file", "password"],
)
async def test_a_bus_publishes_and_handles_over_tls(
    stand: Stand,
    listener: str,
    options: str,
    user: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    bus = Bus(stand.url(listener, options, user))
    handled = asyncio.Event()

    @bus.subscribe("numbers", group="readers")
    async def handle(number: int) -> None:
        handled.set()

    async with bus.running():
        await bus.publish("numbers", 1)
        async with asyncio.timeout(20):
            await handled.wait()
    told = "".join((caplog.text, *capfd.readouterr(), repr(bus)))
    assert _PASSWORD not in told
    for line in (stand.papers / "client.key").read_text().splitlines()[1:-1]:
        assert line not in told


@pytest.mark.parametrize(
    ("listener", "options", "user", "sentence"),
    [
        ("TLS", "&tls_ca={0}/other.pem", "", r"is not accepted: .*; give the authority that signed it \(tls_ca=FILE\)"),
        ("TLS", "&tls=on", "", r"is not accepted: .*; give the authority that signed it \(tls_ca=FILE\)"),
        (
            "ELSEWHERE",
            "&tls_ca={0}/ca.pem",
            "",
            r"not valid for '127.0.0.1'; write the broker's address as its certificate has it",
        ),
        ("TLS", "", "", r"speaks TLS: say tls=on, with tls_ca=FILE"),
        ("MUTUAL", "", "", r"speaks TLS: say tls=on, with tls_ca=FILE"),
        ("SECRET", "&sasl=PLAIN", f"ann:{_PASSWORD}@", r"speaks TLS: say tls=on, with tls_ca=FILE"),
        ("PLAIN", "&tls_ca={0}/ca.pem", "", r"speaks no TLS: name the port at which it does, or leave out tls=on"),
        ("MUTUAL", "&tls_ca={0}/ca.pem", "", r"wants a certificate .* \(tls_cert=FILE&tls_key=FILE\)"),
        (
            "MUTUAL",
            "&tls_ca={0}/ca.pem&tls_cert={0}/stranger.pem",
            "",
            r"does not accept tls_cert=: it must be of an authority that the broker trusts",
        ),
        ("SECRET", "&tls_ca={0}/ca.pem", "", r"wants to know who asks: give a user and password"),
        ("SECRET", "&tls_ca={0}/ca.pem&sasl=PLAIN", "ann:hunter2@", r"does not let this program in: .*Invalid"),
    ],
    ids=[
        "wrong authority", "no authority", "wrong host", "plain", "plain, mutual", "plain, with a password",
        "no TLS there", "no certificate", "wrong certificate", "no password", "wrong password",
    ],
)  # fmt: skip
async def test_who_is_not_let_in_is_told_what_to_change_long_before_the_deadline(
    stand: Stand,
    listener: str,
    options: str,
    user: str,
    sentence: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    url = stand.url(listener, options, user)
    transport = make(url)
    with pytest.raises(Refused, match=sentence) as refused:
        async with asyncio.timeout(ASK_S - 2.0):
            await transport.open()
    said = str(refused.value)
    assert f"127.0.0.1:{stand.ports[listener]}" in said
    assert "\n" not in said
    told = "".join((caplog.text, *capfd.readouterr(), said, repr(transport)))
    assert _PASSWORD not in told
    assert "hunter2" not in told


async def test_who_is_not_let_in_may_try_again_when_that_is_put_right(stand: Stand) -> None:
    transport = make(stand.url("TLS", "&tls_ca={0}/other.pem"))
    for _ in range(2):
        with pytest.raises(Refused, match="tls_ca=FILE"):
            await transport.open()
    async with opened(stand.url("TLS", "&tls_ca={0}/ca.pem")) as right:
        assert (await right.facts())["TLS"] == "yes"
        feed = await right.open_feed(ORDERS)
        await send(right, message("m-1"))
        (delivery,) = await take(feed, 1)
        await feed.settle([(delivery, ACCEPT)])


async def test_a_broker_that_says_nothing_is_given_up_by_the_deadline(stand: Stand) -> None:
    stand.server.freeze()
    try:
        with pytest.raises(Disconnected, match="does not answer"):
            async with asyncio.timeout(ASK_S + 5.0):
                await make(stand.url("TLS", "&tls_ca={0}/ca.pem")).open()
    finally:
        stand.server.thaw()


async def test_a_program_rides_out_a_restart_over_tls(stand: Stand) -> None:
    traffic = Traffic(stand.url("MUTUAL", "&tls_ca={0}/ca.pem&tls_cert={0}/client.pem"), senders=2)
    async with traffic.flowing():
        await traffic.moves()
        await asyncio.to_thread(stand.server.kill)
        await asyncio.to_thread(again, stand.server)
        await traffic.moves(patience_s=SEND_TIMEOUT_S + 20)
    assert not [failure for failure in traffic.failures if isinstance(failure, Refused)]
