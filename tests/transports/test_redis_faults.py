"""Servers that are killed, stopped, cut off or replaced: what has a receipt is there, and a program goes on."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.brokers import again, own
from tests.peer.proxy import WAYS, Proxy, Way, proxied
from tests.store.tier import TIER
from tests.transports.redis_stand import (
    ORDERS,
    PATIENCE_S,
    fresh,
    handle,
    ids,
    message,
    opened,
    plain,
    send,
    take,
    until,
)
from waystation import Bus, Receipt, SendRejected, SendUnconfirmed, TransportError
from waystation._core.delivery import ACCEPT, DeadLetter, Retry, Settlement
from waystation._core.limits import LEASE_S
from waystation._servers.desk import Server
from waystation.transports.redis import line as line_module
from waystation.transports.redis import sender as sender_module

#: Places in a session where the connection is cut.
CUTS_COUNT = {"pr": 30, "faults": 600, "soak": 3000}[TIER]


def at_least(numbers: set[int], count: int) -> bool:
    return len(numbers) >= count


async def back(server: Server) -> Server:
    """Start a server that has ended again."""
    return await asyncio.to_thread(again, server)


def words_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "waystation.redis"]


# --- the server ------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
async def test_a_server_that_is_killed_loses_nothing_that_has_a_receipt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Publishers and handlers go on when it is back; each cut is logged once, and each return."""
    caplog.set_level(logging.INFO, "waystation.redis")
    with own("redis", tmp_path) as first_server:
        server = first_server
        url = fresh(server)
        bus, seen, certain, stop = Bus(url), set[int](), set[int](), asyncio.Event()

        @bus.subscribe("orders", group="billing", concurrency=4)
        async def work(number: int) -> None:
            seen.add(number)

        async def publish(first: int) -> None:
            number = first
            while not stop.is_set():
                try:
                    await bus.publish("orders", number)
                    certain.add(number)
                except TransportError:
                    await asyncio.sleep(0.01)
                number += 10

        async with bus.running():
            publishing = [asyncio.ensure_future(publish(first)) for first in range(10)]
            for count in (200, 500):
                await until(partial(at_least, certain, count), "many were published")
                server.kill()
                server = await back(server)
            await until(partial(at_least, certain, len(certain) + 300), "it goes on")
            stop.set()
            await asyncio.gather(*publishing)
            await until(lambda: seen >= certain, "what has a receipt was handled")
        words = words_of(caplog)
        assert sum("the connection ended" in each for each in words) == 2
        assert sum("connected again" in each for each in words) == 2


@pytest.mark.timeout(120)
async def test_what_waits_for_its_time_outlives_the_server(tmp_path: Path) -> None:
    """Retries with their attempts, schedules, dead letters, and what was parked behind a retry."""
    with own("redis", tmp_path) as first_server:
        server = first_server
        url = fresh(server)
        async with opened(url) as transport:
            feed = await transport.open_feed(ORDERS)
            first, second, dead = message(key="k"), message(key="k"), message()
            await send(transport, first, second, dead)
            outcomes: dict[str, Settlement] = {
                first.id: Retry(0.5),
                second.id: Retry(0.0),
                dead.id: DeadLetter("no", "line 1"),
            }
            taken = await take(feed, 3)
            await feed.settle([(delivery, outcomes[delivery.message.id]) for delivery in taken])
            later = message(deliver_at=4_000_000_000.0)
            await send(transport, later)
            server.kill()
            server = await back(server)
            came = await handle(feed, 2)
            assert [(each.message.id, each.attempt) for each in came] == [(first.id, 2), (second.id, 2)]
            (letter,) = await transport.dead()
            assert (letter.message, letter.reason, letter.detail) == (dead, "no", "line 1")
            assert [info.message for info in await transport.scheduled()] == [later]


@pytest.mark.timeout(120)
async def test_a_server_that_comes_back_empty_is_given_its_groups_again(tmp_path: Path) -> None:
    """Where it keeps no file that is no surprise, and `doctor` says so."""
    with own("redis", tmp_path) as first_server:
        server = first_server
        url = fresh(server)
        async with plain(url) as client:
            await client.config_set("appendonly", "no")
            await client.config_set("save", "")
            await client.config_rewrite()
        server.kill()
        server = await back(server)
        async with opened(url) as transport:
            assert not transport.capabilities.persistent
            assert transport.capabilities.send.name == "RECEIVED"
            assert "appendonly is off" in (await transport.facts())["durability of a send"]
            feed = await transport.open_feed(ORDERS)
            await send(transport, message())
            server.kill()
            server = await back(server)
            sent = message()
            await send(transport, sent)
            assert ids(await handle(feed, 1)) == [sent.id]


@pytest.mark.timeout(120)
async def test_a_server_that_stands_still_is_left_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was on its way is of unknown outcome; it comes at most once, and everything else as it should."""
    monkeypatch.setattr(line_module, "REPLY_S", 0.5)
    with own("redis", tmp_path) as first_server:
        server = first_server
        url = fresh(server) + "&connect_timeout=500ms"
        async with opened(url) as transport:
            feed = await transport.open_feed(ORDERS)
            server.freeze()
            doubtful = message()
            (outcome,) = await transport.send([doubtful])
            assert isinstance(outcome, SendUnconfirmed)
            assert outcome.message_id == doubtful.id
            late = message()
            sending = asyncio.ensure_future(transport.send([late]))
            server.thaw()
            (outcome,) = await sending
            assert isinstance(outcome, Receipt)
            came = ids(await handle(feed, 1))
            if came == [doubtful.id]:
                came += ids(await handle(feed, 1))
            assert came[-1] == late.id


@pytest.mark.timeout(120)
async def test_a_failover_loses_what_the_replica_had_not_got_and_that_is_counted(tmp_path: Path) -> None:
    """Receipts speak of one server, as `doctor` says; nothing else is lost, and settled messages may come again."""
    with own("redis", tmp_path, nodes=2) as server:
        url = fresh(server)
        primary, replica = server.nodes[0].port, server.nodes[1].port
        async with opened(url) as transport:
            feed = await transport.open_feed(ORDERS)
            there = [message() for _ in range(50)]
            await send(transport, *there)
            async with plain(url) as client:
                assert await client.wait(1, 10_000) == 1
                server.freeze(1)
                await client.execute_command("CLIENT", "KILL", "TYPE", "REPLICA")
            assert "a failover may lose" in (await transport.facts())["replicas"]
            gone = [message() for _ in range(30)]
            await send(transport, *gone)
            settled = await handle(feed, 10)
            server.kill(0)
            server.thaw(1)
            async with plain(f"redis://127.0.0.1:{replica}/0") as client:
                await client.execute_command("REPLICAOF", "NO", "ONE")
                await client.config_set("port", str(primary))
            last = message()
            await send(transport, last)
            found: list[str] = []
            while last.id not in found:
                found += ids(await handle(feed, 1))
        kept = {each.id for each in there}
        lost = {each.id for each in gone} - set(found)
        assert len(lost) == 30
        assert kept <= {*found, *ids(settled)}
        assert set(found) <= kept | {last.id}


# --- the way there ---------------------------------------------------------------------------------------------


async def errand(url: str) -> None:
    """Send, handle, retry and bury over a connection that may be cut; insist that nothing with a receipt is lost."""
    certain: set[str] = set()
    handled: list[str] = []
    async with opened(url) as transport:
        feed = await transport.open_feed(ORDERS)
        for number in range(6):
            each = message(key=f"k{number % 2}")
            (outcome,) = await transport.send([each])
            if isinstance(outcome, Receipt):
                certain.add(each.id)
        end = message()
        while end.id not in certain:
            (outcome,) = await transport.send([end])
            certain |= {end.id} if isinstance(outcome, Receipt) else set()
        async with asyncio.timeout(30):
            while not set(handled) >= certain:
                for delivery in await feed.receive(3):
                    tried = delivery.attempt == 1 and delivery.key == "k0"
                    if not tried:
                        handled.append(delivery.message.id)
                    with suppress(TransportError):  # whether it is settled is unknown: it may come again
                        await feed.settle([(delivery, Retry(0.0) if tried else ACCEPT)])
    assert set(handled) >= certain


@pytest.mark.timeout(600 if TIER != "pr" else 120)
async def test_a_connection_may_be_cut_anywhere(redis_server: Server) -> None:
    """After any byte, in either direction: every command is carried out as a whole or not at all."""
    dice = random.Random(24)
    passed = await cut_at(redis_server, {})
    for number in range(CUTS_COUNT):
        way = WAYS[number % 2]
        await cut_at(redis_server, {way: dice.randrange(passed[way])})


async def cut_at(server: Server, cuts: dict[Way, int]) -> dict[Way, int]:
    async with proxied(address_of(server)) as proxy:
        there, url = through(proxy, server)
        async with opened(there):
            proxy.cut_at = dict(cuts)
            for _ in range(3):  # a connection that is cut while it begins is told to whoever begins it
                try:
                    await errand(url)
                    break
                except TransportError:
                    assert cuts
        return dict(proxy.passed)


def address_of(server: Server) -> str:
    return f"tcp://127.0.0.1:{server.nodes[0].port}"


def through(proxy: Proxy, server: Server) -> tuple[str, str]:
    """Return a URL under which nothing is, and the same by way of a proxy."""
    url = fresh(server)
    return url, url.replace(address_of(server)[6:], proxy.url[6:])


async def test_a_half_open_connection_is_noticed(
    redis_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything vanishes and nobody says so: an idle consumer is back all the same."""
    monkeypatch.setattr(line_module, "REPLY_S", 0.5)
    async with proxied(address_of(redis_server)) as proxy:
        there, url = through(proxy, redis_server)
        async with opened(url) as transport, opened(there) as other:
            feed = await transport.open_feed(ORDERS)
            waiting = asyncio.ensure_future(feed.receive(1))
            proxy.swallows = set(WAYS)
            await until(lambda: not transport._opened().link.is_up, "it was noticed")
            proxy.swallows = set()
            sent = message()
            await send(other, sent)
            async with asyncio.timeout(PATIENCE_S):
                (delivery,) = await waiting
            assert delivery.message == sent


async def test_what_a_lost_reply_had_taken_is_given_back(redis_server: Server) -> None:
    """When the connection has come back, not only when the lease has ended; and it was no attempt."""
    async with proxied(address_of(redis_server)) as proxy:
        there, url = through(proxy, redis_server)
        async with opened(url) as transport, opened(there) as other:
            feed = await transport.open_feed(ORDERS)
            sent = message()
            await send(other, sent)
            proxy.swallows = {"down"}
            waiting = asyncio.ensure_future(feed.receive(10))
            async with asyncio.timeout(PATIENCE_S):
                while not (await other.groups())[0].in_flight:
                    await asyncio.sleep(0.01)
            proxy.swallows = set()
            proxy.cut()
            async with asyncio.timeout(LEASE_S / 2):
                (delivery,) = await waiting
            assert (delivery.message, delivery.attempt) == (sent, 1)


async def test_who_sends_while_there_is_no_connection_is_told_by_the_deadline(
    redis_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What never left is rejected; what comes in time for the connection's return is sent."""
    monkeypatch.setattr(sender_module, "SEND_TIMEOUT_S", 0.3)
    async with proxied(address_of(redis_server)) as proxy:
        _, url = through(proxy, redis_server)
        async with opened(url) as transport:
            proxy.refuses = True
            proxy.cut()
            await until(lambda: not transport._opened().link.is_up, "it was noticed")
            (outcome,) = await transport.send([message()])
            assert isinstance(outcome, SendRejected)
            sending = asyncio.ensure_future(transport.send([message()]))
            proxy.refuses = False
            (outcome,) = await sending
            assert isinstance(outcome, (Receipt, SendRejected))
            await until(lambda: transport._opened().link.is_up, "it is back")
            await send(transport, message())
