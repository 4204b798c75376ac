"""Servers that will not do, and those of which little is known: a sentence with the fix, in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import own
from tests.transports.redis_stand import PATIENCE_S, fresh, message, opened, plain, send, until
from waystation import ConfigurationError, Disconnected, Durability
from waystation._core.errors import Refused, TransportError
from waystation._core.url import parse_url
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation._servers.desk import Server

SECRET = "canary-4711"


@asynccontextmanager
async def configured(server: Server, **settings: str) -> AsyncIterator[Any]:
    """Change a server's settings for a while."""
    async with plain(server.url) as client:
        before = {name: (await client.config_get(name))[name] for name in settings}
        for name, value in settings.items():
            await client.config_set(name, value)
        try:
            yield client
        finally:
            if "requirepass" in settings:
                await client.execute_command("AUTH", SECRET)
            for name, value in before.items():
                await client.config_set(name, value)


async def refusal(url: str, kind: type[Exception]) -> str:
    """Return the sentence with which opening is refused."""
    transport = find_transport(parse_url(url), clock=SystemClock())
    with pytest.raises(kind) as caught:
        async with asyncio.timeout(PATIENCE_S):
            await transport.open()
    await transport.close()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None, "drivers' errors are not shown"
    return str(caught.value)


async def test_nobody_listens() -> None:
    said = await refusal("redis://127.0.0.1:1/0", Disconnected)
    assert said.startswith("redis://127.0.0.1:1 cannot be reached")
    assert "does a Redis listen there?" in said


async def test_a_host_that_nobody_knows() -> None:
    assert "cannot be reached" in await refusal("redis://nowhere.invalid", Disconnected)


@pytest.mark.parametrize(
    ("says", "wanted"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "cannot be understood"),
        (b"", "hung up"),
        (None, "has not answered"),
    ],
)
async def test_something_else_listens(says: bytes | None, wanted: str) -> None:
    over = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if says is None:
            await reader.read()  # until the client has given up
        else:
            writer.write(says)
        writer.close()
        over.set()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener:
        assert wanted in await refusal(f"redis://127.0.0.1:{port}?connect_timeout=300ms", Disconnected)
        await over.wait()


async def test_tls_where_there_is_none(redis_server: Server) -> None:
    url = redis_server.url.replace("redis://", "rediss://") + "?connect_timeout=300ms"
    assert "If it speaks no TLS, write redis://" in await refusal(url, Disconnected)


async def test_a_server_that_evicts_keys(redis_server: Server) -> None:
    async with configured(redis_server, **{"maxmemory-policy": "allkeys-lru"}):
        said = await refusal(redis_server.url, ConfigurationError)
    assert "throws keys away when its memory is full (maxmemory-policy allkeys-lru)" in said
    assert "set maxmemory-policy noeviction" in said


async def test_passwords(redis_server: Server) -> None:
    async with configured(redis_server, requirepass=SECRET):
        assert "wants a password" in await refusal(redis_server.url, Refused)
        wrong = redis_server.url.replace("redis://", f"redis://:{SECRET}-not@")
        assert "does not know this user or password" in await refusal(wrong, Refused)
        url = fresh(redis_server).replace("redis://", f"redis://:{SECRET}@")
        async with opened(url) as transport:
            await send(transport, message())
            assert SECRET not in str(await transport.facts())
            assert SECRET not in repr(transport._options)


async def test_a_database_that_is_not_there(redis_server: Server) -> None:
    said = await refusal(redis_server.url.removesuffix("/0") + "/99", ConfigurationError)
    assert "has no database 99" in said


async def test_a_user_without_rights(redis_server: Server) -> None:
    """Named with what is missing; and with rights to the keys of its prefix alone everything works."""
    async with plain(redis_server.url) as client:
        rights = ("+@all", "-@admin", "-@dangerous", "+info", "resetkeys", "~{mine}:*", "&{mine}:*")
        await client.acl_setuser("shop", enabled=True, passwords=[f"+{SECRET}"], reset=True)
        await client.execute_command("ACL", "SETUSER", "shop", *rights)
        try:
            url = redis_server.url.replace("redis://", f"redis://shop:{SECRET}@")
            assert "keys and channels that begin with the prefix" in await refusal(
                f"{url}?prefix=theirs", Refused
            )
            async with opened(f"{url}?prefix=mine") as transport:
                await send(transport, message())
                assert transport.capabilities.send == Durability.WRITTEN
                assert "declared" in (await transport.facts())["durability of a send"]
            await client.execute_command("ACL", "SETUSER", "shop", "-info")
            async with opened(f"{url}?prefix=mine") as transport:
                facts = await transport.facts()
                assert transport.capabilities.send == Durability.RECEIVED
                assert "unknown" in facts["durability of a send"]
                assert "unknown" in facts["when memory is full"]
        finally:
            await client.acl_deluser("shop")


@pytest.mark.parametrize(
    ("flush", "level"),
    [("always", Durability.FLUSHED), ("everysec", Durability.WRITTEN), ("no", Durability.WRITTEN)],
)
async def test_what_a_receipt_is_worth_is_probed(redis_server: Server, flush: str, level: Durability) -> None:
    async with configured(redis_server, appendfsync=flush), opened(fresh(redis_server)) as transport:
        (receipt,) = await transport.send([message()])
        assert not isinstance(receipt, TransportError)
        assert receipt.durability == transport.capabilities.send == level
        assert f"appendfsync {flush}" in (await transport.facts())["durability of a send"]


@pytest.mark.timeout(120)
async def test_a_replica_is_no_place_to_send_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither at the start, nor when the primary becomes one while a program runs; each is said once."""
    caplog.set_level(logging.WARNING, "waystation.redis")
    with own("redis", tmp_path, nodes=2) as server:
        replica = f"redis://127.0.0.1:{server.nodes[1].port}/0"
        assert "is a replica, which takes nothing" in await refusal(replica, Disconnected)
        async with opened(fresh(server)) as transport, plain(server.url) as client, plain(replica) as other:
            await other.execute_command("REPLICAOF", "NO", "ONE")
            await client.execute_command("REPLICAOF", "127.0.0.1", server.nodes[1].port)
            (outcome,) = await transport.send([message()])
            assert isinstance(outcome, TransportError)
            await until(lambda: not transport._opened().link.is_up, "the replica was left")
            await client.execute_command("REPLICAOF", "NO", "ONE")
            await until(lambda: transport._opened().link.is_up, "it is a primary again")
            await send(transport, message())
        said = [record.getMessage() for record in caplog.records if record.name == "waystation.redis"]
        assert len(said) == 1
        assert "a replica" in said[0]
