"""Processes that receive, until they are killed, or told to end."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from typing import Any

from waystation import Bus, RetryPolicy, Topic, Transaction
from waystation._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Retry, Settlement
from waystation._core.errors import Disconnected, SettlementLost, StoreError
from waystation._core.ports import Feed

from .worker import GROUP, TOPIC, Worker


async def consume(worker: Worker) -> None:
    """Receive and settle until told to end: mostly accept, now and then retry, give up or give back."""
    stopping = asyncio.create_task(worker.stopping.wait())
    while not worker.stopping.is_set():
        try:
            feed = await worker.open_feed()
            while await handle_some(worker, feed, stopping):
                pass
        except (StoreError, Disconnected) as error:  # the disk is full, for example, or the server is gone
            print(error, flush=True)
            await worker.pause(0.1)
        await worker.close()
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
        assert set(message.body.split()) == {message.id.encode()}, (
            f"a wrong body: {message}, {delivery.error}"
        )
    await worker.pause(worker.option("pause_s", 0.005))
    outcomes = decide(deliveries, worker.random, easy=bool(worker.option("easy", 0)))
    worker.recorder.settling(outcomes, group=GROUP)
    try:
        await feed.settle(outcomes)
    except SettlementLost as error:
        worker.recorder.settled(outcomes, group=GROUP, error=error)
    except StoreError:  # the feed will be closed, which gives everything back
        worker.recorder.settling([(delivery, RELEASE) for delivery in deliveries], group=GROUP)
        raise
    else:
        worker.recorder.settled(outcomes, group=GROUP)
    return not worker.stopping.is_set()


def decide(
    deliveries: Sequence[Delivery], chance: random.Random, *, easy: bool
) -> list[tuple[Delivery, Settlement]]:
    """Choose how each ends. What follows a message of its key that is not done yet goes back with it.

    Args:
        easy: Whether all goes well, as when what is left is cleared away.
    """
    if easy:
        return [(delivery, ACCEPT) for delivery in deliveries]
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
        if worker.random.random() < 0.3:
            await worker.pause(0.005)  # so that a kill finds it between its effect and its settlement
        await transaction.publish(done, body)
        worker.recorder.settling([(delivery, ACCEPT)], group=GROUP)

    async with bus.running(drain=10):
        await worker.stopping.wait()


async def poisoned(worker: Worker) -> None:
    """Consume with a bus; a certain body kills the process."""
    bus = Bus(worker.url)

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
