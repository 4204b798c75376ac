"""Retries that are put off because there are too many."""

from typing import Any

import pytest

from waystation import Bus, ConfigurationError, RetryPolicy
from waystation.testing import VirtualClock

from .shop import Order, Wish, consumers, group, orders, until


@pytest.mark.parametrize("plain", [False, True])
async def test_when_everything_fails_retries_are_spread_and_none_is_lost(plain: bool) -> None:
    clock, calls = VirtualClock(), list[tuple[float, int]]()
    policy = RetryPolicy(first_delay=1, max_delay=1, jitter=False, max_attempts=99, budget=0.1)
    bus = Bus("memory://", clock=clock, retry=policy)
    broken = [True]

    def handle(order: Order) -> None:
        calls.append((clock.monotonic() - started, order.number))
        if broken[0]:
            raise Wish

    async def charge(order: Order) -> None:
        handle(order)

    async def second() -> None:
        """One that also waits for threads, which this clock knows nothing of."""
        await until(lambda: consumers(bus)[0].counters.in_flight == 0)
        await clock.advance(1)
        await until(lambda: consumers(bus)[0].counters.in_flight == 0)

    bus.subscribe(orders, group="billing")(handle if plain else charge)
    async with bus.running():
        started = clock.monotonic()
        await bus.publish_many(orders, [Order(n) for n in range(100)])
        await until(lambda: len(calls) == 100)
        for _ in range(10):
            await second()
        assert 10 <= len(calls) - 100 <= 50, "without a budget they would be 1,000"
        broken[0] = False
        for _ in range(400):
            await second()
        assert (await group(bus, "billing")).lag == 0
        assert consumers(bus)[0].counters.accepted == 100


async def test_a_few_failures_are_retried_as_planned() -> None:
    clock, calls = VirtualClock(), list[float]()
    bus = Bus("memory://", clock=clock, retry=RetryPolicy(first_delay=2, jitter=False, budget=0.2))

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order) -> None:
        calls.append(clock.monotonic() - started)
        if len(calls) == 1:
            raise Wish

    async with bus.running():
        started = clock.monotonic()
        await bus.publish(orders, Order(1))
        await clock.advance(5)
    assert calls == [0, 2]


@pytest.mark.parametrize(
    "options", [{"budget": 0}, {"budget": 1.5}, {"rules": {ValueError: RetryPolicy(budget=0.1)}}]
)
def test_a_budget_that_is_none_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="budget"):
        RetryPolicy(**options)
