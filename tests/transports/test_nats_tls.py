"""`nats://` with TLS: who the server is, is checked; who does not trust it, is told what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tests.transports.nats_stand import ORDERS, configured, fresh, make, message, opened, send, take
from waystation._core.delivery import ACCEPT
from waystation._core.errors import Disconnected, Refused

TLS = 'tls {{ cert_file: "{0}", key_file: "{0}"{1} }}\njetstream {{ store_dir: "STORE" }}'


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, the server's certificate, and a client's."""
    folder = tmp_path_factory.mktemp("papers")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name, identity in (("server", "localhost"), ("client", "shop@example.org")):
        issued = authority.issue_cert(identity)
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))
    return folder


async def test_messages_travel_over_tls(tmp_path: Path, papers: Path) -> None:
    with configured(tmp_path, TLS.format(papers / "server.pem", "")) as place:
        url = fresh(f"nats://{place}", f"&tls_ca={papers / 'ca.pem'}&tls_name=localhost")
        async with opened(url) as transport:
            feed = await transport.open_feed(ORDERS)
            await send(transport, message("m-1"))
            (delivery,) = await take(feed, 1)
            await feed.settle([(delivery, ACCEPT)])
            assert (await transport.facts())["TLS"] == "yes"


async def test_a_client_that_shows_its_certificate_is_let_in(tmp_path: Path, papers: Path) -> None:
    text = TLS.format(papers / "server.pem", f', ca_file: "{papers / "ca.pem"}", verify: true')
    with configured(tmp_path, text) as place:
        trusts = f"&tls_ca={papers / 'ca.pem'}&tls_name=localhost"
        async with opened(
            fresh(f"nats://{place}", f"{trusts}&tls_cert={papers / 'client.pem'}")
        ) as transport:
            await send(transport, message("m-1"))
        with pytest.raises(Disconnected, match="nats://127"):
            await make(fresh(f"nats://{place}", f"{trusts}&connect_timeout=1s")).open()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            "&tls=on",
            r"certificate of nats://.* is not accepted.*give the authority that signed it \(tls_ca=FILE\)",
        ),
        ("&tls_ca={}/ca.pem", r"is not accepted.*or the name in it \(tls_name=NAME\)"),
        ("", r"the server wants TLS: say tls=on"),
    ],
)
async def test_what_is_not_trusted_is_refused(
    tmp_path: Path, papers: Path, options: str, sentence: str
) -> None:
    with configured(tmp_path, TLS.format(papers / "server.pem", "")) as place:
        url = fresh(f"nats://{place}", options.format(papers) + "&connect_timeout=5s")
        with pytest.raises(Refused, match=sentence):
            await make(url).open()
