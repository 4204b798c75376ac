"""What a `nats://` URL may say, and what is said of a server that cannot be used: one sentence with the way out."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from nats.js.api import StreamConfig

from tests.brokers import Server
from tests.transports.nats_stand import (
    ORDERS,
    configured,
    fresh,
    make,
    message,
    opened,
    plain,
    prefix_of,
    send,
    take,
)
from waystation import ConfigurationError, Disconnected, Durability, SendRejected
from waystation._core.delivery import Receipt
from waystation._core.errors import Refused, TransportError
from waystation._core.ports import Topology
from waystation._core.url import parse_url
from waystation._servers.probing import free_ports
from waystation.transports.nats.dialling import check_version
from waystation.transports.nats.options import Options, read_options


def options(url: str) -> Options:
    return read_options(parse_url(url))


def test_a_url_says_where_and_as_whom() -> None:
    read = options("nats://ann:s%40cret@127.0.0.1:1,[::1]:2,localhost?prefix=shop&replicas=3&heartbeat=500ms")
    assert read.place == "nats://127.0.0.1:1, nats://[::1]:2, nats://localhost:4222"
    assert (read.user, read.password, read.token) == ("ann", "s@cret", "")
    assert (read.prefix, read.replicas, read.heartbeat_s) == ("shop", 3, 0.5)
    assert (read.login()["user"], read.login()["pass"]) == ("ann", "s@cret")
    assert options("nats://t0ken@localhost").login()["auth_token"] == "t0ken"


def test_a_token_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t0ken\n")
    assert options(f"nats://localhost?token_file={file}").token == "t0ken"
    file.write_text("")
    with pytest.raises(ConfigurationError, match="is empty"):
        options(f"nats://localhost?token_file={file}")


def test_secrets_are_never_shown() -> None:
    read = options("nats://ann:secret@localhost")
    assert "secret" not in repr(read)
    assert "secret" not in read.place
    assert "ann" not in repr(read)


@pytest.mark.parametrize(
    ("url", "durability"),
    [
        ("nats://localhost", Durability.WRITTEN),
        ("nats://localhost?sync=always", Durability.FLUSHED),
        ("nats://localhost?replicas=3", Durability.REPLICATED),
        ("nats://localhost?replicas=3&sync=always", Durability.REPLICATED_FLUSHED),
    ],
)
def test_a_url_says_what_a_receipt_promises(url: str, durability: Durability) -> None:
    assert make(url).capabilities.send is durability


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nats://localhost?prefx=a", "no option 'prefx': did you mean 'prefix'"),
        ("nats://localhost?prefix=a.b", "prefix='a.b' must be letters and digits"),
        ("nats://localhost?replicas=2", "replicas='2' must be 1, 3 or 5"),
        ("nats://localhost?sync=never", "must be 'always'"),
        ("nats://localhost?tls=maybe", "must be 'on' or 'off'"),
        ("nats://localhost?tls=off&tls_ca=x", "tls=off and tls_ca= contradict"),
        ("nats://localhost?insecure=yes", "say insecure=yes-i-know"),
        ("nats://localhost?heartbeat=1h", "must be from 50ms to 60s"),
        ("nats://localhost?tls_ca=/nowhere", "cannot be read"),
        ("nats://localhost?token_file=/nowhere", "cannot be read"),
        ("nats://ann:secret@localhost?token_file=x", "which one counts"),
        ("nats://localhost/orders", "has a path"),
        ("nats://localhost:x", "is no address"),
        ("nats://ann:secret@example.org", "a secret is not sent to another machine without TLS"),
        ("nats://localhost?tls=on&tls_key=x", "tls_key= needs its certificate"),
        ("nats://localhost?creds=shop.creds", "keys (nkeys, credentials) are not supported"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        options(url)
    assert sentence in str(refused.value)
    assert "secret@" not in str(refused.value)


async def test_a_server_that_is_absent_is_said_to_be() -> None:
    (port,) = free_ports(1)
    transport = make(f"nats://127.0.0.1:{port}?connect_timeout=300ms")
    with pytest.raises(Disconnected, match=r"cannot be reached.*is nats-server running there"):
        await transport.open()
    with pytest.raises(Disconnected):
        await transport.send([message("m")])


async def test_something_else_at_that_place_is_said_to_be() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(Disconnected):
            await make(f"nats://127.0.0.1:{port}?connect_timeout=300ms").open()
    finally:
        server.close()
        await server.wait_closed()


async def test_a_server_without_jetstream_is_refused(tmp_path: Path) -> None:
    sentence = r"has no JetStream.*start nats-server with --jetstream"
    with configured(tmp_path, "") as place, pytest.raises(ConfigurationError, match=sentence):
        await make(f"nats://{place}").open()


@pytest.mark.parametrize("who", ["", "ann:wrong@", "wrong@"])
async def test_a_wrong_password_is_said_to_be_and_not_shown(tmp_path: Path, who: str) -> None:
    text = 'authorization { user: ann, password: right }\njetstream { store_dir: "STORE" }'
    with configured(tmp_path, text) as place:
        with pytest.raises(Refused, match="does not let this program in") as refused:
            await make(f"nats://{who}{place}?connect_timeout=5s").open()
        assert "wrong" not in str(refused.value)
        async with opened(fresh(f"nats://ann:right@{place}")) as transport:
            assert (await transport.facts())["server"].startswith("NATS 2.")


async def test_a_token_lets_in(tmp_path: Path) -> None:
    """Given in the URL or in a file."""
    file = tmp_path / "token"
    file.write_text("right-t0ken\n")
    with configured(
        tmp_path, 'authorization { token: "right-t0ken" }\njetstream { store_dir: "STORE" }'
    ) as place:
        with pytest.raises(Refused, match="the token, in the URL right") as refused:
            await make(f"nats://wrong-t0ken@{place}?connect_timeout=5s").open()
        assert "t0ken" not in str(refused.value)
        for url in (fresh(f"nats://right-t0ken@{place}"), fresh(f"nats://{place}", f"&token_file={file}")):
            async with opened(url) as transport:
                await send(transport, message("m-1"))


async def test_a_server_that_wants_a_signature_is_said_to(tmp_path: Path) -> None:
    """It may let a user in by password all the same."""
    text = (
        "authorization { users: [ { nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 }, "
        '{ user: ann, password: right } ] }\njetstream { store_dir: "STORE" }'
    )
    with configured(tmp_path, text) as place:
        with pytest.raises(Refused, match=r"It may want a signature: keys .* are not supported"):
            await make(f"nats://{place}?connect_timeout=5s").open()
        async with opened(fresh(f"nats://ann:right@{place}")) as transport:
            await send(transport, message("m-1"))


async def test_a_user_without_permission_is_told_which(tmp_path: Path) -> None:
    text = (
        "authorization { users: [ { user: ann, password: right, permissions: { "
        'publish: { deny: "$JS.API.STREAM.CREATE.>" } } } ] }\njetstream { store_dir: "STORE" }'
    )
    sentence = r"Permissions Violation.*STREAM\.CREATE.*let this user"
    with configured(tmp_path, text) as place, pytest.raises(Refused, match=sentence):
        await make(f"nats://ann:right@{place}").open()


def test_a_server_that_is_too_old_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"is NATS 2\.9\.25; this needs 2\.11 or newer"):
        check_version({"version": "2.9.25"}, "nats://localhost:4222", (2, 11))
    assert check_version({"version": "2.11.0-RC.1"}, "nats://localhost:4222", (2, 11)) == "2.11.0-RC.1"


async def test_a_message_that_is_too_large_for_the_server_is_refused_before_it_is_sent(
    tmp_path: Path,
) -> None:
    with configured(tmp_path, 'max_payload: 256KB\njetstream { store_dir: "STORE" }') as place:
        async with opened(fresh(f"nats://{place}")) as transport:
            most = transport.capabilities.message_bytes_max
            assert 64 * 1024 < most < 128 * 1024
            feed = await transport.open_feed(ORDERS)
            await send(transport, message("m", bytes(most)))
            (delivery,) = await take(feed, 1)
            assert len(delivery.body) == most
            cuts = transport._office.link.cuts
            outcomes = await transport.send([message("a"), message("b", bytes(300_000)), message("c")])
            assert [type(outcome) for outcome in outcomes] == [Receipt, SendRejected, Receipt]
            assert "less 160 KiB for headers: raise max_payload in its configuration" in str(outcomes[1])
            assert transport._office.link.cuts == cuts, "the server hangs up on whoever sends too much"


async def test_facts_say_how_each_was_found_out(nats_server: Server) -> None:
    async with opened(fresh(nats_server, "&sync=always")) as transport:
        facts = await transport.facts()
    assert "declared by sync=always" in facts["durability"]
    assert "FLUSHED" in facts["durability"]
    assert (
        facts["largest body"] == f"{8 * 1024**2 - 160 * 1024:,} bytes (max_payload {8 * 1024**2:,}: probed)"
    )


async def test_what_a_cut_costs_is_logged_once(nats_server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "waystation.nats")
    async with opened(fresh(nats_server)) as transport:
        link = transport._office.link
        assert link._line is not None
        link._line.end("a test")
        await link.ready(10.0)
        await transport.declare(Topology(topics=("more",)))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, said
    assert "was cut (a test); connecting again" in said[0]
    assert "connected again" in said[1]
    assert not any(isinstance(record.exc_info, TransportError) for record in caplog.records)


async def test_a_stream_that_keeps_less_than_the_url_promises_is_refused(nats_server: Server) -> None:
    url = fresh(nats_server)
    async with plain(url) as client:
        stream = StreamConfig(
            name=f"{prefix_of(url)}_orders", subjects=[f"{prefix_of(url)}.*.orders"], storage="memory"
        )
        await client.jetstream().add_stream(stream)
    with pytest.raises(ConfigurationError, match="is in memory: make it one of files"):
        async with opened(url):
            pass
    with pytest.raises(ConfigurationError, match="replicas"):
        await make(f"{url}&replicas=3").open()
