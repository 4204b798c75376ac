"""Making messages, joining them into batches, and what senders are told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest

from waystation import (
    Capabilities,
    ConfigurationError,
    Disconnected,
    Durability,
    EncodeError,
    Message,
    MessageTooLarge,
    Receipt,
    SendRejected,
    SendUnconfirmed,
    Topic,
    UnsupportedCapability,
)
from waystation._core.delivery import Delivery, SendOutcome
from waystation._core.limits import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, SEND_QUEUE_MESSAGES_MAX
from waystation._core.message import BYTES, JSON, MSGPACK, TEXT
from waystation._core.ports import Transport
from waystation._runtime.current import CURRENT
from waystation._runtime.publisher import Publisher
from waystation._runtime.resolve import Routes
from waystation.testing import VirtualClock
from waystation.transports.memory import MemoryTransport

from .shop import Faults, FaultyTransport


class Order(msgspec.Struct):
    order_id: str


@dataclass
class Parcel:
    weight: float


class Model(pydantic.BaseModel):
    name: str


class Row(TypedDict):
    number: int


orders = Topic("orders.placed", Order)


class Gated(FaultyTransport):
    """`memory://` whose sends wait at a gate, as if it were far away; it notes what came in which batch."""

    def __init__(self, **facts: Any) -> None:
        self.memory = MemoryTransport(VirtualClock())
        super().__init__(self.memory, Faults())
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_gate = asyncio.Event()
        self.batches: list[list[bytes]] = []
        self.failure: Exception | None = None
        self.claimed = replace(self.memory.capabilities, **{"multi_process": True, **facts})

    @property
    def capabilities(self) -> Capabilities:
        return self.claimed

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        self.batches.append([message.body for message in messages])
        self.at_gate.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return await super().send(messages)


class Near(MemoryTransport):
    """`memory://` that notes what came in which batch."""

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.batches: list[list[bytes]] = []

    def post(self, messages: Sequence[Message], done: Callable[[Sequence[SendOutcome]], None], /) -> None:
        self.batches.append([message.body for message in messages])
        super().post(messages, done)


@asynccontextmanager
async def publisher_on(transport: Transport) -> AsyncIterator[Publisher]:
    await transport.open()
    publisher = Publisher(Routes("memory://"), [transport], source="test", clock=VirtualClock())
    try:
        yield publisher
    finally:
        await publisher.close()
        await transport.close()


def order(number: int) -> Order:
    return Order(f"A-{number}")


def body(number: int) -> bytes:
    return b'{"order_id":"A-%d"}' % number


# --- making messages


async def test_a_message_says_what_it_is_and_where_it_comes_from() -> None:
    async with publisher_on(Gated()) as publisher:
        message = publisher.message(orders, order(1), key="A-1", headers={"tenant": "north"})
    assert message.topic == "orders.placed"
    assert message.body == body(1)
    assert (message.key, message.headers) == ("A-1", {"tenant": "north"})
    assert (message.type, message.content_type, message.source) == ("Order", JSON, "test")
    assert message.time == VirtualClock().time()
    assert (message.correlation_id, message.causation_id, message.deliver_at) == (None, None, None)


@pytest.mark.parametrize(
    ("topic", "value", "content_type", "encoded"),
    [
        (Topic("t", bytes), b"\x00", BYTES, b"\x00"),
        (Topic("t", str), "ä", TEXT, "ä".encode()),
        (Topic("t", Parcel), Parcel(1.5), JSON, b'{"weight":1.5}'),
        (Topic("t", Model), Model(name="n"), JSON, b'{"name":"n"}'),
        (Topic("t", Row), Row(number=1), JSON, b'{"number":1}'),
        (Topic("t", list[int]), [1, 2], JSON, b"[1,2]"),
        (Topic("t", float), 1, JSON, b"1"),
        (Topic("t", int, content_type=MSGPACK), 1, MSGPACK, b"\x01"),
        ("t", {"a": 1}, JSON, b'{"a":1}'),
        ("t", b"raw", BYTES, b"raw"),
        ("t", "text", TEXT, b"text"),
    ],
)
async def test_bodies_of_every_kind_are_written(
    topic: Any, value: Any, content_type: str, encoded: bytes
) -> None:
    async with publisher_on(Gated()) as publisher:
        message = publisher.message(topic, value)
    assert (message.content_type, message.body) == (content_type, encoded)


async def test_a_plain_string_carries_bodies_of_different_types() -> None:
    async with publisher_on(Gated()) as publisher:
        made = [publisher.message("mixed", value).body for value in (b"1", "2", {"n": 3}, order(4), b"5")]
        runs = publisher.batches("mixed", [b"1", "2", {"n": 3}, order(4), b"5"])
        many = [message for run in runs for message in run]
    assert made == [b"1", b"2", b'{"n":3}', body(4), b"5"]
    assert [message.body for message in many] == made
    assert [message.content_type for message in many] == [BYTES, TEXT, JSON, JSON, BYTES]


@pytest.mark.parametrize("value", [Parcel(1.0), {"order_id": "A-1"}, None, "A-1"])
async def test_a_body_of_another_type_is_refused_before_anything_is_sent(value: Any) -> None:
    transport = Gated()
    async with publisher_on(transport) as publisher:
        with pytest.raises(EncodeError, match=r"'orders.placed' carries Order, not"):
            publisher.message(orders, value)
        with pytest.raises(EncodeError, match=r"of this call, 0 messages|carries Order") as caught:
            await publisher.publish_many(orders, [order(1), value])
    assert transport.batches == []
    assert caught.value.__notes__ == ["of this call, 0 messages are stored"]


async def test_a_body_that_cannot_be_written_says_why() -> None:
    async with publisher_on(Gated()) as publisher:
        with pytest.raises(EncodeError, match="object"):
            publisher.message("t", {"x": object()})


async def test_a_handler_is_the_cause_of_what_it_sends() -> None:
    async with publisher_on(Gated()) as publisher:
        first = Message("m-1", "t", b"", traceparent="00-1")
        token = CURRENT.set(Delivery.of(first))
        second = publisher.message(orders, order(1))
        (third,) = next(publisher.batches(orders, [order(2)]))
        CURRENT.reset(token)
        fourth = publisher.message(orders, order(3), cause=second, correlation_id="mine")
    for caused in (second, third):
        assert (caused.causation_id, caused.correlation_id, caused.traceparent) == ("m-1", "m-1", "00-1")
    assert (fourth.causation_id, fourth.correlation_id) == (second.id, "mine")


async def test_times_are_reckoned_from_now() -> None:
    now, noon = VirtualClock().time(), datetime(2030, 1, 1, 12, tzinfo=UTC)
    async with publisher_on(Gated()) as publisher:
        message = publisher.message(orders, order(1), delay="2m", expires=timedelta(hours=1))
        assert (message.deliver_at, message.expires_at) == (now + 120, now + 3600)
        assert publisher.message(orders, order(1), at=noon).deliver_at == noon.timestamp()
        (message,) = next(publisher.batches(orders, [order(1)], at=noon, expires="1s"))
        assert (message.deliver_at, message.expires_at) == (noon.timestamp(), now + 1)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"delay": 1, "at": 1.0}, "not both"),
        ({"delay": "soon"}, "not a duration"),
        ({"at": datetime(2030, 1, 1)}, "no time zone"),  # noqa: DTZ001 - is what is refused
        ({"key": 7}, "must be a str"),
        ({"headers": {"a": "1\r\n"}}, "line break"),
        ({"message_id": ""}, "message_id"),
        ({"message_id": "a\nb"}, "message_id"),
    ],
)
async def test_an_illegal_option_is_refused(options: dict[str, Any], complaint: str) -> None:
    async with publisher_on(Gated()) as publisher:
        with pytest.raises(ConfigurationError, match=complaint):
            publisher.message(orders, order(1), **options)


@pytest.mark.parametrize(
    ("options", "capability"),
    [
        ({"require": Durability.FLUSHED}, "send"),
        ({"priority": 1}, "priority"),
        ({"dedupe_key": "once"}, "deduplicates"),
        ({"delay": 1}, "delayed_send"),
        ({"at": 1.0}, "delayed_send"),
    ],
)
async def test_what_the_transport_cannot_do_is_refused_before_anything_is_sent(
    options: dict[str, Any], capability: str
) -> None:
    transport = Gated(delayed_send=False, deduplicates=False, priority=False)
    async with publisher_on(transport) as publisher:
        with pytest.raises(UnsupportedCapability) as caught:
            publisher.message(orders, order(1), **options)
        assert caught.value.capability == capability
        if "dedupe_key" not in options:
            with pytest.raises(UnsupportedCapability):
                await publisher.publish_many(orders, [order(1)], **options)
    assert transport.batches == []


@pytest.mark.parametrize("priority", [-1, 10, 1.5, "high"])
async def test_a_priority_is_a_digit(priority: Any) -> None:
    async with publisher_on(Gated(priority=True)) as publisher:
        assert publisher.message(orders, order(1), priority=9).priority == 9
        with pytest.raises(ConfigurationError, match="from 0 to 9"):
            publisher.message(orders, order(1), priority=priority)


async def test_a_body_over_the_transports_limit_is_refused() -> None:
    async with publisher_on(Gated(message_bytes_max=10)) as publisher:
        assert publisher.message("t", b"x" * 10).body == b"x" * 10
        with pytest.raises(MessageTooLarge) as caught:
            publisher.message("t", b"x" * 11)
        with pytest.raises(MessageTooLarge):
            await publisher.publish_many("t", [b"x" * 11])
    assert (caught.value.size_bytes, caught.value.size_bytes_max) == (11, 10)


@pytest.mark.parametrize("topic", ["orders.*", "", "a..b", "_reply.x", 7])
async def test_only_a_name_can_be_published_to(topic: Any) -> None:
    async with publisher_on(Gated()) as publisher:
        with pytest.raises(ConfigurationError):
            publisher.message(topic, b"")


# --- joining


async def test_what_is_published_in_one_turn_of_the_loop_is_one_batch() -> None:
    transport = Gated()
    async with publisher_on(transport) as publisher:
        receipts = await asyncio.gather(
            *(publisher.send(publisher.message(orders, order(n))) for n in range(BATCH_MESSAGES_MAX))
        )
    assert [len(batch) for batch in transport.batches] == [BATCH_MESSAGES_MAX]
    assert len({receipt.message_id for receipt in receipts}) == BATCH_MESSAGES_MAX


async def test_what_arrives_while_a_batch_is_on_its_way_is_the_next_one() -> None:
    transport = Gated()
    async with publisher_on(transport) as publisher, asyncio.TaskGroup() as tasks:
        transport.gate.clear()
        tasks.create_task(publisher.send(publisher.message(orders, order(0))))
        await transport.at_gate.wait()
        for n in range(1, 10):
            tasks.create_task(publisher.send(publisher.message(orders, order(n))))
        await asyncio.sleep(0)
        assert [len(batch) for batch in transport.batches] == [1]
        transport.gate.set()
    assert transport.batches == [[body(0)], [body(n) for n in range(1, 10)]]


async def test_single_messages_and_batches_keep_their_order() -> None:
    transport = Gated()
    async with publisher_on(transport) as publisher, asyncio.TaskGroup() as tasks:
        tasks.create_task(publisher.send(publisher.message(orders, order(0))))
        tasks.create_task(publisher.send_all([publisher.message(orders, order(n)) for n in (1, 2)]))
        tasks.create_task(publisher.send(publisher.message(orders, order(3))))
        tasks.create_task(publisher.publish_many(orders, map(order, range(4, 2500))))
    assert [one for batch in transport.batches for one in batch] == [body(n) for n in range(2500)]
    assert all(len(batch) <= BATCH_MESSAGES_MAX for batch in transport.batches)


async def test_large_messages_travel_in_smaller_batches() -> None:
    transport = Gated()
    part = b"x" * (BATCH_BYTES_MAX // 2)
    async with publisher_on(transport) as publisher:
        await publisher.publish_many("t", [part] * 3)
        await publisher.send_all([publisher.message("t", part) for _ in range(3)])
        await asyncio.gather(*(publisher.send(publisher.message("t", part)) for _ in range(3)))
        await publisher.send(publisher.message("t", b"x" * (BATCH_BYTES_MAX + 1)))
    assert [len(batch) for batch in transport.batches] == [2, 1, 2, 1, 2, 1, 1]


async def test_within_one_process_a_message_is_sent_at_once_but_others_get_a_turn() -> None:
    transport = Near()
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with publisher_on(transport) as publisher:
        counting = asyncio.create_task(count_turns())
        for n in range(320):
            await publisher.send(publisher.message(orders, order(n)))
        counting.cancel()
    assert [one for batch in transport.batches for one in batch] == [body(n) for n in range(320)]
    assert 5 <= turns <= 20


async def test_a_full_queue_makes_publishers_wait() -> None:
    transport = Gated()
    async with publisher_on(transport) as publisher, asyncio.TaskGroup() as tasks:
        transport.gate.clear()
        tasks.create_task(publisher.send(publisher.message(orders, order(0))))
        await transport.at_gate.wait()
        waiting = tasks.create_task(
            publisher.send_all([publisher.message("t", b"x")] * (SEND_QUEUE_MESSAGES_MAX + 1000))
        )
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        late = tasks.create_task(publisher.send(publisher.message(orders, order(1))))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not late.done(), "there is no room in the queue"
        transport.gate.set()
    assert isinstance(late.result(), Receipt)


async def test_a_cancelled_publisher_changes_nothing_for_the_others() -> None:
    transport = Gated()
    async with publisher_on(transport) as publisher:
        transport.gate.clear()
        sending = [asyncio.create_task(publisher.send(publisher.message(orders, order(n)))) for n in range(3)]
        await transport.at_gate.wait()
        sending[1].cancel()
        transport.gate.set()
        results = await asyncio.gather(*sending, return_exceptions=True)
    assert [type(result) for result in results] == [Receipt, asyncio.CancelledError, Receipt]
    assert transport.batches == [[body(0), body(1), body(2)]]


# --- outcomes


async def test_a_rejection_reaches_each_publisher_of_the_batch() -> None:
    transport = Gated()
    transport.failure = SendRejected("the disk is full")
    async with publisher_on(transport) as publisher:
        results = await asyncio.gather(
            *(publisher.send(publisher.message(orders, order(n))) for n in range(2)), return_exceptions=True
        )
    assert results == [transport.failure] * 2


async def test_a_drivers_own_error_means_that_the_outcome_is_unknown() -> None:
    transport = Gated()
    transport.failure = OSError("cable cut")
    async with publisher_on(transport) as publisher:
        message = publisher.message(orders, order(1))
        with pytest.raises(SendUnconfirmed, match="OSError: cable cut") as caught:
            await publisher.send(message)
    assert caught.value.message_id == message.id
    assert caught.value.__cause__ is transport.failure


async def test_outcomes_of_many_are_returned_in_order() -> None:
    transport = Gated()
    async with publisher_on(transport) as publisher:
        messages = [publisher.message(orders, order(n)) for n in range(2 * BATCH_MESSAGES_MAX + 1)]
        outcomes = await publisher.send_all(messages)
    assert [outcome.message_id for outcome in outcomes if isinstance(outcome, Receipt)] == [
        m.id for m in messages
    ]


async def test_publish_many_raises_the_first_failure_and_says_what_is_stored() -> None:
    transport = Gated()

    async with publisher_on(transport) as publisher:

        def numbers() -> Any:
            yield from map(order, range(BATCH_MESSAGES_MAX + 1))
            yield "no order"

        with pytest.raises(EncodeError) as caught:
            await publisher.publish_many(orders, numbers())
    assert caught.value.__notes__ == ["of this call, 1,000 messages are stored"]
    assert len(transport.batches) == 1


async def test_publish_many_of_nothing_sends_nothing() -> None:
    transport = Gated()
    async with publisher_on(transport) as publisher:
        assert await publisher.publish_many(orders, []) == []
        assert await publisher.send_all([]) == []
    assert transport.batches == []


async def test_publish_many_takes_a_key_for_all_or_one_for_each() -> None:
    def seven(_: Order) -> Any:
        return 7

    async with publisher_on(Gated()) as publisher:
        fixed = next(publisher.batches(orders, [order(1), order(2)], key="k"))
        each = next(publisher.batches(orders, [order(1), order(2)], key=lambda o: o.order_id))
        assert [message.key for message in fixed] == ["k", "k"]
        assert [message.key for message in each] == ["A-1", "A-2"]
        with pytest.raises(ConfigurationError, match="must be a str"):
            await publisher.publish_many(orders, [order(1)], key=seven)


async def test_closing_sends_what_waits_and_takes_no_more() -> None:
    transport = Gated()
    async with publisher_on(transport) as publisher:
        waiting = publisher.queue(publisher.message(orders, order(1)), via=transport)
        await publisher.close()
        assert isinstance(waiting.result(), Receipt)
        with pytest.raises(Disconnected):
            await publisher.send(publisher.message(orders, order(2)))


def test_a_loop_that_ends_tells_waiting_publishers_what_is_known() -> None:
    seen: list[object] = []

    async def main() -> None:
        transport = Gated()
        await transport.open()
        publisher = Publisher(Routes("memory://"), [transport], source="t", clock=VirtualClock())
        transport.gate.clear()
        first = publisher.queue(publisher.message(orders, order(0)), via=transport)
        await transport.at_gate.wait()
        second = publisher.queue(publisher.message(orders, order(1)), via=transport)
        for future in (first, second):
            future.add_done_callback(lambda done: seen.append(done.result()))

    asyncio.run(main())
    assert [type(outcome) for outcome in seen] == [SendUnconfirmed, SendRejected]


# --- commands


async def test_the_group_of_a_command_is_declared_once() -> None:
    transport = Gated()
    async with publisher_on(transport) as publisher:
        await asyncio.gather(*(publisher.declare_command("ship.order") for _ in range(10)))
        assert [(info.group, info.topic) for info in await transport.memory.groups()] == [
            ("ship.order", "ship.order")
        ]


async def test_a_topic_goes_the_way_of_its_pattern_and_a_reply_where_it_is_told() -> None:
    near, far = Gated(), Gated()
    for transport in (near, far):
        await transport.open()
    routes = Routes({"rpc.#": "memory://?near", "#": "memory://?far"})
    publisher = Publisher(routes, [near, far], source="t", clock=VirtualClock())
    both = [
        publisher.message("rpc.ask", b"1"),
        publisher.message("orders", b"2"),
        publisher.message("rpc.x", b"3"),
    ]
    outcomes = await publisher.send_all(both)
    assert [outcome.message_id for outcome in outcomes if isinstance(outcome, Receipt)] == [
        m.id for m in both
    ]
    await publisher.send(Message("r", "_reply.a", b"4"), via=near)
    assert (near.batches, far.batches) == ([[b"1", b"3"], [b"4"]], [[b"2"]])
    await publisher.close()
    for transport in (near, far):
        await transport.close()
