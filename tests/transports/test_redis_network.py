"""TLS, and clusters, in which another node may hold the keys."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.brokers import lacking
from tests.transports.redis_stand import ORDERS, PATIENCE_S, handle, ids, message, opened, plain, send
from waystation import ConfigurationError, Disconnected, SendRejected
from waystation._core.url import parse_url
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation._servers.desk import Server, means_of
from waystation._servers.kinds import kind_of
from waystation._servers.machine import look
from waystation._servers.patience import until
from waystation._servers.probing import free_ports, somebody_listens

_START_S = 20.0


# --- TLS -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def speaking_tls(server: Server, folder: Path, clients: str) -> AsyncIterator[str]:
    """Let a server speak TLS at another port, too; give the URL of that."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("server", "client"):
        certificate = authority.issue_cert("127.0.0.1" if name == "server" else "shop.example")
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    (port,) = free_ports(1)
    async with plain(server.url) as client:
        await client.execute_command(
            "CONFIG", "SET", "tls-ca-cert-file", f"{folder}/ca.pem", "tls-cert-file", f"{folder}/server.pem",
            "tls-key-file", f"{folder}/server.key", "tls-auth-clients", clients, "tls-port", port,
        )  # fmt: skip
        try:
            yield f"rediss://127.0.0.1:{port}/0"
        finally:
            await client.config_set("tls-port", "0")


async def refused(url: str, kind: type[Exception] = Disconnected) -> str:
    transport = find_transport(parse_url(url), clock=SystemClock())
    with pytest.raises(kind) as caught:
        async with asyncio.timeout(PATIENCE_S):
            await transport.open()
    return str(caught.value)


async def test_tls_with_an_authority_of_ones_own(redis_server: Server, tmp_path: Path) -> None:
    async with speaking_tls(redis_server, tmp_path, "no") as place:
        url = f"{place}?tls_ca={tmp_path}/ca.pem&prefix=tls-1"
        async with opened(url) as transport:
            sent = message()
            await send(transport, sent)
            assert ids(await handle(await transport.open_feed(ORDERS), 1)) == [sent.id]
        assert "certificate" in await refused(place)
        assert "certificate" in await refused(f"{place}?tls_ca={tmp_path}/other.pem")
        other_name = url.replace("127.0.0.1", "localhost")
        assert "certificate" in await refused(other_name)
        without = place.replace("rediss://", "redis://")
        assert "If it speaks TLS, write rediss://" in await refused(f"{without}?connect_timeout=500ms")


async def test_a_server_may_want_to_know_its_clients(redis_server: Server, tmp_path: Path) -> None:
    async with speaking_tls(redis_server, tmp_path, "yes") as place:
        url = f"{place}?tls_ca={tmp_path}/ca.pem&prefix=tls-2"
        assert place.rpartition("/")[0] in await refused(url)
        async with opened(f"{url}&tls_cert={tmp_path}/client.pem&tls_key={tmp_path}/client.key") as transport:
            await send(transport, message())


# --- Sentinels ---------------------------------------------------------------------------------------------------


def redis_program() -> str:
    """Return what to start."""
    try:
        return str(means_of(kind_of("redis"), look(kind_of("redis").programs)).program)
    except ConfigurationError as error:
        lacking(error)
        raise


async def test_a_sentinel_is_no_place_to_send_to(tmp_path: Path) -> None:
    """And the sentence says how the place is found."""
    (port,) = free_ports(1)
    settings = tmp_path / "sentinel.conf"
    settings.write_text(f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n")
    with (tmp_path / "log").open("wb") as log:
        sentinel = subprocess.Popen([redis_program(), settings, "--sentinel"], stdout=log, stderr=log)
    try:
        assert until(lambda: somebody_listens(port), _START_S)
        said = await refused(f"redis://127.0.0.1:{port}", ConfigurationError)
    finally:
        sentinel.kill()
        sentinel.wait()
    assert "is a Sentinel, which keeps no messages: the URL must lead to the primary" in said


# --- clusters --------------------------------------------------------------------------------------------------


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[int, int, int]]:
    """Give the ports of two nodes, and that by which the first talks to the second."""
    program = redis_program()
    ports = free_ports(4)
    nodes = []
    try:
        for number in (0, 1):
            where = folder / f"node{number}"
            where.mkdir()
            options = {
                "port": ports[number], "cluster-port": ports[number + 2], "cluster-enabled": "yes", "bind": "127.0.0.1",
                "dir": where, "appendonly": "yes", "save": "", "shutdown-timeout": 0,
            }  # fmt: skip
            words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
            with (where / "log").open("wb") as log:
                nodes.append(subprocess.Popen([program, *words], stdout=log, stderr=log))
        assert until(lambda: all(map(somebody_listens, ports[:2])), _START_S)
        yield ports[0], ports[1], ports[3]
    finally:
        for node in nodes:
            node.kill()
            node.wait()


@pytest.mark.timeout(120)
async def test_the_node_that_holds_the_keys_is_found_and_followed(tmp_path: Path) -> None:
    """Whichever node the URL names; also when the slot moves while a program runs."""
    with cluster(tmp_path) as (one, two, inner):
        async with plain(f"redis://127.0.0.1:{one}") as first, plain(f"redis://127.0.0.1:{two}") as second:
            await first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
            await second.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
            await first.execute_command("CLUSTER", "MEET", "127.0.0.1", two, inner)
            async with asyncio.timeout(_START_S):
                for client in (first, second):
                    while b"cluster_state:ok" not in await client.execute_command("CLUSTER", "INFO"):
                        await asyncio.sleep(0.05)
            slots = {
                prefix: await first.execute_command("CLUSTER", "KEYSLOT", f"{{{prefix}}}:")
                for prefix in "abcd"
            }
            assert {slot > 8191 for slot in slots.values()} == {True, False}
            for prefix in slots:
                for port in (one, two):
                    async with opened(f"redis://127.0.0.1:{port}/0?prefix={prefix}") as transport:
                        sent = message()
                        await send(transport, sent)
                        assert ids(await handle(await transport.open_feed(ORDERS), 1)) == [sent.id]
            moving = next(prefix for prefix, slot in slots.items() if slot > 8191)
            async with opened(f"redis://127.0.0.1:{one}/0?prefix={moving}") as transport:
                feed = await transport.open_feed(ORDERS)
                await move(slots[moving], second, first, one)
                (outcome,) = await transport.send([message()])
                assert isinstance(outcome, SendRejected)
                assert "another node of the cluster" in str(outcome)
                sent = message()
                await send(transport, sent)
                assert ids(await handle(feed, 1)) == [sent.id]


async def move(slot: int, source: Any, target: Any, port: int) -> None:
    """Give a slot with its keys to another node."""
    ids_ = [await client.execute_command("CLUSTER", "MYID") for client in (source, target)]
    await target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids_[0])
    await source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids_[1])
    keys = await source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
    await source.execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)
    for client in (target, source):
        await client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids_[1])
