"""TLS: whoever is not who he says is refused, in the sentence that tells an operator what to change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from waystation._core.delivery import Receipt
from waystation._core.errors import ConfigurationError, Disconnected, Refused
from waystation._core.message import Message
from waystation._core.ports import Transport
from waystation._core.url import parse_url
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation.transports.memory.transport import MemoryTransport
from waystation.transports.tcp import gate
from waystation.transports.tcp.listening import SocketGate
from waystation.transports.tcp.options import listen_options

TOKEN = "canary-7f3a9c0d51e84b26"


@dataclass
class Papers:
    """Files with certificates, by whom they were issued and what is wrong with them."""

    folder: Path

    def __getattr__(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    ours, theirs = trustme.CA(), trustme.CA()
    now, day = datetime.now(UTC), timedelta(days=1)
    ours.cert_pem.write_to_path(str(folder / "ca.pem"))
    theirs.cert_pem.write_to_path(str(folder / "other_ca.pem"))
    issued = {
        "server": ours.issue_cert("localhost", "127.0.0.1"),
        "elsewhere": ours.issue_cert("elsewhere.example"),
        "expired": ours.issue_cert("127.0.0.1", not_before=now - 3 * day, not_after=now - day),
        "early": ours.issue_cert("127.0.0.1", not_before=now + day, not_after=now + 3 * day),
        "foreign": theirs.issue_cert("127.0.0.1"),
        "client": ours.issue_cert("shop@example.org"),
        "stranger": theirs.issue_cert("shop@example.org"),
    }
    for name, certificate in issued.items():
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))
    (folder / "token.txt").write_text(TOKEN)
    return Papers(folder)


@asynccontextmanager
async def served(options: str) -> AsyncIterator[str]:
    """A server with these options in its URL."""
    transport = MemoryTransport(SystemClock())
    await transport.open()
    listener = SocketGate(listen_options(parse_url(f"tcp://127.0.0.1:0?{options}")))
    await listener.open(transport)
    try:
        yield listener.address
    finally:
        await listener.close(0.1)
        await transport.close()


async def connected(url: str) -> None:
    """Connect, send something, and leave."""
    transport: Transport = find_transport(parse_url(url), clock=SystemClock())
    try:
        await transport.open()
        (outcome,) = await transport.send([Message("m1", "work", bytes(300_000))])
        assert isinstance(outcome, Receipt), outcome
    finally:
        await transport.close()


async def test_with_the_right_papers_everything_works(papers: Papers) -> None:
    async with served(f"tls_cert={papers.server}&token={TOKEN}") as url:
        await connected(f"{url}?tls_ca={papers.ca}&token={TOKEN}")
        await connected(f"{url.replace('127.0.0.1', 'localhost')}?tls_ca={papers.ca}&token={TOKEN}")
    async with served(f"tls_cert={papers.server}&tls_client_ca={papers.ca}") as url:
        await connected(f"{url}?tls_ca={papers.ca}&tls_cert={papers.client}")
    async with served(f"tls_cert={papers.elsewhere}") as url:
        await connected(f"{url}?tls_ca={papers.ca}&tls_name=elsewhere.example")


@pytest.mark.parametrize(
    ("server", "client", "words"),
    [
        ("server", "tls=on", "unable to get local issuer certificate; give the authority that signed it"),
        ("server", "tls_ca={0.other_ca}", "give the authority that signed it (?tls_ca=FILE)"),
        ("foreign", "tls_ca={0.ca}", "give the authority that signed it (?tls_ca=FILE)"),
        ("expired", "tls_ca={0.ca}", "certificate has expired; the server needs a new one"),
        (
            "early",
            "tls_ca={0.ca}",
            "certificate is not yet valid; it is not valid yet: is one of the two clocks",
        ),
        (
            "elsewhere",
            "tls_ca={0.ca}",
            "IP address mismatch, certificate is not valid for '127.0.0.1'; connect by",
        ),
        ("server", "tls_ca={0.ca}&tls_name=wrong.example", "Hostname mismatch"),
    ],
)
async def test_a_server_that_cannot_prove_who_it_is_gets_no_token_and_nothing_else(
    papers: Papers, server: str, client: str, words: str
) -> None:
    """F-48, security 11."""
    async with served(f"tls_cert={papers.folder / server}.pem&token={TOKEN}") as url:
        with pytest.raises(Refused) as caught:
            await connected(f"{url}?{client.format(papers)}&token={TOKEN}&connect_timeout=5s")
    assert words in str(caught.value)
    assert TOKEN not in repr(caught.value)


@pytest.mark.parametrize(
    ("server", "client", "words"),
    [
        ("tls_cert={0.server}", "tls=off", "does it speak TLS (?tls=on)?"),
        (
            "token=" + TOKEN,
            "tls_ca={0.ca}",
            "it speaks something else; leave TLS away (?tls=off), or turn it on",
        ),
        ("tls_cert={0.server}&tls_client_ca={0.ca}", "tls_ca={0.ca}", "does it want a certificate"),
        (
            "tls_cert={0.server}&tls_client_ca={0.ca}",
            "tls_ca={0.ca}&tls_cert={0.stranger}",
            "does it want a certificate, or another one",
        ),
    ],
)
async def test_what_does_not_fit_together_is_told_by_the_deadline(
    papers: Papers, server: str, client: str, words: str
) -> None:
    async with served(server.format(papers)) as url:
        began = asyncio.get_running_loop().time()
        with pytest.raises(Disconnected) as caught:
            await connected(f"{url}?{client.format(papers)}&connect_timeout=800ms")
        assert asyncio.get_running_loop().time() - began < 3.0
    assert words in str(caught.value)


async def test_old_versions_of_tls_are_refused(papers: Papers) -> None:
    async with served(f"tls_cert={papers.server}") as url:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(papers.ca)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), ssl=context)
        await connected(f"{url}?tls_ca={papers.ca}")


async def test_whoever_does_not_finish_agreeing_on_tls_has_to_leave_soon(
    papers: Papers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slowloris before the first frame; and what was ended meanwhile does not stay open."""
    monkeypatch.setattr("waystation.transports.tcp.listening.GREETING_S", 0.3)
    async with served(f"tls_cert={papers.server}") as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"\x16\x03\x01")
        async with asyncio.timeout(3.0):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()


async def test_no_secret_is_in_any_log_error_or_repr(
    papers: Papers, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Security 12: a canary, and every way to go wrong."""
    caplog.set_level(logging.DEBUG)
    wrong = TOKEN.replace("7f3a", "0000")
    shown: list[str] = []
    async with served(f"tls_cert={papers.server}&token={TOKEN}") as url:
        for client in (
            f"tls_ca={papers.ca}&token={wrong}",
            f"tls_ca={papers.other_ca}&token={TOKEN}",
            f"tls=off&token={TOKEN}",
            f"tls_ca={papers.ca}&token={TOKEN}&nonsense=1",
            f"tls_ca=/nowhere&token={TOKEN}",
            f"tls_ca={papers.ca}&token={TOKEN}&token_file=x",
            f"tls_ca={papers.ca}&token={TOKEN}&heartbeat=never",
        ):
            with pytest.raises((Disconnected, ConfigurationError)) as caught:
                await connected(f"{url}?{client}&connect_timeout=300ms")
            shown += [repr(caught.value), str(caught.value)]
        await connected(f"{url}?tls_ca={papers.ca}&token_file={papers.folder / 'token.txt'}")
        good = find_transport(parse_url(f"{url}?tls_ca={papers.ca}&token={TOKEN}"), clock=SystemClock())
        shown += [repr(good), str(parse_url(f"{url}?token={TOKEN}")), repr(parse_url(f"{url}?token={TOKEN}"))]
    for listen in (f"tcp://0.0.0.0:0?token={TOKEN}", "tcp://127.0.0.1:0?token=canary-short"):
        with pytest.raises(ConfigurationError) as refused:
            gate(parse_url(listen))
        shown += [repr(refused.value)]
    said = capfd.readouterr()
    everything = "\n".join([*shown, caplog.text, said.out, said.err])
    assert "canary" not in everything


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("tcp://0.0.0.0:7400", "lacks TLS (?tls_cert=FILE&tls_key=FILE) and a token"),
        ("tcp://[::]:7400", "lacks TLS"),
        ("tcp://192.0.2.1:7400?token=" + TOKEN, "lacks TLS"),
        ("tcp://shop.example:7400", "can be reached from other machines"),
        ("tcp://0.0.0.0:7400?insecure=yes", "say insecure=yes-i-know"),
        ("tcp://0.0.0.0:7400?tls_key=/tmp/key", "needs the server's certificate"),
    ],
)
def test_a_server_does_not_let_in_other_machines_unless_told_so_in_words(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        gate(parse_url(url))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("tcp://shop.example:7400?tls=off", "anybody on the way can read and write"),
        ("tcp://shop.example:7400?tls=off&tls_ca=x", "contradict each other"),
        ("tcp://shop.example:7400?tls=maybe", "must be 'on' or 'off'"),
        ("tcp://127.0.0.1:7400?busy_poll=yes", "must be 'on' or 'off'"),
    ],
)
def test_a_client_does_not_talk_to_other_machines_in_the_clear_unless_told_so(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_transport(parse_url(url), clock=SystemClock())
    assert words in str(caught.value)


async def test_a_key_that_is_encrypted_or_not_the_certificates_is_refused_at_the_start(
    papers: Papers,
) -> None:
    with pytest.raises(ConfigurationError, match="not what it should be"):
        gate(parse_url(f"tcp://127.0.0.1:0?tls_cert={papers.server}&tls_key={papers.client}"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        gate(parse_url("tcp://127.0.0.1:0?tls_cert=/nowhere.pem"))
