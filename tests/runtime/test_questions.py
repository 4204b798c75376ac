"""Questions that come straight to their responder: when he takes one, and what becomes of it when he does not."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from waystation import CircuitBreaker, Endpoint, RequestFailed, RequestTimeout
from waystation.testing import VirtualClock
from waystation.testing.embedded import EmbeddedBus
from waystation.transports.memory import MemoryTransport

from .shop import Bill, Order, consumers, until

quotes = Endpoint("prices.quote", Order, Bill)


class Talk:
    """A bus that answers itself, when the test lets it.

    Attributes:
        asked: How often each number was asked.
    """

    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock()
        self.transport = MemoryTransport(self.clock)
        self.bus = EmbeddedBus.over(self.transport, clock=self.clock)
        self.asked: Counter[int] = Counter()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

        @self.bus.respond(quotes, **options)
        async def quote(order: Order) -> Bill:
            self.asked[order.number] += 1
            await self.may_answer.wait()
            if order.number < 0:
                raise ValueError("no such order")
            return Bill(order.number)

        self.handler = quote

    def ask(self, number: int, **options: Any) -> asyncio.Future[Bill]:
        return asyncio.ensure_future(self.bus.request(quotes, Order(number), timeout=60, **options))

    async def logged(self) -> int:
        """How many questions were ever messages."""
        return next(
            (info.next_offset for info in await self.transport.topics() if info.name == quotes.name), 0
        )


@asynccontextmanager
async def talk(**options: Any) -> AsyncIterator[Talk]:
    made = Talk(**options)
    async with made.bus.running():
        try:
            yield made
        finally:
            made.may_answer.set()


async def test_a_responder_with_a_free_hand_is_asked_straight_away() -> None:
    async with talk() as t:
        assert await asyncio.gather(*[t.ask(n) for n in range(3)]) == [Bill(n) for n in range(3)]
        for n in range(100):
            assert await t.ask(n) == Bill(n)
        assert await t.logged() <= 2, "what came before it was known how fast he is"
        counters = consumers(t.bus)[0].counters
        assert (counters.received, counters.accepted, counters.in_flight) == (103, 103, 0)
        assert t.bus.late_replies == 0


async def test_a_responder_that_raises_fails_its_question_there_too() -> None:
    async with talk() as t:
        with pytest.raises(RequestFailed, match="no such order"):
            await t.ask(-1)
        assert await t.logged() == 0
        assert consumers(t.bus)[0].counters.accepted == 1


async def test_a_responder_holds_no_more_questions_than_he_would_fetch() -> None:
    async with talk(concurrency=2, prefetch=5) as t:
        t.may_answer.clear()
        asking = [t.ask(n) for n in range(50)]
        await until(lambda: len(t.asked) == 2)
        assert await t.logged() >= 45
        assert consumers(t.bus)[0].counters.in_flight <= 5
        t.may_answer.set()
        assert await asyncio.gather(*asking) == [Bill(n) for n in range(50)]
        assert set(t.asked.values()) == {1}


async def test_a_paused_responder_is_asked_when_he_goes_on() -> None:
    async with talk() as t:
        assert await t.ask(0) == Bill(0)
        t.bus.pause(t.handler)
        asking = t.ask(1)
        await t.clock.advance(5)
        assert not t.asked[1]
        assert await t.logged() == 1
        t.bus.resume(t.handler)
        assert await asking == Bill(1)


async def test_what_waits_for_a_responder_when_he_is_paused_is_given_back_and_answered_later() -> None:
    async with talk(concurrency=1) as t:
        for n in range(20):  # so that he is known to be fast, and may hold some
            await t.ask(n)
        t.may_answer.clear()
        asking = [t.ask(n) for n in range(100, 105)]
        await until(lambda: t.asked[100] > 0)
        held = consumers(t.bus)[0].counters.in_flight
        assert held > 1
        t.bus.pause(t.handler)
        await until(lambda: consumers(t.bus)[0].counters.in_flight == 1)
        t.may_answer.set()
        assert await asking[0] == Bill(100)
        await t.clock.advance(1)
        assert not any(each.done() for each in asking[1:])
        t.bus.resume(t.handler)
        assert await asyncio.gather(*asking) == [Bill(n) for n in range(100, 105)]
        assert set(t.asked.values()) == {1}


async def test_a_broken_circuit_takes_no_question_and_tries_one() -> None:
    async with talk(breaker=CircuitBreaker(failures=2, window=60, pause=30)) as t:
        for _ in range(2):
            with pytest.raises(RequestFailed):
                await t.ask(-1)
        asking = [t.ask(n) for n in range(3)]
        await t.clock.advance(29)
        assert not any(t.asked[n] for n in range(3))
        t.may_answer.clear()
        await t.clock.advance(2)
        assert sum(t.asked[n] for n in range(3)) == 1, "one is tried"
        t.may_answer.set()
        assert await asyncio.gather(*asking) == [Bill(n) for n in range(3)]


async def test_while_one_question_is_tried_no_other_is_begun() -> None:
    async with talk(breaker=CircuitBreaker(failures=2, window=60, pause=30), concurrency=4) as t:
        for _ in range(2):
            with pytest.raises(RequestFailed):
                await t.ask(-1)
        await t.clock.advance(31)
        t.may_answer.clear()
        asking = [t.ask(n) for n in range(3)]
        await t.clock.advance(1)
        assert sum(t.asked[n] for n in range(3)) == 1
        t.may_answer.set()
        assert await asyncio.gather(*asking) == [Bill(n) for n in range(3)]


async def test_a_rate_holds_for_questions() -> None:
    async with talk(rate="10/s") as t:
        asking = [t.ask(n) for n in range(30)]
        await t.clock.advance(1.05)
        assert 1 <= len(t.asked) <= 12
        await t.clock.advance(3)
        assert await asyncio.gather(*asking) == [Bill(n) for n in range(30)]


async def test_what_a_draining_responder_has_not_begun_waits_for_the_next() -> None:
    t = Talk(concurrency=1)
    async with t.bus:
        async with t.bus.running():
            for n in range(20):
                await t.ask(n)
            t.may_answer.clear()
            asking = [t.ask(n) for n in range(100, 105)]
            await until(lambda: t.asked[100] > 0)
            (consumer,) = consumers(t.bus)
            draining = asyncio.ensure_future(t.bus.drain(10))
            await until(lambda: consumer.counters.in_flight == 1)
            late = t.ask(200)
            t.may_answer.set()
            assert await draining == 0
            assert await asking[0] == Bill(100)
        assert not any(each.done() for each in (*asking[1:], late))
        again = EmbeddedBus.over(t.transport, clock=t.clock)

        @again.respond(quotes)
        async def quote(order: Order) -> Bill:
            t.asked[order.number] += 1
            return Bill(order.number)

        async with again.running():
            assert await asyncio.gather(*asking, late) == [*[Bill(n) for n in range(100, 105)], Bill(200)]
        await t.transport.open()  # which the second bus has closed
    assert set(t.asked.values()) == {1}


async def test_a_responder_that_drains_begins_nothing_more() -> None:
    t = Talk(concurrency=1)
    async with t.bus, t.bus.running():
        for n in range(20):
            await t.ask(n)
        t.may_answer.clear()
        last = t.ask(100)
        await until(lambda: t.asked[100] > 0)
        draining = asyncio.ensure_future(t.bus.drain(10))
        await _turns()
        late = t.ask(200)
        await _turns()
        t.may_answer.set()
        assert await draining == 0
        assert await last == Bill(100)
        assert not t.asked[200]
        late.cancel()
        await asyncio.wait([late])


async def test_a_feed_that_is_replaced_while_a_question_is_handled_goes_on_settling(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The question comes again, as every delivery does; its first answer is taken, and nothing is in the way."""
    caplog.set_level(logging.WARNING, "waystation.consumer")
    async with talk(concurrency=4) as t:
        t.may_answer.clear()
        asking = t.ask(1)
        await until(lambda: t.asked[1] > 0)
        consumer = consumers(t.bus)[0]
        before = consumer.sight().feed
        await consumer.resubscribe("the test says so")
        await until(lambda: consumer.sight().feed > before)
        t.may_answer.set()
        assert await asking == Bill(1)
        await until(lambda: t.asked[1] == 2)
        assert await t.ask(2) == Bill(2)
        await until(lambda: consumer.counters.in_flight == 0)
        (info,) = [each for each in await t.transport.groups() if each.group == quotes.name]
        assert info.lag == 0
    assert not [each for each in caplog.records if "settling failed" in each.getMessage()]


async def test_questions_of_a_key_are_handled_in_the_order_of_their_asking() -> None:
    order: list[int] = []
    bus = EmbeddedBus.over(MemoryTransport(clock := VirtualClock()), clock=clock)

    @bus.respond(quotes, concurrency=8)
    async def quote(asked: Order) -> Bill:
        await asyncio.sleep(0)
        order.append(asked.number)
        return Bill(asked.number)

    async with bus.running():
        for _ in range(3):
            await asyncio.gather(*[bus.request(quotes, Order(n), key="k") for n in range(50)])
    assert order == [*range(50)] * 3


async def test_a_question_that_nobody_waits_for_any_more_is_not_handled() -> None:
    async with talk(concurrency=1) as t:
        for n in range(20):
            await t.ask(n)
        t.may_answer.clear()
        first = t.ask(100)
        late = asyncio.ensure_future(t.bus.request(quotes, Order(101), timeout=1))
        await until(lambda: t.asked[100] > 0)
        await t.clock.advance(2)
        with pytest.raises(RequestTimeout):
            await late
        t.may_answer.set()
        assert await first == Bill(100)
        await until(lambda: consumers(t.bus)[0].counters.in_flight == 0)
        assert not t.asked[101]
        assert t.bus.waiting_requests == 0


async def test_cancelled_requests_leave_nothing_with_their_responder() -> None:
    async with talk(concurrency=1) as t:
        for n in range(20):
            await t.ask(n)
        t.may_answer.clear()
        asking = [t.ask(n) for n in range(100, 110)]
        await until(lambda: t.asked[100] > 0)
        for each in asking:
            each.cancel()
        await asyncio.wait(asking)
        t.may_answer.set()
        await until(lambda: consumers(t.bus)[0].counters.in_flight == 0)
        (info,) = [each for each in await t.transport.groups() if each.group == quotes.name]
        assert info.lag == 0
        assert await t.ask(7) == Bill(7)


async def _turns() -> None:
    """Let everybody do what can be done now."""
    for _ in range(20):
        await asyncio.sleep(0)
