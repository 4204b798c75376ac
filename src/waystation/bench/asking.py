"""Questions, and the time until their answers: the same loops for the bus and for its peers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from .orders import Order, make_orders
from .processes import SILENCE_S_MAX, Channel
from .report import MeasurementFailed

#: Sends an order, and returns the one that was answered.
Ask = Callable[[Order], Awaitable[Order]]

#: Questions before anything is timed: what is made for the first one of a connection is no part of a round trip.
WARM_UP_COUNT = 100

_NS_PER_S = 1_000_000_000
_NS_PER_US = 1000


async def ask_in_turn(ask: Ask, total: int) -> list[float]:
    """Ask one question after another; return what each took, in µs.

    Raises:
        MeasurementFailed: An answer belongs to another question.
    """
    await _ask_each(ask, iter(make_orders(0, WARM_UP_COUNT)))
    latencies_us: list[float] = []
    async with asyncio.timeout(SILENCE_S_MAX):
        for order in make_orders(0, total):
            started_ns = time.perf_counter_ns()
            answered = await ask(order)
            latencies_us.append((time.perf_counter_ns() - started_ns) / _NS_PER_US)
            check_answer(order.number, answered)
    return latencies_us


async def ask_together(ask: Ask, total: int, in_flight: int) -> float:
    """Ask from `in_flight` tasks that each await their answer; return the round trips per second.

    Raises:
        ExceptionGroup: An answer belongs to another question (`MeasurementFailed`), or asking failed.
    """
    await _ask_at_once(ask, make_orders(0, WARM_UP_COUNT), in_flight)
    orders = make_orders(0, total)
    started_ns = time.perf_counter_ns()
    await _ask_at_once(ask, orders, in_flight)
    return total * _NS_PER_S / (time.perf_counter_ns() - started_ns)


def check_answer(number: int, answered: Order) -> None:
    """Insist that an answer belongs to its question.

    Raises:
        MeasurementFailed: It does not.
    """
    if answered.number != number:
        raise MeasurementFailed(f"question {number:,} was answered with {answered.number:,}")


async def until_told(channel: Channel) -> None:
    """Wait until the parent says to go on, while the event loop serves others."""
    await asyncio.to_thread(channel.wait)


async def _ask_at_once(ask: Ask, orders: Sequence[Order], in_flight: int) -> None:
    waiting = iter(orders)
    async with asyncio.timeout(SILENCE_S_MAX), asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(_ask_each(ask, waiting))


async def _ask_each(ask: Ask, orders: Iterator[Order]) -> None:
    for order in orders:
        check_answer(order.number, await ask(order))
