"""Brokers and processes that are killed, stopped, cut off: what has a receipt is handled, and all goes on by itself."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.brokers import Server, again, own
from tests.transports.kafka_stand import (
    ORDERS,
    Traffic,
    fresh,
    make,
    message,
    opened,
    send,
    take,
    until,
    worker,
)
from waystation import Bus, SendUnconfirmed
from waystation._core.delivery import ACCEPT, DeadLetter, Delivery, Retry, Settlement
from waystation._core.limits import LEASE_S
from waystation._core.ports import Topology
from waystation.transports.kafka import KafkaTransport

PROTOCOLS = ("consumer", "classic")


# --- brokers ---------------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
async def test_a_broker_that_is_killed_and_started_again_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "waystation.kafka")
    with own("kafka", tmp_path) as server:
        traffic = Traffic(fresh(server))
        async with traffic.flowing():
            await traffic.moves()
            for _ in range(2):
                server.kill()
                await asyncio.to_thread(again, server)
                await traffic.moves()
        assert {type(failure) for failure in traffic.failures} <= {SendUnconfirmed}
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert 1 <= len(said) <= 4, "each cut is told once, and what could not be put down while it lasted"


@pytest.mark.timeout(180)
async def test_a_broker_that_stands_still_is_waited_for(tmp_path: Path) -> None:
    with own("kafka", tmp_path) as server:
        traffic = Traffic(fresh(server))
        async with traffic.flowing():
            await traffic.moves()
            server.freeze()
            before = len(traffic.seen)
            await asyncio.sleep(3.0)
            server.thaw()
            await traffic.moves()
            assert len(traffic.seen) > before
        assert {type(failure) for failure in traffic.failures} <= {SendUnconfirmed}


@pytest.mark.timeout(240)
async def test_a_cluster_that_loses_a_broker_loses_nothing(tmp_path: Path) -> None:
    with own("kafka", tmp_path, nodes=3) as server:
        traffic = Traffic(fresh(server, "&replication=3&min_insync=2"))
        async with traffic.flowing():
            await traffic.moves()
            for node in range(2):
                server.kill(node)
                await traffic.moves(500, 60.0)
                await asyncio.to_thread(again, server)
                await traffic.moves()
        assert {type(failure) for failure in traffic.failures} <= {SendUnconfirmed}


@pytest.mark.timeout(120)
async def test_what_waits_outlives_a_restart_of_the_broker(tmp_path: Path) -> None:
    """A retry's delay, a dead letter, and a message that is scheduled."""
    with own("kafka", tmp_path) as server:
        async with opened(fresh(server)) as transport:
            feed = await transport.open_feed(ORDERS)
            await send(transport, message("retried"), message("dead"))
            outcomes: dict[str, Settlement] = {"retried": Retry(3.0), "dead": DeadLetter("no")}
            await feed.settle([(each, outcomes[each.message.id]) for each in await take(feed, 2)])
            await send(transport, message("later", deliver_at=transport.clock.time() + 4.0))
            server.kill()
            await asyncio.to_thread(again, server)
            came = {each.message.id: each.attempt for each in await take(feed, 2)}
            assert came == {"retried": 2, "later": 1}
            (letter,) = await transport.dead()
            assert letter.message.id == "dead"


# --- processes -------------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_processes_that_are_killed_lose_nothing_and_keep_order_and_attempts(
    kafka_server: Server, protocol: str
) -> None:
    """Of three, with messages being handled, and others that wait for a retry."""
    url = fresh(kafka_server, f"&protocol={protocol}&partitions=6")
    total, keys = 1200, 12
    said: list[tuple[str, ...]] = []
    workers = [await worker(url, f"w{number}", said) for number in range(3)]
    try:
        async with Bus(url) as bus:
            await until(lambda: len({line[1] for line in said if line[0] == "ready"}) == 3, "all are there")
            for start in range(0, total, 40):
                numbers = range(start, start + 40)
                await asyncio.gather(*(bus.publish("work", n, key=f"k{n % keys}") for n in numbers))
                if start in (400, 800):
                    workers[start // 400 - 1].process.kill()
            await until(
                lambda: len({line[2] for line in said if line[0] == "done"}) == total, "all are done", 60
            )
    finally:
        for each in workers:
            await each.end()
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


@pytest.mark.timeout(120)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_member_that_comes_or_goes_in_peace_makes_nothing_happen_twice(
    kafka_server: Server, protocol: str
) -> None:
    """Partitions move while messages are handled, again and again."""
    url = fresh(kafka_server, f"&protocol={protocol}&partitions=6")
    seen: Counter[int] = Counter()

    def bus() -> Bus:
        made = Bus(url)

        @made.subscribe("numbers", group="readers", concurrency=8)
        async def handle(number: int) -> None:
            await asyncio.sleep(0.005)
            seen[number] += 1

        return made

    sent = 0
    async with Bus(url) as sender, bus().running():
        for _ in range(3):
            async with bus().running():
                for _ in range(15):
                    await asyncio.gather(
                        *(sender.publish("numbers", n, key=f"k{n % 50}") for n in range(sent, sent + 40))
                    )
                    sent += 40
                    await asyncio.sleep(0.05)
        await until(lambda: len(seen) == sent, "all were handled", 30)
    assert {number: times for number, times in seen.items() if times > 1} == {}


@pytest.mark.timeout(120)
async def test_a_process_that_stood_still_for_too_long_settles_nothing(kafka_server: Server) -> None:
    """What it held has been taken over: whatever it says then is refused."""
    url = fresh(kafka_server)
    said: list[tuple[str, ...]] = []
    slow = await worker(url, "slow", said)
    try:
        async with Bus(url) as bus:
            await until(lambda: bool(said), "it is there")
            await bus.publish("work", 1, key="hold")
            await until(lambda: any(line[0] == "begun" for line in said), "it has begun")
            os.kill(slow.process.pid, signal.SIGSTOP)
            seen: list[tuple[int, int]] = []

            @bus.subscribe("work", group="workers")
            async def handle(number: int, delivery: Delivery) -> None:
                seen.append((number, delivery.attempt))

            async with bus.running():
                await until(lambda: seen == [(1, 2)], "it was taken over", LEASE_S + 20)
                os.kill(slow.process.pid, signal.SIGCONT)
                await until(lambda: any(line[0] == "lost" for line in said), "it was told", 20)
    finally:
        await slow.end()


# --- what a crash leaves behind --------------------------------------------------------------------------------


async def _die(transport: KafkaTransport) -> None:
    """End as a process that is killed: no last word is said, and the broker is left to find out."""
    for member in transport._members.values():
        teller = member._teller
        for place in member.places.values():
            place.drop()
        member.places.clear()
        assert teller.poller is not None
    await transport.close()


async def _lives(url: str) -> KafkaTransport:
    transport = make(url)
    await transport.open()
    await transport.declare(Topology(subscriptions=(ORDERS,)))
    return transport


@pytest.mark.timeout(60)
async def test_what_was_settled_above_what_was_not_does_not_come_again(kafka_server: Server) -> None:
    """F-30: the commit says so, though it is one number."""
    url = fresh(kafka_server, "&partitions=1")
    transport = await _lives(url)
    feed = await transport.open_feed(ORDERS)
    await send(transport, *(message(f"m-{number}") for number in range(100)))
    taken = await take(feed, 100)
    await feed.settle([(each, ACCEPT) for number, each in enumerate(taken) if number % 3])
    await _die(transport)
    async with opened(url) as later:
        feed = await later.open_feed(ORDERS)
        came = {each.message.id: each.attempt for each in await take(feed, 34)}
        assert came == {f"m-{number}": 2 for number in range(0, 100, 3)}
        await send(later, message("last"))
        (last,) = await take(feed, 1)
        assert (last.message.id, last.attempt) == ("last", 1)


@pytest.mark.timeout(60)
async def test_a_message_that_kills_its_process_is_soon_alone_and_takes_nobody_with_it(
    kafka_server: Server,
) -> None:
    """In company it is begun twice; then one by one, so that only its own attempts count on."""
    url = fresh(kafka_server, "&partitions=1")
    begun: Counter[str] = Counter()
    for life in range(6):
        transport = await _lives(url)
        feed = await transport.open_feed(ORDERS)
        if not life:
            await send(transport, *(message(f"m-{number}") for number in range(20)))
        while True:
            deliveries = await take(feed, 20) if life < 2 else await feed.receive(20)
            begun.update({each.message.id: each.attempt - begun[each.message.id] for each in deliveries})
            if any(each.message.id == "m-7" for each in deliveries):
                break
            await feed.settle([(each, ACCEPT) for each in deliveries])
        await _die(transport)
    assert begun.pop("m-7") == 6
    assert set(begun.values()) == {2, 3}, "those before it were begun once more, and done"
