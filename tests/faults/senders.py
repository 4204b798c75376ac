"""Processes that send, until they are killed, or told to end."""

from __future__ import annotations

import itertools
from pathlib import Path

from msgspec.structs import replace

from waystation import Bus, Topic
from waystation._core.delivery import Receipt, SendOutcome
from waystation._core.errors import (
    Disconnected,
    SendRejected,
    SendUnconfirmed,
    StoreError,
    StoreUnavailable,
    TransactionLost,
)
from waystation._core.message import Message
from waystation.testing.history import History, events
from waystation.testing.recording import SUFFIX

from .worker import LARGE_BYTES, TEXT, TOPIC, Worker


async def produce(worker: Worker) -> None:
    """Send batches until told to end: half of the messages with one of three keys of this life's, some for later."""
    batch_max, size = round(worker.option("batch_max", 20)), round(worker.option("body_bytes", 30))
    longest_s = worker.option("pause_s", 0.01)
    await reopen(worker)
    batch = repeat(worker)
    number = len(batch)
    if batch:
        await send(worker, batch)
    while not worker.stopping.is_set():
        batch, once = [], worker.random.random() < 0.5
        count = worker.random.randint(1, batch_max)
        large = worker.random.randrange(2 * count)  # in every second batch, one
        for _ in range(count):
            number += 1
            id_, key = f"{worker.job.name}-{number}", None
            due = None
            if number % 6 < 3:
                key = f"{worker.job.name}/{number % 6}"
            elif worker.random.random() < worker.option("scheduled_share", 0.02):
                due = worker.clock.time() + worker.random.uniform(0.0, 1.0)
            body = body_of(id_, 2 * LARGE_BYTES if len(batch) == large else size)
            message = Message(id_, TOPIC, body, key=key, content_type=TEXT, deliver_at=due)
            batch.append(replace(message, dedupe_key=id_) if once else message)
        await send(worker, batch)
        await worker.pause(longest_s)
    await worker.transport.close()


async def send(worker: Worker, batch: list[Message]) -> None:
    """Send a batch, and note what came of it."""
    worker.recorder.sending(batch)
    outcomes = await worker.transport.send(batch)
    worker.recorder.sent(batch, outcomes)
    if not all(isinstance(outcome, Receipt) for outcome in outcomes):
        await reopen(worker)


def repeat(worker: Worker) -> list[Message]:
    """What the life before was not told the outcome of, again: the `dedupe_key` says that it is the same."""
    name, _, life = worker.job.name.rpartition(".")
    before = Path(worker.job.history).with_name(f"{name}.{int(life) - 1}{SUFFIX}")
    if not before.exists():
        return []
    unknown = [each for each in History.of(events(before)).sent if each.ended_ns is None and each.dedupe_key]
    return [
        Message(
            f"{worker.job.name}-{number}",
            TOPIC,
            body_of(f"{worker.job.name}-{number}", 30),
            key=each.key,
            content_type=TEXT,
            deliver_at=each.due,
            dedupe_key=each.dedupe_key,
        )
        for number, each in enumerate(unknown, 1)
    ]


async def reopen(worker: Worker) -> None:
    """Do what an error asks for: connect again, as often as it takes."""
    await worker.close()
    while not worker.stopping.is_set():
        await worker.pause(0.1)
        try:
            await worker.transport.open()
        except (StoreError, Disconnected):
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


def body_of(id_: str, size: int) -> bytes:
    """A body that says whose it is, so that nobody can be given another one's unnoticed."""
    return (id_.encode() + b" ") * max(1, size // (len(id_) + 1))
