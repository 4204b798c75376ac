"""Servers, connections and members that are killed, stopped or cut off: what has a receipt is there, and goes on."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.brokers import again as start_again
from tests.brokers import own
from tests.peer.proxy import WAYS, Proxy, Way, proxied
from tests.store.tier import TIER
from tests.transports import amqp_worker
from tests.transports.amqp_stand import ORDERS, PATIENCE_S, fresh, made, opened, prefix_of, send
from tests.transports.redis_stand import handle, ids, message, take, until
from waystation import Bus, Receipt, SendRejected, SendUnconfirmed, TransportError
from waystation._core.delivery import ACCEPT, DeadLetter, Retry, Settlement
from waystation._core.errors import SettlementLost
from waystation._servers.desk import Server
from waystation.transports.amqp import sender as sender_module
from waystation.transports.amqp.groups import Group
from waystation.transports.amqp.limits import PARTITIONS_COUNT
from waystation.transports.amqp.names import Names

#: Places in a session where the connection is cut.
CUTS_COUNT = {"pr": 20, "faults": 300, "soak": 2000}[TIER]


def at_least(numbers: set[int], count: int) -> bool:
    return len(numbers) >= count


async def back(server: Server) -> Server:
    """Start a server that has ended again."""
    return await asyncio.to_thread(start_again, server)


async def queues_last(server: Server, url: str) -> None:
    """Wait until the group on "orders" outlives a kill: RabbitMQ 3.10 writes down late where the logs of queues lie."""
    (book,) = server.folder.rglob("quorum/*/names.dets")
    names = Names(prefix_of(url))
    queues = Group(names, "billing", "orders", PARTITIONS_COUNT).queues()
    atoms = [f"%2F_{queue}".encode() for queue in (*queues, names.registry, names.later)]

    def are_there() -> bool:
        written = book.read_bytes()
        return all(bytes((len(atom),)) + atom in written for atom in atoms)

    await until(are_there, "the queues are written down")


# --- the server ------------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
async def test_a_server_that_is_killed_loses_nothing_that_has_a_receipt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Publishers and handlers go on when it is back; the cut is logged once, and the return."""
    caplog.set_level(logging.INFO, "waystation.amqp")
    with own("rabbitmq", tmp_path) as first_server:
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
                    await bus.publish("orders", number, key=f"k{number % 7}" if number % 2 else None)
                    certain.add(number)
                except TransportError:
                    await asyncio.sleep(0.01)
                number += 10

        async with bus.running():
            publishing = [asyncio.ensure_future(publish(first)) for first in range(10)]
            await queues_last(server, url)
            await until(partial(at_least, certain, 300), "many were published")
            server.kill()
            server = await back(server)
            await until(partial(at_least, certain, len(certain) + 300), "it goes on", 60)
            stop.set()
            await asyncio.gather(*publishing)
            await until(lambda: seen >= certain, "what has a receipt was handled", 60)
    words = [record.getMessage() for record in caplog.records if record.name == "waystation.amqp"]
    assert sum("connecting again" in each for each in words) == 1
    assert sum("connected again" in each for each in words) == 1


@pytest.mark.timeout(180)
async def test_what_waits_for_its_time_outlives_the_server(tmp_path: Path) -> None:
    """Retries with their attempts, of messages with a key and without; schedules; dead letters."""
    with own("rabbitmq", tmp_path) as first_server:
        server, url = first_server, fresh(first_server)
        async with opened(url) as transport:
            feed = await transport.open_feed(ORDERS)
            keyed, behind, free, dead = message(key="k"), message(key="k"), message(), message()
            await send(transport, keyed, behind, free, dead)
            outcomes: dict[str, Settlement] = {
                keyed.id: Retry(0.5),
                behind.id: Retry(0.0),
                free.id: Retry(0.5),
                dead.id: DeadLetter("no", "line 1"),
            }
            taken = await take(feed, 4)
            await feed.settle([(delivery, outcomes[delivery.message.id]) for delivery in taken])
            later = message(deliver_at=4_000_000_000.0)
            await send(transport, later)
            await queues_last(server, url)
            server.kill()
            server = await back(server)
            came: list[tuple[str, int]] = []
            async with asyncio.timeout(60):
                while len(came) < 3:
                    for delivery in await feed.receive(1):
                        await feed.settle([(delivery, ACCEPT)])
                        came.append((delivery.message.id, delivery.attempt))
            assert sorted(came) == sorted([(keyed.id, 2), (behind.id, 2), (free.id, 2)])
            assert [name for name, _ in came if name != free.id] == [keyed.id, behind.id]
            (letter,) = await transport.dead()
            assert (letter.message, letter.reason, letter.detail) == (dead, "no", "line 1")
            assert [info.message for info in await transport.scheduled()] == [later]


@pytest.mark.timeout(180)
async def test_a_server_that_stands_still_is_left_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was on its way is of unknown outcome; it comes at most once, and everything else as it should."""
    with own("rabbitmq", tmp_path) as server:
        async with opened(fresh(server) + "&heartbeat=1s&connect_timeout=1s") as transport:
            feed = await transport.open_feed(ORDERS)
            server.freeze()
            doubtful, late = message(), message()
            (outcome,) = await transport.send([doubtful])
            assert isinstance(outcome, SendUnconfirmed)
            assert outcome.message_id == doubtful.id
            monkeypatch.setattr(sender_module, "SEND_TIMEOUT_S", 0.5)
            (outcome,) = await transport.send([message()])
            assert isinstance(outcome, SendRejected)
            monkeypatch.undo()
            sending = asyncio.ensure_future(transport.send([late]))
            server.thaw()
            (outcome,) = await sending
            assert isinstance(outcome, Receipt)
            came: list[str] = []
            while late.id not in came:
                came += ids(await handle(feed, 1))
            assert len(set(came)) == len(came)
            assert set(came) <= {doubtful.id, late.id}


@pytest.mark.timeout(180)
async def test_a_server_that_comes_back_empty_is_given_its_groups_again(tmp_path: Path) -> None:
    """By whoever consumes from them."""
    with own("rabbitmq", tmp_path) as server:
        url = fresh(server)
        bus, came = Bus(url), asyncio.Event()

        @bus.subscribe("orders", group="billing")
        async def work(_: int) -> None:
            came.set()

        async with bus.running():
            async with opened(url) as other:
                assert await other.remove_group("billing")
            async with asyncio.timeout(PATIENCE_S):
                while not came.is_set():
                    await bus.publish("orders", 1, key="k")
                    await asyncio.sleep(0.1)


# --- the way there ---------------------------------------------------------------------------------------------


async def errand(url: str) -> None:
    """Send, handle, retry and bury over a connection that may be cut; insist that nothing with a receipt is lost."""
    certain: set[str] = set()
    handled: list[str] = []
    async with opened(url) as transport:
        feed = await transport.open_feed(ORDERS)
        for number in range(6):
            each = message(key=f"k{number % 2}" if number % 3 else None)
            (outcome,) = await transport.send([each])
            if isinstance(outcome, Receipt):
                certain.add(each.id)
        async with asyncio.timeout(30):
            while not set(handled) >= certain:
                for delivery in await feed.receive(3):
                    tried = delivery.attempt == 1 and delivery.key == "k0"
                    if not tried:
                        handled.append(delivery.message.id)
                    with suppress(TransportError):  # whether it is settled is unknown: it may come again
                        await feed.settle([(delivery, Retry(0.0) if tried else ACCEPT)])


@pytest.mark.timeout(1800 if TIER != "pr" else 180)
async def test_a_connection_may_be_cut_anywhere(rabbitmq_server: Server) -> None:
    """After any byte, in either direction."""
    dice = random.Random(24)
    passed = await cut_at(rabbitmq_server, {})
    for number in range(CUTS_COUNT):
        way = WAYS[number % 2]
        await cut_at(rabbitmq_server, {way: dice.randrange(passed[way])})


async def cut_at(server: Server, cuts: dict[Way, int]) -> dict[Way, int]:
    async with proxied(address_of(server)) as proxy:
        url = through(proxy, server)
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


def through(proxy: Proxy, server: Server) -> str:
    """Return a URL under which nothing is, by way of a proxy."""
    return fresh(server).replace(address_of(server)[6:], proxy.url[6:])


async def test_what_was_held_is_lost_with_the_connection_and_comes_again(rabbitmq_server: Server) -> None:
    """In its order, and what was begun as another attempt."""
    async with (
        proxied(address_of(rabbitmq_server)) as proxy,
        opened(through(proxy, rabbitmq_server)) as transport,
    ):
        feed = await transport.open_feed(ORDERS)
        begun, kept = message(key="k"), message(key="k")
        await send(transport, begun, kept)
        held = await take(feed, 1)
        proxy.cut()
        await until(lambda: transport.link.connection is None, "it was noticed")
        (again,) = await take(feed, 1)
        with pytest.raises(SettlementLost):
            await feed.settle([(held[0], ACCEPT)])
        with pytest.raises(SettlementLost):
            await feed.extend(held)
        assert (again.message, again.attempt) == (begun, 2)
        await feed.settle([(again, ACCEPT)])
        assert ids(await handle(feed, 1)) == [kept.id]


async def test_a_half_open_connection_is_noticed(rabbitmq_server: Server) -> None:
    """Everything vanishes and nobody says so: an idle consumer is back all the same."""
    async with proxied(address_of(rabbitmq_server)) as proxy:
        url = through(proxy, rabbitmq_server)
        async with opened(url + "&heartbeat=1s") as transport:
            feed = await transport.open_feed(ORDERS)
            proxy.swallows = set(WAYS)
            await until(lambda: transport.link.connection is None, "it was noticed", 4.0)
            proxy.swallows = set()
            sent = message()
            await send(transport, sent)
            assert ids(await handle(feed, 1)) == [sent.id]


# --- members ---------------------------------------------------------------------------------------------------


class Workers:
    """Processes of the group "workers", and what they have said."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.running: dict[str, Process] = {}
        self.begun: list[tuple[int, int]] = []
        self.done: list[int] = []
        self.ready: set[str] = set()
        self._readers: list[asyncio.Task[None]] = []

    async def begin(self, name: str) -> Process:
        command = (sys.executable, str(amqp_worker.__file__), self.url, name)
        process = self.running[name] = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
        self._readers.append(asyncio.ensure_future(self._read(process)))
        await until(lambda: name in self.ready, f"{name} is ready", 60)
        return process

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None, "it was asked for"
        async for line in process.stdout:
            match line.decode().split():
                case ["begun", _, number, attempt]:
                    self.begun.append((int(number), int(attempt)))
                case ["done", _, number, _]:
                    self.done.append(int(number))
                case ["ready", name]:
                    self.ready.add(name)

    async def kill(self, name: str) -> None:
        process = self.running.pop(name)
        if process.returncode is None:
            process.kill()
        await process.wait()

    async def close(self) -> None:
        for name in list(self.running):
            await self.kill(name)
        await asyncio.gather(*self._readers)


@pytest.mark.timeout(180)
async def test_a_message_that_kills_its_process_is_given_up_and_takes_no_neighbour_along(
    rabbitmq_server: Server,
) -> None:
    """After one death more than its attempts at most; each of the others is handled."""
    url = fresh(rabbitmq_server)
    workers = Workers(url)
    async with Bus(url) as bus:
        await workers.begin("w0")
        await bus.publish_many("work", [*range(100, 130), -1, *range(200, 230)])
        wanted = {*range(100, 130), *range(200, 230)}
        try:
            deaths = 0
            async with asyncio.timeout(120):
                while not (letters := await bus.inspector().dead()):
                    if workers.running[f"w{deaths}"].returncode is not None:
                        deaths += 1
                        await workers.begin(f"w{deaths}")
                    await asyncio.sleep(0.05)
            await until(lambda: set(workers.done) >= wanted, "every neighbour was handled", 60)
        finally:
            await workers.close()
    assert [letter.message.body for letter in letters] == [b"-1"]
    assert 3 <= deaths <= 4


@pytest.mark.timeout(180)
async def test_members_come_and_go_and_keys_keep_their_order(rabbitmq_server: Server) -> None:
    """By leaving or by being killed: nothing is lost, and each key is handled in order but for what is repeated."""
    url = fresh(rabbitmq_server)
    workers = Workers(url)
    numbers = range(1000)
    try:
        async with Bus(url) as bus:
            await workers.begin("a")
            await workers.begin("b")
            for first in range(0, 1000, 100):
                for number in range(first, first + 100):
                    await bus.publish("work", number, key=f"k{number % 13}")
                match first:
                    case 200:
                        await workers.kill("a")
                    case 400:
                        await workers.begin("c")
                    case 600:
                        workers.running["b"].terminate()
                        await workers.begin("d")
            await until(lambda: set(workers.done) >= set(numbers), "everything was handled", 90)
    finally:
        await workers.close()
    first_time: dict[int, list[int]] = defaultdict(list)
    for number in dict.fromkeys(workers.done):
        first_time[number % 13].append(number)
    assert all(done == sorted(done) for done in first_time.values()), first_time


@pytest.mark.timeout(180)
async def test_what_a_killed_member_had_comes_again_while_the_others_are_busy(
    rabbitmq_server: Server,
) -> None:
    """Suspects go out a hundred at a time; that others are settled all the time does not keep the next ones back."""
    url = fresh(rabbitmq_server)
    workers = Workers(url)
    numbers = range(4000)
    stop = asyncio.Event()

    async def keep_busy(bus: Bus) -> None:
        while not stop.is_set():
            await bus.publish_many("work", [10_000] * 5)
            await asyncio.sleep(0.01)

    try:
        async with Bus(url) as bus:
            for name in "abc":
                await workers.begin(name)
            await bus.publish_many("work", list(numbers))
            await until(lambda: len(workers.done) > 300, "they are at work")
            await workers.kill("a")
            busy = asyncio.ensure_future(keep_busy(bus))
            try:
                await until(lambda: set(workers.done) >= set(numbers), "everything was handled", 60)
            finally:
                stop.set()
                await busy
    finally:
        await workers.close()


# --- who is not let in -----------------------------------------------------------------------------------------


async def test_what_keeps_a_program_out_is_said_in_a_sentence(rabbitmq_server: Server) -> None:
    """With what to do, and without the password."""
    url = fresh(rabbitmq_server)
    place = url.partition("@")[2]
    host = place.partition("/")[0]
    cases = {
        f"amqp://guest:wr0ng@{place}": "does not let the user 'guest' in: check the name and the password",
        f"amqp://guest:guest@{host}/nowhere": "has no virtual host 'nowhere': make it with 'rabbitmqctl add_vhost",
        "amqp://guest:wr0ng@127.0.0.1:1/": "RabbitMQ at 127.0.0.1:1 cannot be reached",
    }
    for wrong, sentence in cases.items():
        with pytest.raises(TransportError) as caught:
            await made(wrong).open()
        assert sentence in str(caught.value)
        assert "wr0ng" not in str(caught.value)
