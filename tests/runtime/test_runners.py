"""How one subscription runs its handlers: in threads, in batches, and with results or replies."""

import asyncio
import threading

import msgspec
import pytest

from waystation import (
    Accept,
    DeadLetter,
    Endpoint,
    Message,
    Reject,
    RequestFailed,
    Retry,
    RetryPolicy,
)
from waystation.testing import VirtualClock

from .shop import Bill, Order, Wish, a_bus, bills, consumers, dead, group, orders, until

quotes = Endpoint("prices.quote", Order, Bill)


# --- plain functions -----------------------------------------------------------------------------------------


async def test_plain_functions_run_in_threads_several_messages_per_hop() -> None:
    bus, seen, threads = a_bus(), list[int](), set[int]()

    @bus.subscribe(orders, group="billing")
    def charge(order: Order) -> None:
        threads.add(threading.get_ident())
        if order.number == 5:
            raise Reject("no")
        seen.append(order.number)

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(200)])
        await until(lambda: consumers(bus)[0].counters.handled == 200)
        assert len(await dead(bus)) == 1
    assert threading.get_ident() not in threads
    assert seen == [n for n in range(200) if n != 5]


async def test_a_cancelled_lane_waits_for_the_message_that_its_thread_is_at() -> None:
    clock, seen = VirtualClock(), list[int]()
    bus = a_bus(clock)
    began, go_on = threading.Event(), threading.Event()

    @bus.subscribe(orders, group="billing")
    def charge(order: Order) -> None:
        began.set()
        go_on.wait()
        seen.append(order.number)

    async with bus:
        await bus.publish_many(orders, [Order(n) for n in range(3)])
        async with bus.running():
            await until(began.is_set)
            draining = asyncio.create_task(bus.drain(1))
            await clock.advance(2)
            assert not draining.done()
            go_on.set()
            assert await draining == 1
        assert seen == [0], "what it did counts, and the others were not begun"
        async with bus.running():
            await until(lambda: len(seen) == 3)
    assert seen == [0, 1, 2]


# --- batches -------------------------------------------------------------------------------------------------


async def test_a_batch_handler_gets_what_waits_and_an_undecodable_body_dies_alone() -> None:
    bus, batches = a_bus(), list[list[int]]()

    @bus.subscribe(orders, group="billing", batch=4)
    async def charge(many: list[Order]) -> None:
        batches.append([order.number for order in many])

    async with bus:
        await bus.publish_many(orders, [Order(n) for n in range(3)])
        await bus.publish("orders.placed", "what")
        await bus.publish_many(orders, [Order(n) for n in range(3, 6)])
        async with bus.running():
            await until(lambda: consumers(bus)[0].counters.handled == 7)
            assert len(await dead(bus)) == 1
    assert batches == [[0, 1, 2], [3, 4, 5]]


async def test_a_batch_that_raises_comes_again_whole() -> None:
    clock, batches = VirtualClock(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing")
    async def charge(many: list[Order]) -> None:
        batches.append(len(many))
        if len(batches) == 1:
            raise Wish

    async with bus:
        await bus.publish_many(orders, [Order(n) for n in range(3)])
        async with bus.running():
            await clock.advance(1)
            assert sum(batches) == 6
            assert (await group(bus, "billing")).lag == 0


async def test_a_batch_handler_settles_each_message_by_what_it_returns() -> None:
    clock, seen = VirtualClock(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing")
    def charge(many: list[Order]) -> list[Accept | Retry | DeadLetter]:
        seen.extend(order.number for order in many)
        ends: dict[int, Accept | Retry | DeadLetter] = {1: Retry(5), 2: DeadLetter("bad")}
        return [ends.get(order.number, Accept()) if len(seen) <= 3 else Accept() for order in many]

    async with bus:
        await bus.publish_many(orders, [Order(n) for n in range(3)])
        async with bus.running():
            await until(lambda: consumers(bus)[0].counters.handled == 3)
            assert [letter.reason for letter in await dead(bus)] == ["bad"]
            await clock.advance(5)
            await until(lambda: seen == [0, 1, 2, 1])


async def test_too_few_settlements_are_a_failure_of_the_whole_batch() -> None:
    bus = a_bus()

    @bus.subscribe(orders, group="billing", retry=RetryPolicy(max_attempts=1))
    async def charge(many: list[Order]) -> list[Accept]:
        return [Accept()]

    async with bus:
        await bus.publish_many(orders, [Order(n) for n in range(2)])
        async with bus.running():
            await until(lambda: consumers(bus)[0].counters.dead == 2)
            assert "2 needs as many settlements" in (await dead(bus))[0].reason


# --- results and replies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [False, True])
async def test_what_a_handler_returns_is_published_with_its_cause(plain: bool) -> None:
    bus, got = a_bus(), list[Message]()

    if plain:

        @bus.subscribe(orders, group="billing", publishes=bills)
        def charge(order: Order) -> Bill | None:
            return Bill(order.number) if order.number else None
    else:

        @bus.subscribe(orders, group="billing", publishes=bills)
        async def charge_async(order: Order) -> Bill | None:
            return Bill(order.number) if order.number else None

    @bus.subscribe(bills, group="post")
    async def post(bill: Bill, message: Message) -> None:
        got.append(message)

    async with bus.running():
        await bus.publish(orders, Order(0))
        receipt = await bus.publish(orders, Order(1), correlation_id="c")
        await until(lambda: len(got) == 1)
    assert (got[0].causation_id, got[0].correlation_id) == (receipt.message_id, "c")


async def test_a_list_of_results_is_a_message_each() -> None:
    bus, got = a_bus(), list[int]()

    @bus.subscribe(orders, group="billing", publishes=bills)
    async def charge(order: Order) -> list[Bill]:
        return [Bill(order.number), Bill(order.number + 1)]

    @bus.subscribe(bills, group="post")
    async def post(bill: Bill) -> None:
        got.append(bill.number)

    async with bus.running():
        await bus.publish(orders, Order(1))
        await until(lambda: got == [1, 2])


async def test_a_request_is_answered_and_an_exception_is_an_answer_too() -> None:
    bus = a_bus()

    @bus.respond(quotes)
    async def quote(order: Order) -> Bill:
        if order.number == 0:
            raise Wish("sold out")
        return Bill(order.number)

    async with bus.running():
        assert await bus.request(quotes, Order(7)) == Bill(7)
        with pytest.raises(RequestFailed) as caught:
            await bus.request(quotes, Order(0))
        assert caught.value.reason == "Wish: sold out"
        await until(lambda: consumers(bus)[0].counters.accepted == 2)
        assert await dead(bus) == []


async def test_a_reply_goes_to_reply_addresses_only(caplog: pytest.LogCaptureFixture) -> None:
    bus, calls = a_bus(), list[int]()

    @bus.respond(quotes)
    def quote(order: Order) -> Bill:
        calls.append(order.number)
        return Bill(order.number)

    async with bus.running():
        publisher = bus._connected.publisher
        stranger = msgspec.structs.replace(
            publisher.message("prices.quote", Order(1)), reply_to="orders.placed"
        )
        await publisher.send(stranger)
        await until(lambda: consumers(bus)[0].counters.accepted == 1)
        assert calls == [1]
        assert "orders.placed" not in [
            topic.name for topic in await bus.inspector().topics() if topic.messages
        ]
    assert "no reply address" in caplog.text
