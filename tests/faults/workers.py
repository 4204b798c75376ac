"""The processes that are killed, stopped, cut off and lied to.

Each writes down what it does before it acts on it. Chance, with a seed of the run's, decides what it does.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import apsw

from waystation import Bus, RetryPolicy, Topic, Transaction
from waystation._core.delivery import (
    ACCEPT,
    RELEASE,
    DeadLetter,
    Delivery,
    Receipt,
    Retry,
    SendOutcome,
    Settlement,
)
from waystation._core.errors import (
    SendRejected,
    SendUnconfirmed,
    SettlementLost,
    StoreError,
    StoreUnavailable,
    TransactionLost,
)
from waystation._core.message import Message
from waystation._core.ports import Feed, Subscription, Topology
from waystation._runtime.clock import SystemClock
from waystation._store import database
from waystation._store.clock import StoreClock
from waystation._store.maintenance import Maintenance
from waystation._store.schema import MIGRATIONS, VERSION
from waystation.testing.recording import Recorder
from waystation.transports.sqlite import SqliteTransport

TOPIC = "work"
GROUP = "g"
SUBSCRIPTION = Subscription(pattern=TOPIC, group=GROUP)
TEXT = "text/plain; charset=utf-8"

#: A migration of a version to come. It takes a while, so that something can come in between.
NEXT_ROWS = 3000
NEXT_STEP = f"""
CREATE TABLE bus_next (id INTEGER PRIMARY KEY, word TEXT NOT NULL) STRICT;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {NEXT_ROWS})
INSERT INTO bus_next SELECT i, hex(randomblob(60)) FROM n;
CREATE INDEX bus_next_word ON bus_next (word);
"""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Job:
    """What one life of a worker is given.

    Attributes:
        options: Numbers that a role understands; what is not given has its default.
        told: Something comes out of it when the worker is sent on.
    """

    role: str
    path: str
    history: str
    name: str
    seed: int
    options: dict[str, float]
    told: Connection


class SkewedClock(SystemClock):
    """A wall clock that is wrong by `skew_s` seconds, or, with `strobe_s`, wrong and right by turns."""

    def __init__(self, skew_s: float, strobe_s: float = 0.0) -> None:
        self._skew_s, self._strobe_s = skew_s, strobe_s

    def _is_wrong(self) -> bool:
        return not self._strobe_s or int(time.monotonic() / self._strobe_s) % 2 == 0

    def time(self) -> float:
        """Unix seconds, or what this clock takes for them."""
        return time.time() + (self._skew_s if self._is_wrong() else 0.0)


@dataclass
class Worker:
    """What every role has."""

    job: Job
    stopping: asyncio.Event
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.recorder = Recorder(Path(self.job.history), proc=self.job.name, seed=self.job.seed)
        self.random = random.Random(self.job.seed)
        skew_s = self.option("skew_s", 0.0)
        self.clock = SkewedClock(skew_s, self.option("strobe_s", 0.0)) if skew_s else SystemClock()
        self.transport = SqliteTransport(
            self.job.path, clock=self.clock, flush_settlements=bool(self.option("flush_settlements", 0))
        )

    def option(self, name: str, default: float) -> float:
        """Return what the job says, or the default."""
        return self.job.options.get(name, default)

    async def open_feed(self) -> Feed:
        """Become a member of the group."""
        await self.transport.open()
        await self.transport.declare(Topology(subscriptions=(SUBSCRIPTION,)))
        return await self.transport.open_feed(SUBSCRIPTION)

    async def told(self) -> None:
        """Wait until the supervisor says go on."""
        await asyncio.to_thread(self.job.told.recv_bytes)

    async def pause(self, longest_s: float) -> None:
        """Do nothing for a while."""
        await asyncio.sleep(self.random.uniform(0.0, longest_s))


def direct(path: str | Path) -> apsw.Connection:
    """Open the file as any program might."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(10_000)
    return connection


def body_of(id_: str, size: int) -> bytes:
    """A body that says whose it is, so that nobody can be given another one's unnoticed."""
    return (id_.encode() + b" ") * max(1, size // (len(id_) + 1))


# --- senders -----------------------------------------------------------------------------------------------------


async def produce(worker: Worker) -> None:
    """Send batches until told to end: half of the messages with one of three keys of this life's, some for later."""
    batch_max, size = round(worker.option("batch_max", 20)), round(worker.option("body_bytes", 30))
    longest_s = worker.option("pause_s", 0.01)
    await worker.transport.open()
    number = 0
    while not worker.stopping.is_set():
        batch = []
        for _ in range(worker.random.randint(1, batch_max)):
            number += 1
            id_, key = f"{worker.job.name}-{number}", None
            due = None
            if number % 6 < 3:
                key = f"{worker.job.name}/{number % 6}"
            elif worker.random.random() < worker.option("scheduled_share", 0.02):
                due = worker.clock.time() + worker.random.uniform(0.0, 1.0)
            batch.append(Message(id_, TOPIC, body_of(id_, size), key=key, content_type=TEXT, deliver_at=due))
        worker.recorder.sending(batch)
        outcomes = await worker.transport.send(batch)
        worker.recorder.sent(batch, outcomes)
        if not all(isinstance(outcome, Receipt) for outcome in outcomes):
            await reopen(worker)
        await worker.pause(longest_s)
    await worker.transport.close()


async def reopen(worker: Worker) -> None:
    """Do what an error asks for: connect again, as often as it takes."""
    await close(worker)
    while not worker.stopping.is_set():
        await worker.pause(0.1)
        try:
            await worker.transport.open()
        except StoreError:
            continue
        return


async def flood(worker: Worker) -> None:
    """Publish as many messages as are asked for, as fast as the bus lets one, and end."""
    body, left = b"x" * round(worker.option("body_bytes", 256)), round(worker.option("total", 1000))
    async with Bus(f"sqlite:///{worker.job.path}") as bus:
        worker.recorder.nemesis("flood")
        while left:
            count = min(left, 5000)
            await bus.publish_many(Topic(TOPIC, bytes), itertools.repeat(body, count))
            left -= count
        worker.recorder.nemesis("flood", over=True)


async def outbox(worker: Worker) -> None:
    """Commit a row and a message together, and now and then nothing, until told to end."""
    number = 0
    while not worker.stopping.is_set():
        try:
            async with Bus(f"sqlite:///{worker.job.path}") as bus:
                while not worker.stopping.is_set():
                    number += 1
                    await commit(worker, bus, f"{worker.job.name}-{number}")
        except StoreError as error:  # the disk is full, for example
            print(error, flush=True)
            await worker.pause(0.1)


async def commit(worker: Worker, bus: Bus, id_: str) -> None:
    """Write a row and publish a message in one transaction."""
    message = Message(id_, TOPIC, id_.encode(), content_type=TEXT)
    worker.recorder.sending([message])
    outcome: SendOutcome
    try:
        async with bus.transaction() as transaction:
            await transaction.execute("INSERT INTO outbox VALUES (?)", [id_])
            outcome = await transaction.publish(Topic(TOPIC, str), id_, message_id=id_)
            if worker.random.random() < 0.1:
                raise Undone
    except (Undone, TransactionLost) as error:
        outcome = SendRejected(f"rolled back: {error}")
    except StoreError as error:
        outcome = SendUnconfirmed(str(error), message_id=id_)
    worker.recorder.sent([message], [outcome])
    if isinstance(outcome, SendUnconfirmed):
        raise StoreUnavailable(str(outcome))


class Undone(Exception):
    """A transaction's body failed, on purpose."""


# --- receivers ---------------------------------------------------------------------------------------------------


async def consume(worker: Worker) -> None:
    """Receive and settle until told to end: mostly accept, now and then retry, give up or give back."""
    stopping = asyncio.create_task(worker.stopping.wait())
    while not worker.stopping.is_set():
        try:
            feed = await worker.open_feed()
            while await handle_some(worker, feed, stopping):
                pass
        except StoreError as error:  # the disk is full, for example
            print(error, flush=True)
            await worker.pause(0.1)
        await close(worker)
    stopping.cancel()


async def handle_some(worker: Worker, feed: Feed, stopping: asyncio.Task[Any]) -> bool:
    """Receive and settle once; say whether to go on."""
    limit = worker.random.randint(1, round(worker.option("batch_max", 40)))
    receiving = asyncio.ensure_future(feed.receive(limit))
    await asyncio.wait({receiving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not receiving.done():
        receiving.cancel()
        await asyncio.wait({receiving})
    if receiving.cancelled():
        return False
    deliveries = receiving.result()
    worker.recorder.delivered(deliveries, group=GROUP)
    for delivery in deliveries:
        message = delivery.message
        assert message.body.startswith(message.id.encode()), f"a wrong body: {message}"
    await worker.pause(worker.option("pause_s", 0.005))
    outcomes = decide(deliveries, worker.random)
    worker.recorder.settling(outcomes, group=GROUP)
    try:
        await feed.settle(outcomes)
    except (SettlementLost, StoreError) as error:
        worker.recorder.settled(outcomes, group=GROUP, error=error)
        if isinstance(error, StoreError):
            raise
    else:
        worker.recorder.settled(outcomes, group=GROUP)
    return not worker.stopping.is_set()


async def close(worker: Worker) -> None:
    """Disconnect, whatever the disk says to that: leases that cannot be given back end by themselves."""
    try:
        await worker.transport.close()
    except StoreError as error:
        print(error, flush=True)


def decide(deliveries: Sequence[Delivery], chance: random.Random) -> list[tuple[Delivery, Settlement]]:
    """Choose how each ends. What follows a message of its key that is not done yet goes back with it."""
    outcomes: list[tuple[Delivery, Settlement]] = []
    behind: set[str] = set()
    for delivery in deliveries:
        key, dice = delivery.message.key, chance.random()
        how: Settlement = ACCEPT
        if key is not None and key in behind:
            how = RELEASE
        elif dice < 0.03:
            how = Retry(chance.choice((0.0, 0.05)))
        elif dice < 0.04:
            how = DeadLetter("chance")
        elif dice < 0.05:
            how = RELEASE
        if key is not None and how is not ACCEPT and not isinstance(how, DeadLetter):
            behind.add(key)
        outcomes.append((delivery, how))
    return outcomes


async def serve(worker: Worker) -> None:
    """Handle messages with a bus until SIGTERM, and drain."""
    bus = Bus(f"sqlite:///{worker.job.path}")

    @bus.subscribe(Topic(TOPIC, str), group=GROUP, concurrency=4)
    async def handle(body: str, delivery: Delivery) -> None:
        worker.recorder.delivered([delivery], group=GROUP)
        await worker.pause(worker.option("pause_s", 0.01))
        worker.recorder.settling([(delivery, ACCEPT)], group=GROUP)

    async with bus.running(drain=10):
        await worker.stopping.wait()


async def crawl(worker: Worker) -> None:
    """Handle one message a second with a bus, as it prefetches by itself."""
    bus = Bus(f"sqlite:///{worker.job.path}")

    @bus.subscribe(Topic(TOPIC, bytes), group=GROUP)
    async def handle(body: bytes, delivery: Delivery) -> None:
        worker.recorder.delivered([delivery], group=GROUP)
        await asyncio.sleep(1.0)

    async with bus.running():
        await worker.stopping.wait()


async def effects(worker: Worker) -> None:
    """Consume with a bus, through the inbox: the effect is a row, and another message."""
    bus = Bus(f"sqlite:///{worker.job.path}")
    done = Topic("done", str)

    @bus.subscribe(Topic(TOPIC, str), group=GROUP, concurrency=2, retry=RetryPolicy(max_attempts=1000))
    async def handle(body: str, delivery: Delivery, transaction: Transaction) -> None:
        worker.recorder.delivered([delivery], group=GROUP)
        await transaction.execute("INSERT INTO effects VALUES (?)", [body])
        await transaction.publish(done, body)

    async with bus.running(drain=10):
        await worker.stopping.wait()


async def poisoned(worker: Worker) -> None:
    """Consume with a bus; a certain body kills the process."""
    bus = Bus(f"sqlite:///{worker.job.path}")

    @bus.subscribe(Topic(TOPIC, str), group=GROUP, retry=RetryPolicy(max_attempts=3), concurrency=2)
    async def handle(body: str, delivery: Delivery) -> None:
        worker.recorder.delivered([delivery], group=GROUP)
        if body == "poison":
            os.kill(os.getpid(), signal.SIGKILL)

    async with bus.running():
        await worker.stopping.wait()


async def hold(worker: Worker) -> None:
    """Take three messages, say so, and settle them when told to."""
    feed = await worker.open_feed()
    deliveries: list[Delivery] = []
    while len(deliveries) < 3:
        deliveries += await feed.receive(3 - len(deliveries))
    worker.recorder.delivered(deliveries, group=GROUP)
    await worker.told()
    outcomes: list[tuple[Delivery, Settlement]] = [(delivery, ACCEPT) for delivery in deliveries]
    worker.recorder.settling(outcomes, group=GROUP)
    try:
        await feed.settle(outcomes)
    except SettlementLost as error:
        worker.recorder.settled(outcomes, group=GROUP, error=error)
    else:
        worker.recorder.settled(outcomes, group=GROUP)


# --- those who are in the way ------------------------------------------------------------------------------------


async def lock(worker: Worker) -> None:
    """Hold the write lock with an uncommitted row, and commit when told to."""
    connection = direct(worker.job.path)
    connection.execute("BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS mine (x); INSERT INTO mine VALUES (1)")
    worker.recorder.nemesis("lock")
    await worker.told()
    connection.execute("COMMIT")
    worker.recorder.nemesis("lock", over=True)
    connection.close()


async def read(worker: Worker) -> None:
    """Keep a read transaction open until killed."""
    connection = direct(worker.job.path)
    cursor = connection.execute("SELECT count(*) FROM bus_topic UNION ALL SELECT 2 UNION ALL SELECT 3")
    next(cursor)
    worker.recorder.nemesis("read")
    await worker.told()
    connection.close()


async def keep(worker: Worker) -> None:
    """Checkpoint, delete and give space back as fast as can be, until told to end."""
    path = Path(worker.job.path)
    database.create(path)
    keeper = Maintenance(path, StoreClock(time.time), path.with_name("keep.lock"))
    connection = direct(worker.job.path)
    worker.recorder.nemesis("keep")
    while not worker.stopping.is_set():
        keeper._checkpoint(connection)
        keeper._sweep(connection)
        keeper._prevented = 0.0
        connection.execute("PRAGMA incremental_vacuum(8)").fetchall()
        await worker.pause(0.01)
    connection.close()
    keeper.close()


async def begin(worker: Worker) -> None:
    """Create the file, declare, and wait."""
    worker.recorder.nemesis("begin")
    await worker.open_feed()
    worker.recorder.nemesis("begin", over=True)
    await worker.told()


async def migrate(worker: Worker) -> None:
    """Bring the file to the next version, and wait."""
    with next_version():
        await begin(worker)


def next_version() -> AbstractContextManager[object]:
    """Be, in a `with` block, the version that follows: one that has another table, and fills it."""
    return patch.multiple(database, MIGRATIONS=(*MIGRATIONS, NEXT_STEP), VERSION=VERSION + 1)


ROLES: dict[str, Callable[[Worker], Coroutine[Any, Any, None]]] = {
    role.__name__: role
    for role in (
        *(produce, flood, outbox, consume, serve, crawl, effects, poisoned, hold),
        *(lock, read, keep, begin, migrate),
    )
}


def live(job: Job) -> None:
    """Be a worker until killed, or until SIGTERM. Whoever started it takes it along when it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    said = os.open(Path(job.history).with_suffix(".stderr"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.close(said)
    asyncio.run(work(job))


async def work(job: Job) -> None:
    """Do what the role does."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await ROLES[job.role](Worker(job, stopping))
