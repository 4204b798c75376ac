"""Servers and processes that are killed, stopped, cut off: what has a receipt is handled, and all goes on by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.brokers import Server, again, own
from tests.peer.proxy import WAYS, Way, proxied
from tests.transports.nats_stand import (
    ORDERS,
    PATIENCE_S,
    Traffic,
    fresh,
    message,
    opened,
    plain,
    prefix_of,
    send,
    take,
    until,
)
from waystation import Bus, Delivery, SendUnconfirmed, SettlementLost
from waystation._core.delivery import ACCEPT, Receipt, Retry
from waystation._core.limits import LEASE_S
from waystation._runtime.clock import SystemClock
from waystation.transports.nats import NatsTransport

#: How often the server is asked whether it is there: soon noticed, and not too soon for a busy machine.
QUICK = "&heartbeat=500ms"

WORKER = Path(__file__).with_name("nats_worker.py")


@pytest.mark.timeout(120)
async def test_a_server_that_is_killed_and_started_again_loses_nothing(tmp_path: Path) -> None:
    with own("nats", tmp_path) as server:
        traffic = Traffic(fresh(server, QUICK))
        async with traffic.flowing():
            await traffic.moves()
            for _ in range(2):
                server.kill()
                await asyncio.to_thread(again, server)
                await traffic.moves()
        assert {type(failure) for failure in traffic.failures} <= {SendUnconfirmed}


@pytest.mark.timeout(120)
async def test_a_server_that_stands_still_is_waited_for(tmp_path: Path) -> None:
    with own("nats", tmp_path) as server:
        traffic = Traffic(fresh(server, QUICK))
        async with traffic.flowing():
            await traffic.moves()
            server.freeze()
            await until(lambda: bool(traffic.failures), "the silence was noticed")
            server.thaw()
            await traffic.moves()
        assert {type(failure) for failure in traffic.failures} <= {SendUnconfirmed}


@pytest.mark.timeout(180)
async def test_a_cluster_that_loses_its_leader_loses_nothing(tmp_path: Path) -> None:
    with own("nats", tmp_path, nodes=3) as server:
        url = fresh(server, f"&replicas=3{QUICK}")
        traffic = Traffic(url)
        async with traffic.flowing():
            await traffic.moves()
            for stream in (f"{prefix_of(url)}_numbers", f"KV_{prefix_of(url)}"):
                server.kill(await _leader(server, stream))
                await traffic.moves(1000)
                await asyncio.to_thread(again, server)
                await traffic.moves()
        assert {type(failure) for failure in traffic.failures} <= {SendUnconfirmed}


async def _leader(server: Server, stream: str) -> int:
    for url in server.url.removeprefix("nats://").split(","):
        try:
            async with plain(f"nats://{url}") as client:
                info = await client.jetstream().stream_info(stream)
                return int(info.cluster.leader.removeprefix("node")) - 1
        except Exception:  # noqa: BLE001 - this one has not come back yet
            continue
    raise AssertionError("no server says who leads")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_that_is_cut_anywhere_costs_nothing_that_has_a_receipt(
    nats_server: Server, way: Way
) -> None:
    """Sending, receiving and settling, with a cut after each so-many bytes."""
    async with proxied(f"tcp://{nats_server.url.removeprefix('nats://')}") as proxy:
        url = fresh(proxy.url.replace("tcp://", "nats://"))
        async with opened(url) as transport:
            feed = await transport.open_feed(ORDERS)
            for number in range(12):
                proxy.cut_at[way] = proxy.passed[way] + 20 + 61 * number
                sent = message(f"m-{number}", b"%d" % number, key="k")
                (outcome,) = await transport.send([sent])
                found: set[str] = set()
                while isinstance(outcome, Receipt) and sent.id not in found:
                    deliveries = await take(feed, 1)
                    found |= {delivery.message.id for delivery in deliveries}
                    await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
                    assert all(delivery.attempt == 1 for delivery in deliveries)
            assert proxy.cuts > 6


@pytest.mark.timeout(120)
async def test_processes_that_are_killed_lose_nothing_and_keep_order_and_attempts(
    nats_server: Server,
) -> None:
    """Of four, with messages being handled, and others that wait for a retry."""
    url = fresh(nats_server)
    total, keys = 1200, 12
    workers = [await _begin(url, f"w{number}") for number in range(3)]
    said: list[tuple[str, ...]] = []
    listeners = [asyncio.create_task(_listen(worker, said)) for worker in workers]
    try:
        async with Bus(url) as bus:
            await until(lambda: len({line[1] for line in said if line[0] == "ready"}) == 3, "all are there")
            for start in range(0, total, 40):
                numbers = range(start, start + 40)
                await asyncio.gather(*(bus.publish("work", n, key=f"k{n % keys}") for n in numbers))
                if start in (400, 800):
                    workers[start // 400 - 1].kill()
            await until(
                lambda: len({line[2] for line in said if line[0] == "done"}) == total,
                "all are done",
                LEASE_S + 30,
            )
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.kill()
            await worker.wait()
        await asyncio.gather(*listeners)
    order: defaultdict[int, list[str]] = defaultdict(list)
    attempts: Counter[str] = Counter()
    for word, _, number, attempt in (line for line in said if len(line) == 4):
        if word == "begun":
            assert int(attempt) >= attempts[number], "attempts never go back"
            attempts[number] = max(attempts[number], int(attempt))
        elif number not in (known := order[int(number) % keys]):
            known.append(number)
    for known in order.values():
        assert known == sorted(known, key=int), "a key was handled out of its order"
    retried = [number for number in attempts if int(number) % 10 == 0]
    assert min(attempts[number] for number in retried) >= 2


async def _begin(url: str, name: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, str(WORKER), url, name, stdout=PIPE)


async def _listen(worker: asyncio.subprocess.Process, said: list[tuple[str, ...]]) -> None:
    assert worker.stdout is not None, "it was asked for"
    async for line in worker.stdout:
        words = line.decode().split()
        if line.endswith(b"\n"):  # the last one may be cut off
            said.append(tuple(words))


@pytest.mark.timeout(120)
async def test_a_process_that_stood_still_for_too_long_settles_nothing(nats_server: Server) -> None:
    """What it held has been taken over: whatever it says then is refused, which NATS itself would accept."""
    url = fresh(nats_server)
    worker = await _begin(url, "slow")
    said: list[tuple[str, ...]] = []
    listener = asyncio.create_task(_listen(worker, said))
    try:
        async with Bus(url) as bus:
            await until(lambda: bool(said), "it is there")
            await bus.publish("work", 1, key="hold")
            await until(lambda: any(line[0] == "begun" for line in said), "it has begun")
            os.kill(worker.pid, signal.SIGSTOP)
            seen: list[int] = []

            @bus.subscribe("work", group="workers")
            async def handle(number: int) -> None:
                seen.append(number)

            async with bus.running():
                await until(lambda: seen == [1], "it was taken over", LEASE_S + 20)
                os.kill(worker.pid, signal.SIGCONT)
                await until(lambda: any(line[0] == "lost" for line in said), "it was told", 20)
                await bus.publish("work", 2)
                await until(lambda: seen == [1, 2] or any("2" in line[2:3] for line in said), "work goes on")
    finally:
        worker.kill()
        await worker.wait()
        await listener


@pytest.mark.timeout(60)
async def test_what_a_dead_process_held_is_given_back_at_once_by_its_supervisor(nats_server: Server) -> None:
    url = fresh(nats_server)
    worker = await _begin(url, "dying")
    said: list[tuple[str, ...]] = []
    listener = asyncio.create_task(_listen(worker, said))
    try:
        bus = Bus(url)
        seen: list[tuple[int, int]] = []

        @bus.subscribe("work", group="workers")
        async def handle(number: int, delivery: Delivery) -> None:
            seen.append((number, delivery.attempt))

        async with bus:
            await until(lambda: bool(said), "it is there")
            await bus.publish("work", 1, key="hold")
            await until(lambda: any(line[0] == "begun" for line in said), "it has begun")
            worker.kill()
            await worker.wait()
            async with bus.running():
                assert not seen
                await bus.release_process(worker.pid)
                await until(lambda: seen == [(1, 2)], "it is the next attempt", LEASE_S / 2)
    finally:
        if worker.returncode is None:
            worker.kill()
        await worker.wait()
        await listener


async def test_a_delay_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    with own("nats", tmp_path) as server:
        async with opened(fresh(server, QUICK)) as transport:
            feed = await transport.open_feed(ORDERS)
            await send(transport, message("m"))
            (delivery,) = await take(feed, 1)
            await feed.settle([(delivery, Retry(2.0))])
            server.kill()
            await asyncio.to_thread(again, server)
            (delivery,) = await take(feed, 1)
            assert delivery.attempt == 2


async def test_a_dedupe_key_outlives_a_restart_of_the_server_and_the_end_of_its_message(
    tmp_path: Path,
) -> None:
    with own("nats", tmp_path) as server:
        async with opened(fresh(server, QUICK)) as transport:
            feed = await transport.open_feed(ORDERS)
            now = SystemClock().time()
            await send(transport, message("first", dedupe_key="a", time=now), message("other"))
            await feed.settle([(delivery, ACCEPT) for delivery in await take(feed, 2)])
            station = transport.station("orders", "billing")
            assert station is not None
            await transport._retention.look(station)
            server.kill()
            await asyncio.to_thread(again, server)
            (receipt,) = await transport.send([message("second", dedupe_key="a")])
            assert isinstance(receipt, Receipt)
            assert (receipt.message_id, receipt.duplicate) == ("first", True)


async def test_two_processes_share_a_group_and_a_late_settlement_is_refused(nats_server: Server) -> None:
    url = fresh(nats_server)
    async with opened(url) as one, opened(url) as other:
        first, second = await one.open_feed(ORDERS), await other.open_feed(ORDERS)
        await until(
            lambda: len(_partitions(one)) == len(_partitions(other)) == 8, "each has half of the partitions"
        )
        assert not _partitions(one) & _partitions(other)
        await send(one, *(message(f"m-{number}", key=f"k-{number}") for number in range(64)))
        taken = await take(first, 64 - len(await second.receive(64)))
        await one._office.api.forget(one._office.layout.unit("orders", "billing", "*"))
        with pytest.raises(SettlementLost):
            await first.settle([(delivery, ACCEPT) for delivery in taken])


def _partitions(transport: NatsTransport) -> set[int]:
    station = transport.station("orders", "billing")
    return set(station.place.parts) if station is not None else set()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("serving", [True, False])
async def test_a_stream_that_has_lost_what_was_read_brings_what_is_new(
    nats_server: Server, serving: bool
) -> None:
    """As after a power cut: numbers are given out again, and their messages are not taken for settled ones."""
    url = fresh(nats_server)
    async with opened(url) as transport, plain(url) as client:
        feed = await transport.open_feed(ORDERS)
        await send(transport, *(message(f"old-{number}", key=f"{number}") for number in range(20)))
        await feed.settle([(delivery, ACCEPT) for delivery in await take(feed, 20)])
        if not serving:
            await feed.close()
        await client.jetstream().delete_stream(f"{prefix_of(url)}_orders")
        new = [message(f"new-{number}", key=f"{number}") for number in range(5)]
        await send(transport, *new)
        if not serving:
            feed = await transport.open_feed(ORDERS)
        assert {delivery.message.id for delivery in await take(feed, 5)} == {each.id for each in new}


@pytest.mark.timeout(60)
async def test_a_feed_that_is_closed_while_the_server_is_away_can_be_opened_again(tmp_path: Path) -> None:
    with own("nats", tmp_path) as server:
        async with opened(fresh(server, QUICK)) as transport:
            feed = await transport.open_feed(ORDERS)
            await send(transport, message("held"), message("settled"))
            held, settled = sorted(await take(feed, 2), key=lambda delivery: delivery.message.id)
            await feed.settle([(settled, ACCEPT)])
            server.kill()
            await feed.close()
            await asyncio.to_thread(again, server)
            async with asyncio.timeout(PATIENCE_S):
                feed = await transport.open_feed(ORDERS)
            (delivery,) = await take(feed, 1)
            assert (delivery.message.id, delivery.attempt) == (held.message.id, 1)
            await send(transport, message("more"))
            assert [each.message.id for each in await take(feed, 1)] == ["more"]
