"""Real processes, killed with -9 and stopped at random moments: what was accepted arrives, and nothing is made up."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import waystation
from tests.store.worker import SUBSCRIPTION, TOPIC
from waystation._core.delivery import ACCEPT, Receipt, SendOutcome
from waystation._core.errors import SendRejected
from waystation._core.inspection import GroupInfo
from waystation._core.message import Message
from waystation._core.ports import Topology
from waystation._runtime.clock import SystemClock
from waystation.testing.checkers import conservation, effect_once, order_by_key, total_queue
from waystation.transports.sqlite import SqliteTransport, desk

ROOT = Path(__file__).parents[2]
SOURCE = Path(waystation.__file__).parents[1]
PATIENCE_S = 20.0
KILLS = 20


class Town:
    """The processes of one test, their file and their histories."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.path = folder, folder / "bus.db"
        self.random = random.Random(seed)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.dead_pids: list[int] = []
        self._lives: dict[str, int] = defaultdict(int)
        self._pause = threading.Event()

    def start(self, role: str, name: str) -> None:
        """Start a worker; each of its lives has a name and a history of its own."""
        self._lives[name] += 1
        life = f"{name}.{self._lives[name]}"
        command = [sys.executable, "-m", "tests.store.worker", role, str(self.path)]
        self.running[name] = subprocess.Popen(
            [*command, str(self.folder / f"{life}.history"), life, str(self.random.random())],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdin=subprocess.PIPE,
        )

    def is_at_work(self, name: str) -> bool:
        """Whether the present life of a worker has written something."""
        history = self.folder / f"{name}.{self._lives[name]}.history"
        return history.exists() and history.stat().st_size > 0

    def kill(self, name: str) -> int:
        """Kill a worker where it stands."""
        process = self.running.pop(name)
        process.kill()
        return self.bury(process)

    def bury(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a worker's end and return its pid."""
        assert process.wait(PATIENCE_S) == -signal.SIGKILL, "a worker ended by itself"
        assert process.stdin is not None
        process.stdin.close()
        self.dead_pids.append(process.pid)
        return process.pid

    def tell(self, name: str) -> None:
        """Send a worker on."""
        stdin = self.running[name].stdin
        assert stdin is not None
        stdin.write(b"\n")
        stdin.flush()

    def pause(self, seconds: float) -> None:
        """Let the others work."""
        self._pause.wait(seconds)

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that other processes do."""
        for _ in range(round(PATIENCE_S / 0.01)):
            if condition():
                return
            self.pause(0.01)
        pytest.fail(f"never: {what}")

    def events(self, *kinds: str) -> list[list[Any]]:
        """All that was written down, of these kinds, in the order in which it happened. The last item is when."""
        lines = [
            line
            for file in self.folder.glob("*.history")
            for line in file.read_text().splitlines(keepends=True)
            if line.endswith("\n")  # a killed worker may leave half a line: it has not acted on it
        ]
        found = [event for event in map(json.loads, lines) if event[0] in kinds]
        return sorted(found, key=lambda event: int(event[-1]))

    def close(self) -> None:
        """Kill what is left."""
        for name in list(self.running):
            process = self.running[name]
            if process.poll() is None:
                self.kill(name)
            elif process.stdin is not None:
                process.stdin.close()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    town = Town(tmp_path, seed)
    yield town
    town.close()


@asynccontextmanager
async def opened(town: Town) -> AsyncIterator[SqliteTransport]:
    """This process's own access, with the group declared."""
    transport = SqliteTransport(str(town.path), clock=SystemClock())
    await transport.open()
    try:
        await transport.declare(Topology((TOPIC, "done"), (SUBSCRIPTION,)))
        yield transport
    finally:
        await transport.close()


async def info(transport: SqliteTransport) -> GroupInfo:
    (found,) = await transport.groups()
    return found


async def send(transport: SqliteTransport, *bodies: str) -> list[SendOutcome]:
    messages = [Message(f"m{number}", TOPIC, body.encode(), content_type="text/plain; charset=utf-8")
                for number, body in enumerate(bodies)]  # fmt: skip
    return list(await transport.send(messages))


async def drain(town: Town, transport: SqliteTransport) -> list[tuple[str, str | None, int]]:
    """Give back what the dead held, and handle all that is left; return ids, keys and attempts."""
    for pid in town.dead_pids:
        await transport.release_process(pid)
    feed = await transport.open_feed(SUBSCRIPTION)
    handled = []
    while (await info(transport)).lag:
        deliveries = await feed.receive(1000)
        await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
        handled += [(d.message.id, d.message.key, d.attempt) for d in deliveries]
    await feed.close()
    return handled


@pytest.mark.timeout(120)
async def test_nothing_accepted_is_lost_when_producers_and_consumers_are_killed(town: Town) -> None:
    roles = {"p": "produce", "q": "produce", "c": "consume", "d": "consume"}
    async with opened(town) as transport:
        for name, role in roles.items():
            town.start(role, name)
        town.wait_until(lambda: town.events("ok") and town.events("end"), "work in full swing")
        for _ in range(KILLS):
            name = town.random.choice(list(roles))
            town.wait_until(partial(town.is_at_work, name), "a worker at work")
            town.pause(town.random.uniform(0.0, 0.1))
            pid = town.kill(name)
            if town.random.random() < 0.5:
                await transport.release_process(pid)
            town.start(roles[name], name)
        for name in roles:
            town.kill(name)
        last = await drain(town, transport)
        stored = (await transport.topics())[1].next_offset
        books = await info(transport)

    ended = [(event[1], event[2], event[3]) for event in town.events("end")] + last
    begun = [(event[1], event[2], event[3]) for event in town.events("begin", "end")] + last
    invoked = town.events("invoke")
    accepted = [event[1] for event in town.events("ok")]
    found = total_queue(
        invoked=[event[1] for event in invoked],
        accepted=accepted,
        rejected=[event[1] for event in town.events("fail")],
        delivered=[id_ for id_, _, _ in ended],
    )
    counts = f"{len(found.duplicated)} duplicated, {len(found.recovered)} recovered, {len(last)} drained"
    print(f"{len(accepted)} accepted over {KILLS} kills: {counts}")
    assert found.is_valid, found
    assert len(accepted) > 100, "nothing to speak of happened"
    arrived = found.recovered.union(accepted)
    sent: dict[str, list[str]] = defaultdict(list)
    for _, id_, key, _ in invoked:
        if key is not None and id_ in arrived:
            sent[key].append(id_)
    assert order_by_key(sent, [(key, id_) for id_, key, _ in ended if key is not None]) == []
    attempts: dict[str, list[int]] = defaultdict(list)
    for id_, _, attempt in begun:
        attempts[id_].append(attempt)
    for id_, counted in attempts.items():
        assert counted == sorted(counted), f"{id_}: attempts {counted}"
        # A suspect comes in company first, and then alone, as the same attempt: no number comes a third time.
        assert counted.count(1) <= 1, f"{id_}: attempts {counted}"
        assert max(map(counted.count, counted)) <= 2, f"{id_}: attempts {counted}"
    settled = len({id_ for id_, _, _ in ended})
    assert conservation(accepted=stored, settled=settled, dead=books.dead, owed=books.lag) is None


@pytest.mark.timeout(60)
async def test_a_message_that_kills_its_consumer_becomes_a_dead_letter_and_its_neighbours_do_not(
    town: Town,
) -> None:
    async with opened(town) as transport:
        bodies = [f"good {number}" for number in range(60)]
        bodies[20] = "poison"
        await send(transport, *bodies)
        deaths = 0
        town.start("poisoned", "c")
        while (await info(transport)).lag:
            if town.running["c"].poll() is not None:
                await transport.release_process(town.bury(town.running.pop("c")))
                town.start("poisoned", "c")
                deaths += 1
                assert deaths <= 5, "the poison kills for ever"
            town.pause(0.01)
        dead = await transport.dead()
    assert [letter.message.body for letter in dead] == [b"poison"]
    assert "not settled in 3 attempts" in dead[0].reason
    assert deaths == 4  # one for each attempt, and one more that told it from its company
    handled = [event[1] for event in town.events("end")]
    assert set(handled) == set(bodies)
    assert handled.count("poison") == deaths


async def test_what_a_killed_consumer_held_comes_again_as_its_next_attempt(town: Town) -> None:
    async with opened(town) as transport:
        await send(transport, "a", "b", "c", "d")
        town.start("hold", "c")
        town.wait_until(lambda: town.events("holds"), "the worker holds something")
        (holds,) = town.events("holds")
        pid = town.kill("c")
        assert await transport.release_process(pid) >= 1
        attempts = {id_: attempt for id_, _, attempt in await drain(town, transport)}
    assert attempts == {f"m{number}": 2 if f"m{number}" in holds[1] else 1 for number in range(4)}


async def test_a_consumer_that_was_stopped_for_longer_than_its_lease_settles_nothing(town: Town) -> None:
    async with opened(town) as transport:
        await send(transport, "a", "b", "c")
        town.start("hold", "c")
        town.wait_until(lambda: town.events("holds"), "the worker holds something")
        stopped = town.running["c"]
        stopped.send_signal(signal.SIGSTOP)
        assert await transport.release_process(stopped.pid) >= 1
        feed = await transport.open_feed(SUBSCRIPTION)
        delivery, *_ = suspects = await feed.receive(10)
        assert {suspect.attempt for suspect in suspects} == {2}
        stopped.send_signal(signal.SIGCONT)
        town.tell("c")
        town.wait_until(lambda: town.events("lost", "settled"), "the worker settles")
        assert town.events("settled") == []
        assert (await info(transport)).lag == 3, "a zombie's settlement counted"
        assert stopped.wait(PATIENCE_S) == 0
        await feed.settle([(delivery, ACCEPT)])
        await feed.close()
        assert [attempt for _, _, attempt in await drain(town, transport)] == [2, 2]


async def test_a_process_that_is_stopped_with_the_write_lock_delays_others_and_breaks_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "STORE_BUSY_S", 0.2)
    async with opened(town) as transport:
        town.start("lock", "c")
        town.wait_until(lambda: town.events("locked"), "the worker has the lock")
        stopped = town.running["c"]
        stopped.send_signal(signal.SIGSTOP)
        (outcome,) = await send(transport, "too early")
        assert isinstance(outcome, SendRejected), outcome
        stopped.send_signal(signal.SIGCONT)
        town.tell("c")
        assert stopped.wait(PATIENCE_S) == 0
        assert town.events("committed"), "what it had written was lost"
        (outcome,) = await send(transport, "now")
        assert isinstance(outcome, Receipt), outcome
        assert len(await drain(town, transport)) == 1


@pytest.mark.timeout(90)
async def test_effects_in_a_transaction_happen_once_however_often_its_process_is_killed(town: Town) -> None:
    bodies = [f"b{number}" for number in range(1500)]
    async with opened(town) as transport:
        transaction = await transport.begin(flush=False)
        await transaction.execute("CREATE TABLE effects (body TEXT)")
        await transaction.commit()
        for first in range(0, len(bodies), 500):
            await send_numbered(transport, bodies[first : first + 500], first)
            await send_numbered(transport, bodies[first : first + 100], first)  # the same messages again
        kills = 0
        town.start("effects", "c")
        while (await info(transport)).lag:
            town.pause(0.01)
            if kills < 5 and town.is_at_work("c"):
                town.pause(town.random.uniform(0.0, 0.05))
                await transport.release_process(town.kill("c"))
                town.start("effects", "c")
                kills += 1
        town.kill("c")
        transaction = await transport.begin(flush=False)
        rows = await transaction.execute("SELECT body FROM effects")
        await transaction.rollback()
        published = [message.body for _, message in await transport.browse("done", start=0, limit=10_000)]
    assert effect_once([row[0] for row in rows], settled=bodies) == []
    assert sorted(published) == sorted(body.encode() for body in bodies), "messages and rows differ"


async def send_numbered(transport: SqliteTransport, bodies: list[str], first: int) -> None:
    messages = [
        Message(f"m{number}", TOPIC, body.encode(), content_type="text/plain; charset=utf-8")
        for number, body in enumerate(bodies, first)
    ]
    assert all(isinstance(outcome, Receipt) for outcome in await transport.send(messages))


@pytest.mark.timeout(60)
async def test_rows_and_messages_of_one_transaction_are_there_together_or_not_at_all(town: Town) -> None:
    async with opened(town) as transport:
        transaction = await transport.begin(flush=False)
        await transaction.execute("CREATE TABLE outbox (body TEXT)")
        await transaction.commit()
        for _ in range(5):
            town.start("outbox", "p")
            town.wait_until(lambda: town.is_at_work("p"), "the worker sends")
            town.pause(town.random.uniform(0.0, 0.1))
            town.kill("p")
        transaction = await transport.begin(flush=False)
        rows = [
            row[0].encode() for row in await transaction.execute("SELECT body FROM outbox ORDER BY rowid")
        ]
        await transaction.rollback()
        messages = [message.body for _, message in await transport.browse(TOPIC, start=0, limit=100_000)]
    assert rows, "nothing was ever committed"
    assert sorted(messages) == sorted(rows)
