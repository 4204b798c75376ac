"""The processes that the crash tests kill: `python -m tests.store.worker ROLE FILE HISTORY NAME SEED`.

Each appends what it did to a history of its own, with fdatasync, before it acts on it: a killed worker's last act is
known. Lines are JSON arrays; moments are of the machine's monotonic clock, the same in all processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from waystation import Bus, RetryPolicy, Topic, Transaction
from waystation._core.delivery import ACCEPT, RELEASE, Delivery, Receipt, Retry, Settlement
from waystation._core.errors import SettlementLost
from waystation._core.message import Message
from waystation._core.ports import Feed, Subscription, Topology
from waystation._runtime.clock import SystemClock
from waystation.transports.sqlite import SqliteTransport

TOPIC = "work"
GROUP = "g"
SUBSCRIPTION = Subscription(pattern=TOPIC, group=GROUP)


class History:
    """An append-only file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, *events: list[Any]) -> None:
        """Append events: they outlive this process."""
        text = "".join(json.dumps([*event, time.monotonic_ns()]) + "\n" for event in events)
        os.write(self._descriptor, text.encode())

    def write(self, *events: list[Any]) -> None:
        """Append events, and return when they are on the disk."""
        self.note(*events)
        os.fdatasync(self._descriptor)


class Worker:
    """What every role has."""

    def __init__(self, path: str, history: str, name: str, seed: str) -> None:
        self.path, self.name = path, name
        self.history = History(Path(history))
        self.random = random.Random(seed)
        self.transport = SqliteTransport(path, clock=SystemClock())

    async def open_feed(self) -> Feed:
        await self.transport.open()
        await self.transport.declare(Topology(subscriptions=(SUBSCRIPTION,)))
        return await self.transport.open_feed(SUBSCRIPTION)


async def produce(worker: Worker) -> None:
    """Send batches for ever: half of the messages with one of three keys of this producer's own."""
    await worker.transport.open()
    number = 0
    while True:
        batch = []
        for _ in range(worker.random.randint(1, 20)):
            number += 1
            key = f"{worker.name}-{number % 6}" if number % 6 < 3 else None
            batch.append(Message(f"{worker.name}:{number}", TOPIC, b"{}", key=key))
        worker.history.write(*[["invoke", message.id, message.key] for message in batch])
        outcomes = await worker.transport.send(batch)
        worker.history.write(
            *[
                ["ok" if isinstance(outcome, Receipt) else "fail", message.id]
                for message, outcome in zip(batch, outcomes, strict=True)
            ]
        )


async def consume(worker: Worker) -> None:
    """Receive and settle for ever; now and then retry a message, and with it what follows in its key."""
    feed = await worker.open_feed()
    while True:
        deliveries = await feed.receive(worker.random.randint(1, 40))
        outcomes: list[tuple[Delivery, Settlement]] = []
        behind: set[str] = set()
        for delivery in deliveries:
            key = delivery.message.key
            if key is not None and key in behind:
                outcomes.append((delivery, RELEASE))
            elif worker.random.random() < 0.03:
                worker.history.note(["begin", delivery.message.id, key, delivery.attempt])
                outcomes.append((delivery, Retry(0.0)))
                behind |= {key} if key is not None else set()
            else:
                worker.history.note(["end", delivery.message.id, key, delivery.attempt])
                outcomes.append((delivery, ACCEPT))
        await feed.settle(outcomes)


async def hold(worker: Worker) -> None:
    """Take three messages, say so, and settle them when told to."""
    feed = await worker.open_feed()
    deliveries: list[Delivery] = []
    while len(deliveries) < 3:
        deliveries += await feed.receive(3 - len(deliveries))
    worker.history.write(["holds", [delivery.message.id for delivery in deliveries]])
    await asyncio.to_thread(sys.stdin.readline)
    try:
        await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
    except SettlementLost as error:
        worker.history.write(["lost", str(error)])
    else:
        worker.history.write(["settled"])


async def lock(worker: Worker) -> None:
    """Hold the write lock with an uncommitted row, and commit when told to."""
    await worker.transport.open()
    transaction = await worker.transport.begin(flush=False)
    await transaction.execute("CREATE TABLE mine (x)")
    worker.history.write(["locked"])
    await asyncio.to_thread(sys.stdin.readline)
    await transaction.commit()
    worker.history.write(["committed"])


async def poisoned(worker: Worker) -> None:
    """Consume with a bus; a certain body kills the process."""
    bus = Bus(f"sqlite:///{worker.path}")

    @bus.subscribe(Topic(TOPIC, str), group=GROUP, retry=RetryPolicy(max_attempts=3), concurrency=2)
    async def handle(body: str) -> None:
        worker.history.write(["end", body])
        if body == "poison":
            os.kill(os.getpid(), signal.SIGKILL)

    async with bus.running():
        await asyncio.Event().wait()


async def effects(worker: Worker) -> None:
    """Consume with a bus, through the inbox: the effect is a row, and another message."""
    bus = Bus(f"sqlite:///{worker.path}")
    done = Topic("done", str)

    @bus.subscribe(Topic(TOPIC, str), group=GROUP, concurrency=2, retry=RetryPolicy(max_attempts=1000))
    async def handle(body: str, transaction: Transaction) -> None:
        await transaction.execute("INSERT INTO effects VALUES (?)", [body])
        await transaction.publish(done, body)
        if worker.random.random() < 0.02:
            worker.history.write(["effect", body])

    async with bus.running():
        await asyncio.Event().wait()


async def outbox(worker: Worker) -> None:
    """Commit a row and a message together, for ever."""
    bus = Bus(f"sqlite:///{worker.path}")
    topic, number = Topic(TOPIC, str), 0
    async with bus:
        while True:
            number += 1
            body = f"{worker.name}:{number}"
            async with bus.transaction() as transaction:
                await transaction.execute("INSERT INTO outbox VALUES (?)", [body])
                await transaction.publish(topic, body)
            worker.history.write(["ok", body])


ROLES: dict[str, Callable[[Worker], Coroutine[Any, Any, None]]] = {
    role.__name__: role for role in (produce, consume, hold, lock, poisoned, effects, outbox)
}

if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](Worker(*sys.argv[2:])))
