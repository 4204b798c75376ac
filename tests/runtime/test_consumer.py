"""One subscription at work, on the memory transport."""

import asyncio
import logging
from collections import defaultdict

import pytest

from waystation import (
    Delivery,
    Disconnected,
    Message,
    Reject,
    RetryNow,
    RetryPolicy,
    SettlementLost,
    TransportError,
)
from waystation._core.limits import LEASE_S
from waystation.testing import VirtualClock

from .shop import (
    Faults,
    FaultyTransport,
    Order,
    Wish,
    a_bus,
    consumer_of,
    consumers,
    dead,
    group,
    orders,
    state_of,
    until,
)


async def test_each_message_is_handled_once_and_settled() -> None:
    bus, seen = a_bus(), list[int]()

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order) -> None:
        seen.append(order.number)

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(3000)])
        (consumer,) = consumers(bus)
        await until(lambda: consumer.counters.accepted == 3000)
        assert seen == list(range(3000))
        assert (await group(bus, "billing")).lag == 0
        idle = state_of(consumer)
    assert (idle, state_of(consumer)) == ("waiting", "stopped")


async def test_a_failed_message_comes_again_after_its_delay_and_holds_nobody_up() -> None:
    clock, attempts, seen = VirtualClock(), list[int](), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order, message: Message) -> None:
        if order.number == 1:
            attempts.append(order.number)
            if len(attempts) < 3:
                raise Wish
        seen.append(order.number)

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(3)])
        await clock.advance(0.5)
        assert (seen, len(attempts)) == ([0, 2], 1)
        await clock.advance(0.5)
        assert len(attempts) == 2
        await clock.advance(2)
        assert seen == [0, 2, 1]
        assert consumers(bus)[0].counters.retried == 2


async def test_messages_of_a_key_wait_behind_the_one_that_failed() -> None:
    clock, seen, failed = VirtualClock(), list[tuple[str | None, int]](), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order, message: Message) -> None:
        if order.number == 1 and len(failed) < 2:
            failed.append(1)
            raise Wish
        seen.append((message.key, order.number))

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(9)], key=lambda order: "ab"[order.number % 2])
        await clock.advance(0)
        assert seen == [("a", n) for n in (0, 2, 4, 6, 8)]
        await bus.publish(orders, Order(9), key="b")
        await clock.advance(10)
        assert seen[5:] == [("b", n) for n in (1, 3, 5, 7, 9)]
        assert (await group(bus, "billing")).lag == 0


async def test_a_message_that_comes_again_at_once_stops_nothing() -> None:
    """The feed offers it from within the settlement that gives it back, when its key is still held back."""
    bus, seen = a_bus(), list[tuple[int, int]]()

    @bus.subscribe(orders, group="billing", retry=RetryPolicy(max_attempts=2, first_delay=0))
    async def charge(order: Order, delivery: Delivery) -> None:
        seen.append((order.number, delivery.attempt))
        if delivery.attempt == 1:
            raise ValueError("once more")

    async with bus.running():
        for number in range(5):
            await bus.publish(orders, Order(number), key="ann")
        await until(lambda: len(seen) == 10)
    assert seen == [(number, attempt) for number in range(5) for attempt in (1, 2)]


async def test_messages_of_a_key_may_pass_when_no_order_was_asked_for() -> None:
    clock, seen = VirtualClock(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", ordered=False, concurrency=2)
    async def charge(order: Order) -> None:
        if order.number == 0 and not seen:
            raise Wish
        seen.append(order.number)

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(4)], key="a")
        await clock.advance(0)
        assert sorted(seen) == [1, 2, 3]
        await clock.advance(1)
        assert sorted(seen) == [0, 1, 2, 3]


async def test_after_the_last_attempt_a_message_is_a_dead_letter_with_its_reason() -> None:
    clock = VirtualClock()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", retry=RetryPolicy(max_attempts=2, first_delay=1))
    async def charge(order: Order) -> None:
        raise Wish("no money")

    async with bus.running():
        await bus.publish(orders, Order(1), key="a")
        await clock.advance(1)
        (letter,) = await dead(bus)
    assert letter.reason == "Wish: no money (attempt 2 of 2)"
    assert "raise Wish" in letter.detail
    assert "runners.py" not in letter.detail


async def test_a_handler_can_ask_to_be_called_again_or_reject() -> None:
    clock, calls = VirtualClock(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order) -> None:
        calls.append(order.number)
        if order.number == 1:
            raise Reject("not ours")
        if len(calls) < 3:
            raise RetryNow(delay=30)

    async with bus.running():
        await bus.publish_many(orders, [Order(0), Order(1)])
        await clock.advance(29)
        assert calls == [0, 1]
        await clock.advance(1)
        assert calls == [0, 1, 0]
        assert [letter.reason for letter in await dead(bus)] == ["Reject: not ours"]


async def test_an_undecodable_body_is_dead_at_once_and_its_neighbours_are_not() -> None:
    bus, seen = a_bus(), list[int]()

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order) -> None:
        seen.append(order.number)

    async with bus.running():
        await bus.publish(orders, Order(1))
        await bus.publish("orders.placed", {"number": "two"})
        await bus.publish("orders.placed", b"\x00")
        await bus.publish(orders, Order(3))
        await until(lambda: len(seen) == 2)
        await until(lambda: consumers(bus)[0].counters.handled == 4)
        letters = await dead(bus)
    assert seen == [1, 3]
    assert "$.number" in letters[0].reason
    assert "application/octet-stream" in letters[1].reason
    assert [letter.detail for letter in letters] == [letter.reason for letter in letters], "no internals"


async def test_an_expired_message_is_not_handled() -> None:
    clock, seen = VirtualClock(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order) -> None:
        seen.append(order.number)

    async with bus:
        await bus.publish(orders, Order(1), expires=5)
        await bus.publish(orders, Order(2), expires=50)
        await clock.advance(6)
        async with bus.running():
            await clock.advance(0)
            assert seen == [2]
            assert [letter.reason for letter in await dead(bus)] == [
                "MessageExpired: expired 1.000 s before a handler could start"
            ]


async def test_handlers_run_at_once_but_never_two_of_a_key() -> None:
    bus, order_of, running = a_bus(), defaultdict[str | None, list[int]](list), set[str | None]()
    most = 0

    @bus.subscribe(orders, group="billing", concurrency=4)
    async def charge(order: Order, message: Message) -> None:
        nonlocal most
        assert message.key is None or message.key not in running
        running.add(message.key)
        most = max(most, len(running))
        await asyncio.sleep(0)
        running.discard(message.key)
        order_of[message.key].append(order.number)

    async with bus.running():
        await bus.publish_many(
            orders, [Order(n) for n in range(200)], key=lambda order: str(order.number % 7)
        )
        await until(lambda: consumers(bus)[0].counters.accepted == 200)
    assert most == 4
    assert all(numbers == sorted(numbers) for numbers in order_of.values())


async def test_a_slow_message_without_a_key_holds_up_nobody() -> None:
    bus, seen, slow = a_bus(), list[int](), asyncio.Event()

    @bus.subscribe(orders, group="billing", concurrency=2)
    async def charge(order: Order) -> None:
        if order.number == 0:
            await slow.wait()
        seen.append(order.number)

    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(50)])
        await until(lambda: len(seen) == 49)
        slow.set()


async def test_a_handler_that_lets_a_cancellation_escape_has_failed_and_its_lane_lives() -> None:
    clock, calls = VirtualClock(), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order) -> None:
        calls.append(order.number)
        if calls == [1]:
            raise asyncio.CancelledError

    async with bus.running():
        await bus.publish(orders, Order(1))
        await clock.advance(1)
        assert calls == [1, 1]
        assert consumers(bus)[0].counters.retried == 1


# --- the end -------------------------------------------------------------------------------------------------


async def test_draining_lets_what_runs_finish_and_gives_back_the_rest_uncounted() -> None:
    bus, began, go_on = a_bus(), asyncio.Event(), asyncio.Event()
    attempts = dict[int, int]()

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order, message: Message) -> None:
        began.set()
        await go_on.wait()
        attempts[order.number] = attempts.get(order.number, 0) + 1

    async with bus:
        await bus.publish_many(orders, [Order(n) for n in range(10)])
        async with bus.running():
            await began.wait()
            draining = asyncio.create_task(bus.drain(5))
            await asyncio.sleep(0)
            go_on.set()
            assert await draining == 0
        assert attempts == {0: 1}
        async with bus.running():
            await until(lambda: len(attempts) == 10)
    assert set(attempts.values()) == {1}


async def test_while_draining_the_rest_of_a_running_key_is_kept_and_so_are_its_leases() -> None:
    clock, faults, go_on = VirtualClock(), Faults(), asyncio.Event()
    bus, began = a_bus(clock), list[int]()

    async def charge(order: Order) -> None:
        began.append(order.number)
        await go_on.wait()

    async with bus:
        transport = FaultyTransport(bus._transports[0], faults)
        async with consumer_of(bus, charge, transport) as consumer:
            await bus.publish_many(orders, [Order(n) for n in range(3)], key="a")
            await bus.publish(orders, Order(3), key="b")
            await clock.advance(0)
            consumer._lanes.give(await consumer._source.receive(10))
            draining = asyncio.create_task(consumer.drain(25))
            await clock.advance(2 * LEASE_S)
            assert [delivery.message.key for delivery, _ in faults.settled[0]] == ["b"]
            assert len(faults.extended[-1]) == 3
            go_on.set()
            assert await draining == 0
    assert began == [0]


async def test_at_the_deadline_running_handlers_are_cancelled_and_their_messages_come_again() -> None:
    clock, seen, cancelled = VirtualClock(), list[int](), list[int]()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing", concurrency=2)
    async def charge(order: Order) -> None:
        seen.append(order.number)
        if len(seen) <= 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(order.number)
                raise

    async with bus:
        await bus.publish_many(orders, [Order(n) for n in range(3)])
        async with bus.running():
            await clock.advance(0)
            draining = asyncio.create_task(bus.drain(25))
            await clock.advance(24)
            assert not draining.done()
            await clock.advance(1)
            assert await draining == 2
        assert sorted(cancelled) == [0, 1]
        async with bus.running():
            await clock.advance(0)
            assert sorted(seen) == [0, 0, 1, 1, 2]


# --- a bad day -----------------------------------------------------------------------------------------------


async def test_after_a_failure_it_subscribes_again_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "waystation")
    clock, seen, faults = VirtualClock(), list[int](), Faults()
    bus = a_bus(clock)

    async def charge(order: Order) -> None:
        seen.append(order.number)

    async with bus:
        transport = FaultyTransport(bus._transports[0], faults)
        faults.receive = [Disconnected("gone"), ValueError("a bug")]
        faults.open_feed = []
        async with consumer_of(bus, charge, transport) as consumer:
            faults.open_feed = [Disconnected("still gone")] * 3
            await clock.advance(0)
            broken = state_of(consumer)
            await bus.publish(orders, Order(1))
            await clock.advance(60)
            assert seen == [1]
            assert (broken, state_of(consumer)) == ("resubscribing", "waiting")
    assert faults.opened == 3
    assert caplog.text.count("resubscribing: Disconnected: gone") == 1
    assert "still gone" not in caplog.text


async def test_outcomes_are_settled_together_and_offered_again_when_that_fails() -> None:
    clock, faults = VirtualClock(), Faults()
    bus = a_bus(clock)

    async def charge(order: Order) -> None: ...

    async with bus:
        faults.settle = [TransportError("busy"), TransportError("busy")]
        async with consumer_of(bus, charge, FaultyTransport(bus._transports[0], faults)) as consumer:
            await bus.publish_many(orders, [Order(n) for n in range(100)])
            await clock.advance(0)
            assert consumer.counters.accepted == 0
            await clock.advance(1)
            assert consumer.counters.accepted == 100
    assert len(faults.settled) < 10


async def test_a_lost_settlement_is_logged_and_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    faults, bus = Faults(), a_bus()

    async def charge(order: Order) -> None: ...

    async with bus:
        faults.settle = [SettlementLost("the lease of 1")]
        async with consumer_of(bus, charge, FaultyTransport(bus._transports[0], faults)) as consumer:
            await bus.publish(orders, Order(1))
            await until(lambda: not faults.settle and consumer.counters.in_flight == 0)
        assert faults.settled == []
    assert caplog.text.count("the lease of 1") == 1


async def test_leases_are_kept_while_a_handler_runs() -> None:
    clock, calls, go_on = VirtualClock(), list[int](), asyncio.Event()
    bus = a_bus(clock)

    @bus.subscribe(orders, group="billing")
    async def charge(order: Order) -> None:
        calls.append(order.number)
        await go_on.wait()

    async with bus.running():
        await bus.publish(orders, Order(1))
        await clock.advance(5 * LEASE_S)
        go_on.set()
        await clock.advance(2 * LEASE_S)
        assert calls == [1]
        assert (await group(bus, "billing")).lag == 0


async def test_it_never_holds_more_than_its_handlers_can_do_when_they_are_slow() -> None:
    faults, bus, go_on = Faults(), a_bus(), asyncio.Event()

    async def charge(order: Order) -> None:
        await go_on.wait()

    async with (
        bus,
        consumer_of(bus, charge, FaultyTransport(bus._transports[0], faults), concurrency=3) as consumer,
    ):
        await bus.publish_many(orders, [Order(n) for n in range(100)])
        await until(lambda: consumer.counters.in_flight == 3)
        for _ in range(20):
            await asyncio.sleep(0)
        assert consumer.counters.in_flight == 3
        go_on.set()
        await until(lambda: consumer.counters.accepted == 100)


async def test_logs_name_the_message_and_never_its_body(caplog: pytest.LogCaptureFixture) -> None:
    bus = a_bus()

    @bus.subscribe(orders, group="billing", retry=RetryPolicy(max_attempts=1))
    async def charge(order: Order) -> None:
        raise Wish

    async with bus.running():
        receipt = await bus.publish(orders, Order(987_654))
        await until(lambda: consumers(bus)[0].counters.dead == 1)
    (record,) = [record for record in caplog.records if "dead letter" in record.message]
    assert vars(record)["message_id"] == receipt.message_id
    assert vars(record)["subscription"] == "billing@orders.placed"
    assert "987654" not in caplog.text
