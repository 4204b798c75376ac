"""What the runtime makes of a transport: handlers that fail, and bodies that nobody can read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import msgspec
import pytest

from waystation import RetryPolicy

from ..._core.message import Message
from ..clock import MovableClock
from ..embedded import EmbeddedBus
from .rules import rule
from .world import GROUP, PATIENCE_S, TOPIC, Suite

#: How much time passes at once, in virtual seconds; nothing is measured more finely.
_STEP_S = 0.25

#: How late something that is due may be, in virtual seconds.
_LATE_S = 1.0


class _Order(msgspec.Struct):
    number: int


class Running(Suite):
    """C-10, C-12, C-14, C-23."""

    @rule(10)
    @pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
    async def test_c10_a_handler_that_raises_is_tried_again_after_the_delays_of_its_policy(
        self, jitter: float
    ) -> None:
        """Each is the policy's, less its jitter."""
        policy = RetryPolicy(max_attempts=4, first_delay=4, max_delay=10, factor=2)
        began: list[float] = []
        async with self.handling(policy, jitter=jitter) as (bus, clock, handle):

            def fail(_: _Order) -> None:
                began.append(clock.time())
                raise ValueError("no")

            handle(fail)
            async with bus.running():
                await bus.publish(TOPIC, _Order(1))
                await _pass(clock, lambda: len(began) == 4)
        gaps = [later - earlier for earlier, later in pairwise(began)]
        delays = [policy.delay_s(attempt, jitter=jitter) for attempt in (1, 2, 3)]
        assert all(d - 0.01 <= gap <= d + _LATE_S for gap, d in zip(gaps, delays, strict=True)), (
            gaps,
            delays,
        )

    @rule(12)
    async def test_c12_a_poisonous_message_is_given_up_after_its_last_attempt(self) -> None:
        """Exactly; with the exception's words, and the next message goes on."""
        seen: list[int] = []
        async with self.handling(RetryPolicy(max_attempts=3, first_delay=1)) as (bus, clock, handle):

            def work(order: _Order) -> None:
                seen.append(order.number)
                if order.number == 1:
                    raise ValueError("no such order")

            handle(work)
            async with bus.running():
                await bus.publish(TOPIC, _Order(1))
                await bus.publish(TOPIC, _Order(2))
                await _pass(clock, lambda: seen.count(1) == 3 and 2 in seen)
                await _pass(clock, lambda: False, seconds=20)
                (letter,) = await bus.inspector().dead()
        assert sorted(seen) == [1, 1, 1, 2]
        assert (letter.group, letter.topic, letter.attempts) == (GROUP, TOPIC, 3)
        assert letter.reason.startswith("ValueError: no such order")

    @rule(14)
    async def test_c14_a_body_that_nobody_can_read_is_a_dead_letter(self) -> None:
        """At its first attempt; the consumer neither ends nor turns in circles."""
        seen: list[int] = []
        async with self.handling(RetryPolicy()) as (bus, clock, handle):

            def work(order: _Order) -> None:
                seen.append(order.number)

            handle(work)
            async with bus.running():
                bad = [
                    Message(id=f"bad-{i}", topic=TOPIC, body=body)
                    for i, body in enumerate((b"{", b"[]", b""))
                ]
                await bus.transport.send(bad)
                await bus.publish(TOPIC, _Order(7))
                await _pass(clock, lambda: seen == [7])
                await _pass(clock, lambda: False, seconds=5)
                letters = await bus.inspector().dead()
        assert seen == [7]
        assert {(letter.message.id, letter.attempts) for letter in letters} == {(m.id, 1) for m in bad}

    @rule(23)
    async def test_c23_a_message_that_expires_behind_a_long_one_is_never_begun(self) -> None:
        """The one before never expires and takes long; what follows in time is handled."""
        seen: list[int] = []
        over = asyncio.Event()
        async with self.handling(RetryPolicy()) as (bus, clock, _):

            @bus.subscribe(TOPIC, group=GROUP)
            async def work(order: _Order) -> None:
                seen.append(order.number)
                if order.number == 1:
                    await over.wait()

            async with bus.running():
                await bus.publish(TOPIC, _Order(1), key="k")
                await bus.publish(TOPIC, _Order(2), key="k", expires=20)
                await bus.publish(TOPIC, _Order(3), key="k", expires=3600)
                await _pass(clock, lambda: seen == [1])
                await _pass(clock, lambda: False, seconds=25)
                over.set()
                await _pass(clock, lambda: 3 in seen)
        assert seen == [1, 3]

    @rule(23)
    async def test_c23_a_message_that_expires_while_its_group_is_away_is_never_begun(self) -> None:
        """Whoever comes too late finds what is still good."""
        seen: list[int] = []
        async with self.handling(RetryPolicy()) as (bus, clock, handle):

            def work(order: _Order) -> None:
                seen.append(order.number)

            handle(work)
            async with bus:
                await bus.publish(TOPIC, _Order(1), expires=20)
                await clock.advance(20.5)
                await bus.publish(TOPIC, _Order(2), expires=3600)
                async with bus.running():
                    await _pass(clock, lambda: 2 in seen)
                    await _pass(clock, lambda: False, seconds=5)
        assert seen == [2]

    @asynccontextmanager
    async def handling(
        self, retry: RetryPolicy, *, jitter: float = 0.0
    ) -> AsyncIterator[tuple[EmbeddedBus, MovableClock, Callable[[Callable[[_Order], None]], object]]]:
        """Give a bus on the transport, its clock, and what declares a plain function as the handler of orders."""
        clock = self.clock()
        bus = EmbeddedBus.over(self.make(clock), clock=clock, jitter=jitter)

        def handle(function: Callable[[_Order], None]) -> None:
            async def handler(order: _Order) -> None:
                function(order)

            bus.subscribe(TOPIC, group=GROUP, retry=retry)(handler)

        yield bus, clock, handle


async def _pass(clock: MovableClock, until: Callable[[], bool], *, seconds: float = 120.0) -> None:
    """Let time pass until something holds, or for so many virtual seconds."""
    for _ in range(round(seconds / _STEP_S)):
        if until():
            return
        await clock.advance(_STEP_S)
        await asyncio.sleep(PATIENCE_S / 5000)  # a store may work in a thread
