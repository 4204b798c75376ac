"""The bus for code without an event loop."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from waystation import (
    Bus,
    ConfigurationError,
    Disconnected,
    Durability,
    EncodeError,
    Endpoint,
    NoResponder,
    Receipt,
    RequestTimeout,
    Topic,
)
from waystation._runtime.loop import new_event_loop, run


class Order(msgspec.Struct):
    number: int


orders = Topic("orders.placed", Order)
shipping = Topic("orders.ship", Order)
doubled = Endpoint("numbers.double", int, int)


def portals() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "waystation-portal"]


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    yield Bus(f"sqlite:///{tmp_path}/bus.db")
    assert not portals(), "the thread ends with the block"


def test_plain_code_publishes_and_sends(bus: Bus) -> None:
    with bus.blocking() as b:
        receipt = b.publish(orders, Order(1), key="1", headers={"a": "b"}, require=Durability.FLUSHED)
        assert receipt.durability is Durability.FLUSHED
        assert isinstance(b.send(shipping, Order(2)), Receipt)
        assert len(b.publish_many(orders, map(Order, range(10)), key=lambda order: str(order.number))) == 10
        topics = b.call(bus.inspector().topics)
    assert {topic.name: topic.messages for topic in topics} == {"orders.placed": 11, "orders.ship": 1}


def test_it_can_be_used_again(bus: Bus) -> None:
    for _ in range(2):
        with bus.blocking() as b:
            b.publish(orders, Order(1))


def test_errors_come_through_as_they_are(bus: Bus) -> None:
    async def too_late() -> None:
        raise TimeoutError("its own, not that of who waits for it")

    no_order: Any = "no order"
    with bus.blocking() as b:
        with pytest.raises(EncodeError):
            b.publish(orders, no_order)
        with pytest.raises(NoResponder):
            b.request(doubled, 2)
        with pytest.raises(ZeroDivisionError):
            b.publish_many(orders, (Order(1 // n) for n in (1, 0)))
        with pytest.raises(TimeoutError, match="its own"):
            b.call(too_late)


def test_a_request_waits_for_its_answer(bus: Bus) -> None:
    @bus.respond(doubled)
    async def double(number: int) -> int:
        if number < 0:
            await asyncio.Event().wait()
        return 2 * number

    async def serve(ready: threading.Event, stop: asyncio.Event) -> None:
        async with bus.running(drain=0):
            ready.set()
            await stop.wait()

    client = Bus(str(bus._routes.urls[0]))
    ready, stop, loop = threading.Event(), asyncio.Event(), new_event_loop()
    server = threading.Thread(target=lambda: loop.run_until_complete(serve(ready, stop)))
    server.start()
    ready.wait()
    with client.blocking() as b:
        assert b.request(doubled, 21) == 42
        with pytest.raises(RequestTimeout):
            b.request(doubled, -1, timeout="50ms")
    loop.call_soon_threadsafe(stop.set)
    server.join()
    loop.close()


def test_what_several_threads_publish_is_joined(bus: Bus) -> None:
    with bus.blocking() as b, ThreadPoolExecutor(8) as threads:
        receipts = list(threads.map(lambda number: b.publish(orders, Order(number)), range(200)))
        assert len({receipt.message_id for receipt in receipts}) == 200
        (topic,) = b.call(bus.inspector().topics)
    assert topic.messages == 200


def test_a_plain_handler_publishes_on_the_loop_that_runs_it(bus: Bus) -> None:
    arrived = asyncio.Event()
    threads: set[int] = set()

    @bus.subscribe(orders, group="billing")
    def bill(order: Order) -> None:
        with bus.blocking() as b:
            b.publish("orders.billed", order.number)
        threads.add(len(portals()))

    @bus.subscribe("orders.billed", group="mail")
    async def mail(number: int) -> None:
        arrived.set()

    async def main() -> None:
        async with bus.running():
            await bus.publish(orders, Order(1))
            await arrived.wait()

    run(main())
    assert threads == {0}


def test_ctrl_c_cancels_the_call_and_disconnects(bus: Bus) -> None:
    cancelled = threading.Event()

    async def wait_for_ever() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(KeyboardInterrupt), bus.blocking() as b:
        b.call(wait_for_ever)
    assert cancelled.wait(5)


def test_after_the_block_it_says_that_it_is_not_connected(bus: Bus) -> None:
    with bus.blocking() as b:
        pass
    with pytest.raises(Disconnected, match=r"with bus\.blocking"):
        b.publish(orders, Order(1))


def test_a_bus_that_cannot_connect_leaves_no_thread(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError), Bus(f"sqlite:///{tmp_path}/missing/bus.db").blocking():
        pytest.fail("its folder does not exist")
    assert not portals()


async def test_on_an_event_loop_it_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="stand still"), Bus("memory://").blocking():
        pytest.fail("it would block the loop")


def test_inside_a_call_it_is_refused(bus: Bus) -> None:
    with bus.blocking() as b:

        async def nested() -> None:
            b.publish(orders, Order(1))

        with pytest.raises(ConfigurationError, match="stand still"):
            b.call(nested)


def test_the_event_loop_is_uvloop_where_it_is_installed() -> None:
    loop = new_event_loop()
    try:
        assert type(loop).__module__.startswith("uvloop")
    finally:
        loop.close()
