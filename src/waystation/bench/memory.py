"""The figures of `memory://`: what the library itself costs, in one process, with no medium to wait for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import uvloop

from waystation import Bus, Topic

from . import limits
from .orders import Order, Tally, make_orders
from .report import Figure, summarise
from .scale import Scale

#: From publish to a typed handler with an in-process or test broker, in µs a message: on two cores, late 2026.
PEERS_US = {
    "huey": 13,
    "Taskiq": 38,
    "FastStream (NATS)": 194,
    "FastStream (RabbitMQ)": 1_437,
}

#: Messages in one `publish_many`.
BATCH_MESSAGES = 1000

Publish = Callable[[Bus, Sequence[Order]], Awaitable[None]]

ORDERS = Topic("bench.orders", Order)


def batch(scale: Scale) -> Iterator[Figure]:
    """Give `memory.batch_us`: `publish_many` of 1,000, through to a handler call for each message."""
    yield _cost("memory.batch_us", scale.rounds, scale.memory_batch, _publish_in_batches)


def single(scale: Scale) -> Iterator[Figure]:
    """Give `memory.single_us`: one awaited `publish` after the other, through to their handler."""
    yield _cost("memory.single_us", scale.rounds, scale.memory_single, _publish_one_by_one)


def _cost(name: str, rounds: int, total: int, publish: Publish) -> Figure:
    orders = make_orders(0, total)
    runs, bare = [], []
    for _ in range(rounds):
        bare.append(uvloop.run(limits.bare_us(orders)))
        runs.append(uvloop.run(_us_per_message(orders, publish)))
    return summarise(name, "µs/message", runs, limits=bare, peers=PEERS_US)


async def _us_per_message(orders: Sequence[Order], publish: Publish) -> float:
    tally, arrived = Tally(), asyncio.Event()
    bus = Bus("memory://")

    @bus.subscribe(ORDERS, group="bench")
    async def handle(order: Order) -> None:
        tally.add(order)
        if tally.count == len(orders):
            arrived.set()

    async with bus, bus.running():
        started_ns = time.perf_counter_ns()
        await publish(bus, orders)
        await arrived.wait()
        elapsed_ns = time.perf_counter_ns() - started_ns
    tally.check(len(orders))
    return elapsed_ns / 1000 / len(orders)


async def _publish_in_batches(bus: Bus, orders: Sequence[Order]) -> None:
    for first in range(0, len(orders), BATCH_MESSAGES):
        await bus.publish_many(ORDERS, orders[first : first + BATCH_MESSAGES])


async def _publish_one_by_one(bus: Bus, orders: Sequence[Order]) -> None:
    for order in orders:
        await bus.publish(ORDERS, order)
