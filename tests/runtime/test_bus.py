"""The desk itself: declaring, connecting, running, refusing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

import waystation
from waystation import (
    Bus,
    ConfigurationError,
    Delivery,
    Depends,
    Disconnected,
    Durability,
    EncodeError,
    Endpoint,
    Handler,
    Message,
    Receipt,
    Router,
    Topic,
    Transaction,
    UnsupportedCapability,
)


class Order(msgspec.Struct):
    number: int


orders = Topic("orders.placed", Order)
shipping = Topic("orders.ship", Order)
doubled = Endpoint("numbers.double", int, int)


class Inbox:
    """What a handler got, to be waited for."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._news = asyncio.Event()

    def add(self, item: Any) -> None:
        self.items.append(item)
        self._news.set()

    async def count(self, count: int) -> list[Any]:
        while len(self.items) < count:
            self._news.clear()
            await self._news.wait()
        return self.items


# --- sending


async def test_a_receipt_says_what_is_certain() -> None:
    async with Bus("memory://") as bus:
        receipt = await bus.publish(orders, Order(1))
    assert receipt.durability is Durability.RECEIVED
    assert receipt.message_id
    assert not receipt.duplicate


async def test_a_publisher_makes_no_group_and_a_sender_makes_the_commands(tmp_path: Path) -> None:
    bus = Bus(f"sqlite:///{tmp_path}/bus.db")

    @bus.subscribe(orders, group="billing")
    async def bill(order: Order) -> None: ...

    async with bus:
        await bus.publish(orders, Order(1))
        assert await bus.inspector().groups() == []
        await bus.send(shipping, Order(1))
        assert [info.group for info in await bus.inspector().groups()] == ["orders.ship"]


async def test_a_batch_is_sent_together_at_its_end() -> None:
    async with Bus("memory://") as bus:
        async with bus.batch() as batch:
            batch.publish(orders, Order(1), key="1")
            batch.send(shipping, Order(2))
            assert await bus.inspector().topics() == []
        assert len(batch.receipts) == 2
        assert {info.name: info.messages for info in await bus.inspector().topics()} == {
            "orders.placed": 1,
            "orders.ship": 1,
        }
        assert [info.group for info in await bus.inspector().groups()] == ["orders.ship"]


async def test_a_batch_whose_block_raises_sends_nothing() -> None:
    no_order: Any = "no order"

    async def fail(bus: Bus) -> None:
        async with bus.batch() as batch:
            batch.publish(orders, Order(1))
            batch.publish(orders, no_order)

    async with Bus("memory://") as bus:
        with pytest.raises(EncodeError):
            await fail(bus)
        assert await bus.inspector().topics() == []


@pytest.mark.parametrize(
    "use",
    [
        lambda bus: bus.publish(orders, Order(1)),
        lambda bus: bus.send(orders, Order(1)),
        lambda bus: bus.publish_many(orders, [Order(1)]),
        lambda bus: bus.request(doubled, 1),
        lambda bus: bus.request_later(doubled, 1, on_reply=print),
        lambda bus: bus.receive(orders, group="audit"),
        lambda bus: bus.batch(),
        lambda bus: bus.transaction(),
        lambda bus: bus.inspector(),
    ],
)
async def test_a_bus_that_is_not_connected_says_what_to_do(use: Callable[[Bus], Any]) -> None:
    async def try_it() -> None:
        await use(Bus("memory://"))

    with pytest.raises(Disconnected, match="connect first: `async with bus:`"):
        await try_it()


# --- connecting


async def test_a_bus_can_be_entered_again() -> None:
    bus = Bus("memory://")
    for _ in range(2):
        async with bus:
            await bus.publish(orders, Order(1))
    with pytest.raises(Disconnected):
        await bus.publish(orders, Order(1))


async def test_a_bus_is_entered_once() -> None:
    bus = Bus("memory://")
    async with bus:
        with pytest.raises(ConfigurationError, match="connected already"):
            await bus.__aenter__()
        await bus.publish(orders, Order(1))


async def test_a_bus_that_cannot_connect_can_be_tried_again(tmp_path: Path) -> None:
    bus = Bus(f"sqlite:///{tmp_path}/new/bus.db")
    with pytest.raises(ConfigurationError):
        await bus.__aenter__()
    (tmp_path / "new").mkdir()
    async with bus:
        await bus.publish(orders, Order(1))


async def test_what_is_still_waiting_is_sent_before_the_end(tmp_path: Path) -> None:
    bus = Bus(f"sqlite:///{tmp_path}/bus.db")
    async with bus:
        sending = [asyncio.create_task(bus.publish(orders, Order(n))) for n in range(100)]
        await asyncio.sleep(0)
    assert {type(receipt) for receipt in await asyncio.gather(*sending)} == {Receipt}


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("sqlit:///x.db", "did you mean 'sqlite'"),
        ("memory://?size=1", "no option 'size'"),
        ("shop.db", "is not a URL"),
        ({}, "at least one URL"),
        ({"a..b": "memory://"}, "not a topic"),
    ],
)
def test_a_wrong_url_is_refused_at_once(url: Any, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Bus(url)


async def test_the_most_specific_pattern_chooses_the_medium(tmp_path: Path) -> None:
    bus = Bus({"rpc.#": "memory://", "#": f"sqlite:///{tmp_path}/bus.db"})
    assert bus.capabilities_of("rpc.ask").name == "memory"
    assert bus.capabilities_of(orders).name == "sqlite"
    with pytest.raises(ConfigurationError, match="several URLs"):
        _ = bus.capabilities
    async with bus:
        assert (await bus.publish("rpc.ask", 1)).durability is Durability.RECEIVED
        assert (await bus.publish(orders, Order(1))).durability is Durability.FLUSHED
        assert [info.name for info in await bus.inspector(orders).topics()] == ["orders.placed"]
        with pytest.raises(ConfigurationError, match="several URLs"):
            bus.inspector()


async def test_a_handler_of_everything_listens_to_every_medium(tmp_path: Path) -> None:
    bus, inbox = Bus({"rpc.#": "memory://", "#": f"sqlite:///{tmp_path}/bus.db"}), Inbox()

    @bus.subscribe("#", group="audit")
    async def audit(body: Any, message: Message) -> None:
        inbox.add(message.topic)

    async with bus.running():
        await bus.publish("rpc.ask", 1)
        await bus.publish(orders, Order(1))
        assert sorted(await inbox.count(2)) == ["orders.placed", "rpc.ask"]


def test_two_buses_do_not_share_anything() -> None:
    async def main() -> None:
        async with Bus("memory://") as one, Bus("memory://") as other:
            await one.publish(orders, Order(1))
            assert await other.inspector().topics() == []

    asyncio.run(main())


# --- declaring


def test_a_decorator_gives_the_function_back() -> None:
    async def bill(order: Order) -> None: ...

    def answer(number: int) -> int:
        return number

    bus = Bus("memory://")
    assert bus.subscribe(orders, group="billing")(bill) is bill
    assert bus.handle(shipping)(bill) is bill
    assert bus.respond(doubled)(answer) is answer


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("orders.placed", "orders.placed"),
        ("orders.*", "orders.placed"),
        ("#", "orders.placed"),
        ("a.*", "*.b"),
    ],
)
def test_a_second_handler_for_a_message_of_one_group_is_refused(first: str, second: str) -> None:
    bus = Bus("memory://")

    async def handler(body: Any) -> None: ...

    bus.subscribe(first, group="billing")(handler)
    bus.subscribe(second, group="mail")(handler)
    with pytest.raises(ConfigurationError, match=r"two handlers for one message.*another group"):
        bus.subscribe(second, group="billing")(handler)


def test_a_second_responder_and_a_second_command_handler_are_refused() -> None:
    bus = Bus("memory://")

    @bus.respond(doubled)
    def double(number: int) -> int:
        return 2 * number

    with pytest.raises(ConfigurationError, match="two handlers"):
        bus.respond(doubled)(double)
    bus.handle("orders.ship")(double_nothing)
    with pytest.raises(ConfigurationError, match="two handlers"):
        bus.subscribe("orders.ship", group="orders.ship")(double_nothing)


async def double_nothing(body: Any) -> None: ...


async def test_a_router_is_included_with_its_middleware() -> None:
    calls: list[str] = []

    def noting(name: str) -> Callable[[Handler], Handler]:
        def wrap(handler: Handler) -> Handler:
            async def wrapped(delivery: Any, body: Any) -> Any:
                calls.append(name)
                return await handler(delivery, body)

            return wrapped

        return wrap

    router, inbox = Router(middleware=[noting("router")]), Inbox()

    @router.subscribe(orders, group="billing", middleware=[noting("own")])
    async def bill(order: Order) -> None:
        inbox.add(order)

    bus = Bus("memory://", middleware=[noting("bus")])
    bus.include(router)
    async with bus.running():
        await bus.publish(orders, Order(1))
        await inbox.count(1)
    assert calls == ["bus", "router", "own"]
    with pytest.raises(ConfigurationError, match="two handlers"):
        bus.include(router)


# --- running


async def test_events_go_to_every_group_and_commands_to_one_handler() -> None:
    bus, inbox = Bus("memory://"), Inbox()

    @bus.subscribe(orders, group="billing")
    async def bill(order: Order) -> None:
        inbox.add(("bill", order.number))

    @bus.subscribe(orders, group="mail")
    def mail(order: Order) -> None:
        loop.call_soon_threadsafe(inbox.add, ("mail", order.number))

    @bus.handle(shipping)
    async def ship(order: Order) -> None:
        inbox.add(("ship", order.number))

    loop = asyncio.get_running_loop()
    async with bus.running():
        await bus.publish(orders, Order(1))
        await bus.send(shipping, Order(2))
        assert sorted(await inbox.count(3)) == [("bill", 1), ("mail", 1), ("ship", 2)]


async def test_what_was_published_before_is_handled_when_it_runs(tmp_path: Path) -> None:
    url, inbox = f"sqlite:///{tmp_path}/bus.db", Inbox()
    async with Bus(url) as publisher:
        await publisher.publish_many(orders, map(Order, range(1000)), key="k")
    bus = Bus(url)

    @bus.subscribe(orders, group="billing")
    async def bill(order: Order) -> None:
        inbox.add(order.number)

    async with bus.running():
        assert await inbox.count(1000) == list(range(1000))


async def test_running_inside_a_connected_bus_leaves_it_connected() -> None:
    bus = Bus("memory://")
    async with bus:
        async with bus.running() as same:
            assert same is bus
        await bus.publish(orders, Order(1))


async def test_a_bus_without_anything_to_run_says_so_before_any_io(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no handlers to run: declare some with @bus\.subscribe"):
        await Bus(f"sqlite:///{tmp_path}/shop.db").run()
    assert not list(tmp_path.iterdir())


async def test_handlers_run_once_at_a_time() -> None:
    bus = Bus("memory://")
    bus.handle("orders.ship")(double_nothing)
    async with bus.running():
        with pytest.raises(ConfigurationError, match="run already"):
            async with bus.running():
                pytest.fail("they run already")


async def test_a_handler_whose_needs_are_not_met_is_refused_before_any_io(tmp_path: Path) -> None:
    bus = Bus({"rpc.#": "memory://", "#": f"sqlite:///{tmp_path}/missing/bus.db"})

    @bus.subscribe("rpc.pay", group="billing")
    async def pay(order: Order, tx: Transaction) -> None: ...

    with pytest.raises(UnsupportedCapability, match=r"pay.*transactions=False") as caught:
        async with bus.running():
            pytest.fail("memory has no transactions")
    assert (caught.value.capability, caught.value.transport) == ("transactions", "memory")


async def test_a_medium_that_lacks_what_a_handler_asks_for_is_refused_with_the_way_out() -> None:
    bus = Bus("memory://")

    @bus.subscribe(orders, group="billing", needs=["persistent"])
    async def pay(order: Order) -> None: ...

    with pytest.raises(UnsupportedCapability) as caught:
        await bus.run()
    assert "pay() at " in str(caught.value)
    assert str(caught.value).endswith(
        "needs a transport that keeps messages when every process has ended; 'memory' does not (persistent=False): "
        "use another URL, or do without"
    )


def test_a_handler_asks_by_its_options_for_what_they_rest_on() -> None:
    bus, told = Bus("memory://"), Bus("memory://")
    bus.subscribe(orders, group="a")(double_nothing)
    told.subscribe(orders, group="b", ordered=False, start=7, needs=["persistent"])(double_nothing)
    told.subscribe(orders, group="c", allow=["ordered_by_key", "redelivers_unsettled"])(double_nothing)
    found = [set(spec.requirements) for spec in (*bus._specs, *told._specs)]
    assert found == [
        {"groups", "redelivers_unsettled", "ordered_by_key"},
        {"groups", "redelivers_unsettled", "replay", "persistent"},
        {"groups"},
    ]


def test_a_need_that_nobody_knows_is_refused_where_it_is_declared() -> None:
    bus = Bus("memory://")
    wrong: Any = ["persistant"]
    with pytest.raises(ConfigurationError, match="did you mean 'persistent'"):
        bus.subscribe(orders, group="a", needs=wrong)(double_nothing)
    with pytest.raises(ConfigurationError, match="cannot be done without"):
        bus.handle(orders, allow=["groups"])(double_nothing)


async def test_hooks_and_lifespan_surround_the_handlers() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(bus: Bus) -> AsyncIterator[None]:
        await bus.publish("started", 1)
        seen.append("lifespan begins")
        yield
        seen.append("lifespan ends")

    bus, inbox = Bus("memory://", lifespan=lifespan), Inbox()

    @bus.on_startup
    async def first() -> None:
        seen.append("first startup")

    @bus.on_startup
    def second() -> None:
        seen.append("second startup")

    @bus.on_shutdown
    async def last() -> None:
        seen.append("last shutdown")

    @bus.on_shutdown
    def before() -> None:
        seen.append("shutdown")

    @bus.subscribe("started", group="g")
    async def started(number: int) -> None:
        seen.append("handled")
        inbox.add(number)

    async with bus.running():
        await inbox.count(1)
    assert seen == [
        *("lifespan begins", "first startup", "second startup", "handled"),
        *("shutdown", "last shutdown", "lifespan ends"),
    ]


async def test_an_error_at_startup_stops_everything_cleanly() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(bus: Bus) -> AsyncIterator[None]:
        try:
            yield
        finally:
            seen.append("lifespan ends")

    bus = Bus("memory://", lifespan=lifespan)
    bus.handle("orders.ship")(double_nothing)

    @bus.on_startup
    async def broken() -> None:
        raise LookupError("no database")

    with pytest.raises(LookupError, match="no database"):
        async with bus.running():
            pytest.fail("it must not run")
    assert seen == ["lifespan ends"]
    with pytest.raises(Disconnected):
        await bus.publish(orders, Order(1))


async def test_draining_lets_handlers_finish_and_counts_those_that_do_not() -> None:
    bus, begun, may_end = Bus("memory://"), asyncio.Event(), asyncio.Event()

    @bus.handle(shipping)
    async def ship(order: Order) -> None:
        begun.set()
        await may_end.wait()

    async with bus.running():
        await bus.send(shipping, Order(1))
        await begun.wait()
        assert await bus.drain(0) == 1
        assert await bus.drain(0) == 0
        await bus.publish(orders, Order(1))
    begun.clear()
    async with bus.running():
        await begun.wait()
        may_end.set()
        assert await bus.drain(10) == 0
        (info,) = [info for info in await bus.inspector().groups() if info.group == "orders.ship"]
        assert info.lag == 0


async def test_a_bus_that_closes_first_abandons_its_handlers_and_their_messages_come_again(
    tmp_path: Path,
) -> None:
    bus = Bus(f"sqlite:///{tmp_path}/shop.db")
    begun, closed, attempts = asyncio.Event(), asyncio.Event(), list[int]()

    @bus.subscribe("orders", group="billing")
    async def charge(number: int, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        begun.set()
        await closed.wait()

    async def run() -> None:
        async with bus.running():
            await closed.wait()

    async with bus:
        running = asyncio.create_task(run())
        await bus.publish("orders", 1)
        await begun.wait()
    closed.set()
    await running
    begun.clear()
    async with bus.running():
        await begun.wait()
    assert attempts == [1, 1], "a handler that was abandoned has not failed"


async def test_what_a_handler_publishes_follows_from_its_message() -> None:
    bus, inbox = Bus("memory://"), Inbox()

    @bus.subscribe(orders, group="billing", publishes=shipping)
    async def bill(order: Order, message: Message, bus: Bus) -> Order:
        inbox.add(message)
        await bus.publish("orders.billed", order.number)
        return order

    @bus.subscribe("orders.billed", group="audit")
    async def billed(number: int, message: Message) -> None:
        inbox.add(message)

    @bus.handle(shipping)
    async def ship(order: Order, message: Message) -> None:
        inbox.add(message)

    async with bus.running():
        await bus.publish(orders, Order(1), correlation_id="story")
        cause, *caused = await inbox.count(3)
    assert {message.causation_id for message in caused} == {cause.id}
    assert {message.correlation_id for message in caused} == {"story"}


async def test_a_dependency_is_replaced_for_a_test() -> None:
    def greeting() -> str:
        return "hello"

    bus, inbox = Bus("memory://"), Inbox()

    @bus.handle(shipping)
    async def ship(order: Order, word: Annotated[str, Depends(greeting)]) -> None:
        inbox.add(word)

    with bus.override(greeting, lambda: "replaced"):
        async with bus.running():
            await bus.send(shipping, Order(1))
            await inbox.count(1)
    async with bus.running():
        await bus.send(shipping, Order(2))
        assert await inbox.count(2) == ["replaced", "hello"]


def test_the_version_is_known() -> None:
    assert waystation.__version__[0].isdigit()
