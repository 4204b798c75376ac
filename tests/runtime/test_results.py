"""What handlers return: sent in order, settled when it is sent, handled again when it is not."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from waystation import Bus, Capabilities, Message, SendRejected, Topic
from waystation._core.delivery import SendOutcome
from waystation.testing import VirtualClock
from waystation.transports.memory import MemoryTransport

from .shop import Bill, Order, a_bus, bills, consumers, orders, until

parcels = Topic("parcels.sent", bytes)

Done = Callable[[Sequence[SendOutcome]], None]


class Far(MemoryTransport):
    """Bills and parcels are on their way until the test says what becomes of them."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.on_their_way: list[tuple[Sequence[Message], Done]] = []

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, multi_process=True)

    posts_here = False

    def post(self, messages: Sequence[Message], done: Done, /) -> None:
        if any(message.topic in (bills.name, parcels.name) for message in messages):
            self.on_their_way.append((messages, done))
        else:
            super().post(messages, done)

    def arrive(self) -> None:
        """Let the oldest batch arrive."""
        super().post(*self.on_their_way.pop(0))

    def lose_first(self) -> None:
        """Reject the first message of the oldest batch; the others arrive."""
        (lost, *others), done = self.on_their_way.pop(0)
        super().post(others, lambda outcomes: done([SendRejected(f"{lost.id} is lost"), *outcomes]))


def a_far_bus() -> tuple[Bus, VirtualClock, Far]:
    clock = VirtualClock()
    bus, transport = a_bus(clock), Far(clock)
    bus._transports[0] = transport
    return bus, clock, transport


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("key", "handled"), [("a", [0, 1, 0, 1]), (None, [0, 1, 0])])
async def test_what_was_handled_after_one_whose_result_is_lost_is_handled_after_it_again(
    apart: bool, key: str | None, handled: list[int]
) -> None:
    bus, clock, transport = a_far_bus()
    seen = list[int]()

    @bus.subscribe(orders, group="billing", publishes=bills)
    async def charge(order: Order) -> Bill:
        seen.append(order.number)
        return Bill(order.number)

    async with bus.running():
        (consumer,) = consumers(bus)
        if apart:
            await bus.publish(orders, Order(0), key=key)
            await until(lambda: len(transport.on_their_way) == 1)
            await bus.publish(orders, Order(1), key=key)
        else:
            await bus.publish_many(orders, [Order(0), Order(1)], key=key)
        await until(lambda: sum(len(messages) for messages, _ in transport.on_their_way) == 2)
        transport.lose_first()
        for _ in range(20):
            while transport.on_their_way:
                transport.arrive()
            await clock.advance(0.1)
        assert seen == handled
        assert (consumer.counters.retried, consumer.counters.accepted) == (1, 2)
        assert consumer.counters.in_flight == 0


async def test_nothing_is_settled_before_its_result_is_sent() -> None:
    bus, clock, transport = a_far_bus()

    @bus.subscribe(orders, group="billing", publishes=bills)
    async def charge(order: Order) -> Bill:
        return Bill(order.number)

    async with bus.running():
        (consumer,) = consumers(bus)
        await bus.publish(orders, Order(0))
        await until(lambda: len(transport.on_their_way) == 1)
        await clock.advance(1)
        assert (consumer.counters.accepted, consumer.counters.in_flight) == (0, 1)
        transport.arrive()
        await clock.advance(0)
        assert (consumer.counters.accepted, consumer.counters.in_flight) == (1, 0)


async def test_results_that_must_wait_for_room_are_sent_in_order_also_by_a_bus_that_drains() -> None:
    bus, clock, transport = a_far_bus()
    large = b"x" * 3 * 1024 * 1024  # each is a batch of its own

    @bus.subscribe(orders, group="depot", publishes=parcels)
    async def pack(order: Order) -> bytes:
        return large + bytes([order.number])

    async with bus:
        async with bus.running():
            (consumer,) = consumers(bus)
            await bus.publish_many(orders, [Order(n) for n in range(30)])
            await until(lambda: consumer._lanes.waiting == 0 and consumer.counters.in_flight == 30)
            await clock.advance(0)
            assert consumer._results.returned, "there is no room for all of them"
            draining = asyncio.create_task(bus.drain(25))
            while not draining.done():
                while transport.on_their_way:
                    transport.arrive()
                await asyncio.sleep(0)
            assert await draining == 0
            assert consumer.counters.accepted == 30
        stored = await transport.browse(parcels.name, start="earliest", limit=100)
        assert [message.body[-1] for _, message in stored] == list(range(30))
