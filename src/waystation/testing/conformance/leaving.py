"""A bus that stops, calls that are cut short, and what goes along with a message: the runtime's part of it."""

from __future__ import annotations

import asyncio

import pytest

from waystation import Delivery, Message, RetryPolicy

from ..._core.delivery import Receipt
from ..._core.errors import TransportError
from ..._core.ports import Subscription, Topology
from ..clock import MovableClock
from ..embedded import EmbeddedBus
from .rules import rule
from .world import GROUP, PATIENCE_S, TOPIC, Suite, ids, until

_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_CONVERSATION = "conversation 7"


class Leaving(Suite):
    """C-34 to C-37 for buses and their handlers; C-39."""

    @rule(34, "redelivers_unsettled")
    async def test_c34_a_bus_that_drains_finishes_what_runs_and_gives_back_the_rest(self) -> None:
        """At once: no time passes, and no attempt is counted."""
        bus, _ = self.bus()
        began, may_end, seen = asyncio.Event(), asyncio.Event(), list[int]()

        @bus.subscribe(TOPIC, group=GROUP)
        async def handle(number: int) -> None:
            began.set()
            await may_end.wait()
            seen.append(number)

        async with bus.running():
            await bus.publish_many(TOPIC, range(20))
            async with asyncio.timeout(PATIENCE_S):
                await began.wait()
                draining = asyncio.ensure_future(bus.drain(20))
                await asyncio.sleep(0)
                may_end.set()
                assert await draining == 0
            assert len(seen) == 1
            feed = await bus.transport.open_feed(Subscription(pattern=TOPIC, group=GROUP))
            rest: list[Delivery] = []
            async with asyncio.timeout(PATIENCE_S):
                while len(rest) < 19:
                    rest += await feed.receive(20)
            assert sorted(int(delivery.body) for delivery in rest) == sorted(set(range(20)) - set(seen))
            assert {delivery.attempt for delivery in rest} == {1}
            await feed.close()

    @rule(35)
    async def test_c35_every_publish_of_a_closing_bus_has_a_receipt_or_an_error(self) -> None:
        """And what has a receipt is there."""
        bus, clock = self.bus()
        async with bus:
            group = Subscription(pattern=TOPIC, group=GROUP)
            await bus.transport.declare(Topology(subscriptions=(group,)))
            publishing = [asyncio.ensure_future(bus.publish(TOPIC, number)) for number in range(200)]
            for _ in range(3):
                await asyncio.sleep(0)
        outcomes = await asyncio.gather(*publishing, return_exceptions=True)
        kept = {outcome.message_id for outcome in outcomes if isinstance(outcome, Receipt)}
        others = [outcome for outcome in outcomes if not isinstance(outcome, Receipt)]
        assert all(isinstance(outcome, TransportError) for outcome in others), others
        async with EmbeddedBus.over(bus.transport, clock=clock) as again:
            feed = await again.transport.open_feed(Subscription(pattern=TOPIC, group=GROUP))
            found: set[str] = set()
            async with asyncio.timeout(PATIENCE_S):
                while not found >= kept:
                    found |= set(ids(await feed.receive(200)))
            await feed.close()

    @rule(36)
    async def test_c36_a_publish_that_is_cancelled_harms_no_other(self) -> None:
        """Wherever it is: every other one gets its own receipt, and what has one arrives."""
        bus, _ = self.bus()
        seen: set[str] = set()
        certain: set[str] = set()

        @bus.subscribe(TOPIC, group=GROUP)
        async def handle(name: str) -> None:
            seen.add(name)

        async with bus.running():
            for turns in range(25):
                names = [f"{turns} {number}" for number in range(6)]
                tasks = [
                    asyncio.ensure_future(bus.publish(TOPIC, name, message_id=f"id {name}")) for name in names
                ]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for task in tasks[::2]:
                    task.cancel()
                for name, outcome in zip(
                    names, await asyncio.gather(*tasks, return_exceptions=True), strict=True
                ):
                    if not isinstance(outcome, asyncio.CancelledError):
                        assert isinstance(outcome, Receipt), outcome
                        assert outcome.message_id == f"id {name}"
                        certain.add(name)
                assert {f"{turns} {number}" for number in (1, 3, 5)} <= certain
            await until(lambda: seen >= certain, "what has a receipt was handled")

    @rule(37, "redelivers_unsettled")
    async def test_c37_a_handler_that_is_cut_off_has_accepted_nothing(self) -> None:
        """By a stop that waits no longer; its message comes again, and this was no attempt."""
        bus, _ = self.bus()
        began, seen = asyncio.Event(), list[int]()

        @bus.subscribe(TOPIC, group=GROUP)
        async def handle(_: int, delivery: Delivery) -> None:
            seen.append(delivery.attempt)
            began.set()
            await asyncio.Event().wait()

        async with bus.running(drain=0):
            await bus.publish(TOPIC, 1)
            async with asyncio.timeout(PATIENCE_S):
                await began.wait()
            assert await bus.drain(0) == 1
            feed = await bus.transport.open_feed(Subscription(pattern=TOPIC, group=GROUP))
            async with asyncio.timeout(PATIENCE_S):
                (again,) = await feed.receive(1)
            assert (seen, again.attempt) == ([1], 1)
            await feed.close()

    @rule(37, "redelivers_unsettled")
    async def test_c37_a_handler_that_cancels_itself_has_failed(self) -> None:
        """It is tried again by its policy, not taken for done."""
        bus, clock = self.bus()
        attempts: list[int] = []

        @bus.subscribe(TOPIC, group=GROUP, retry=RetryPolicy(max_attempts=3, first_delay=0.01))
        async def handle(_: int, delivery: Delivery) -> None:
            attempts.append(delivery.attempt)
            if delivery.attempt < 3:
                raise asyncio.CancelledError

        async with bus.running():
            await bus.publish(TOPIC, 1)
            async with asyncio.timeout(PATIENCE_S):
                while len(attempts) < 3:
                    await clock.advance(0.1)
                    await asyncio.sleep(0.002)
        assert attempts == [1, 2, 3]

    @pytest.mark.parametrize("correlation_id", [None, _CONVERSATION])
    @rule(39)
    async def test_c39_trace_correlation_and_cause_go_along(self, correlation_id: str | None) -> None:
        """From a message to what its handler publishes, one by one and many, also at its second attempt."""
        bus, clock = self.bus()
        seen: list[Message] = []

        @bus.subscribe(TOPIC, group=GROUP, retry=RetryPolicy(first_delay=0.01))
        async def handle(number: int, delivery: Delivery) -> None:
            if delivery.attempt == 1:
                raise ValueError("once more")
            await bus.publish("orders.billed", number)
            await bus.publish_many("orders.billed", [number])

        @bus.subscribe("orders.billed", group=GROUP)
        async def note(_: int, message: Message) -> None:
            seen.append(message)

        first = Message("m-1", TOPIC, b"1", correlation_id=correlation_id, traceparent=_TRACE)
        async with bus.running():
            await bus.transport.send([first])
            async with asyncio.timeout(PATIENCE_S):
                while len(seen) < 2:
                    await clock.advance(0.1)
                    await asyncio.sleep(0.002)
        for message in seen:
            assert message.causation_id == "m-1"
            assert message.correlation_id == (correlation_id or "m-1")
            assert message.traceparent == _TRACE
        assert len({message.id for message in seen}) == 2

    def bus(self) -> tuple[EmbeddedBus, MovableClock]:
        """Make a bus on the transport, and its clock."""
        clock = self.clock()
        return EmbeddedBus.over(self.make(clock), clock=clock), clock
