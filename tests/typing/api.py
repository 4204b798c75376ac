"""A program as a user writes it, with the mistakes that a type checker must find. Checked, never run."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, assert_type

import msgspec

from waystation import (
    Accept,
    Bus,
    CircuitBreaker,
    Delivery,
    Depends,
    Durability,
    Endpoint,
    Handler,
    Message,
    Rate,
    Receipt,
    Received,
    Retry,
    RetryPolicy,
    Router,
    StreamEndpoint,
    Topic,
    Transaction,
)


class OrderPlaced(msgspec.Struct):
    order_id: str
    total: float


@dataclass
class Ask:
    sku: str


class Price(msgspec.Struct):
    sku: str
    amount: float


orders = Topic("orders.placed", OrderPlaced)
prices = Topic("prices.changed", Price)
quotes = Endpoint("prices.quote", Ask, Price)
history = StreamEndpoint("prices.history", Ask, Price)


@asynccontextmanager
async def lifespan(bus: Bus) -> AsyncGenerator[None]:
    await bus.publish("started", 1)
    yield


def logged(handler: Handler) -> Handler:
    async def wrapped(delivery: Delivery, body: Any) -> Any:
        return await handler(delivery, body)

    return wrapped


bus = Bus({"rpc.#": "memory://", "#": "sqlite:///shop.db"}, middleware=[logged], lifespan=lifespan)
router = Router(middleware=[logged])


async def database() -> AsyncGenerator[str]:
    yield "connection"


# --- handlers fit their topics


@bus.subscribe(orders, group="billing", concurrency=8, retry=RetryPolicy(max_attempts=5, first_delay="1s"))
async def charge(order: OrderPlaced) -> None:
    assert_type(order, OrderPlaced)


@router.handle(orders, publishes=prices)
def reprice(order: OrderPlaced, message: Message, db: Annotated[str, Depends(database)]) -> Price:
    return Price(message.id, order.total)


@bus.subscribe(orders, group="ledger")
async def book(order: OrderPlaced, tx: Transaction) -> None:
    rows = await tx.execute("SELECT total FROM orders WHERE id = ?", (order.order_id,))
    assert_type(rows, list[tuple[Any, ...]])
    assert_type(await tx.publish(prices, Price("a", 1.0), key="a"), Receipt)
    await tx.publish(prices, order)  # type: ignore[misc]


@bus.subscribe(orders, group="batches", batch=100)
async def charge_all(batch: list[OrderPlaced]) -> list[Accept | Retry]:
    return [Accept() if order.total else Retry(5.0) for order in batch]


bus.repeat(orders, OrderPlaced("A-1", 1.0), cron="0 9 * * MON-FRI", tz="Europe/Berlin", missed="skip")
router.repeat(orders, lambda moment: OrderPlaced(moment.isoformat(), 1.0), every=timedelta(hours=1))
bus.repeat("heartbeats", b"", every="10s", name="heartbeat", expires="5s")
bus.repeat(orders, Price("a", 1.0), every="1h")  # type: ignore[arg-type]
bus.repeat(orders, OrderPlaced("A-1", 1.0), every="1h", missed="never")  # type: ignore[arg-type]


@bus.subscribe("anything.#", group="audit")
async def audit(body: dict[str, int], delivery: Delivery) -> None: ...


@bus.respond(quotes)
def quote(ask: Ask) -> Price:
    return Price(ask.sku, 9.5)


@router.respond(quotes)
async def quote_later(ask: Ask) -> Price:
    return quote(ask)


@bus.subscribe(orders, group="wrong")  # type: ignore[arg-type]
async def takes_another_type(price: Price) -> None: ...


@bus.subscribe(orders, group="wrong batch", batch=10)  # type: ignore[arg-type]
async def takes_another_batch(batch: list[Price]) -> None: ...


@bus.handle(orders)  # type: ignore[arg-type]
def takes_nothing() -> None: ...


@bus.respond(quotes)  # type: ignore[arg-type]
def answers_with_another_type(ask: Ask) -> OrderPlaced:
    return OrderPlaced(ask.sku, 1.0)


@bus.respond(quotes)  # type: ignore[arg-type]
async def answers_another_question(order: OrderPlaced) -> Price:
    return Price(order.order_id, 1.0)


@bus.respond(history)
async def tell(ask: Ask, message: Message) -> AsyncIterator[Price]:
    yield Price(ask.sku, 9.5)


@bus.respond(history)  # type: ignore[arg-type]
async def yields_another_type(ask: Ask) -> AsyncIterator[OrderPlaced]:
    yield OrderPlaced(ask.sku, 1.0)


@bus.respond(history)  # type: ignore[arg-type]
async def does_not_yield(ask: Ask) -> Price:
    return Price(ask.sku, 9.5)


@bus.respond(quotes)  # type: ignore[arg-type]
async def yields_where_it_must_return(ask: Ask) -> AsyncIterator[Price]:
    yield Price(ask.sku, 9.5)


# --- options are those that a handler has


async def listen(order: OrderPlaced) -> None: ...


bus.subscribe(
    orders,
    group="protected",
    rate=Rate(10, "1m", burst=3),
    max_duration="30s",
    prefetch=20,
    breaker=CircuitBreaker(failures=5, window="1m", pause=timedelta(seconds=30)),
    retry=RetryPolicy(budget=0.1),
)(listen)
bus.respond(quotes, rate="100/s", max_duration=2)(quote)
bus.subscribe(orders, group="wrong rate", rate=100)(listen)  # type: ignore[call-overload]
bus.subscribe(orders, group="wrong breaker", breaker=True)(listen)  # type: ignore[call-overload]
bus.subscribe(orders, group="wrong option", concurency=8)(listen)  # type: ignore[call-overload]
bus.subscribe(orders, group="wrong value", ordered="yes")(listen)  # type: ignore[call-overload]
bus.subscribe(orders)(listen)  # type: ignore[call-overload]
bus.subscribe(orders, broadcast=True, concurrency=2)(listen)
bus.subscribe("orders.placed", broadcast=True)(listen)
bus.subscribe(orders, group="billing", broadcast=True)(listen)  # type: ignore[call-overload]
bus.subscribe(orders, broadcast=False)(listen)  # type: ignore[call-overload]
bus.handle(orders, start="latest")(listen)  # type: ignore[call-overload]
bus.handle("orders.placed", group="of a command")(listen)  # type: ignore[call-overload]
bus.respond(quotes, ordered=False)(quote)  # type: ignore[call-overload]


bus.include(router)


# --- bodies fit their topics


async def main() -> None:
    order = OrderPlaced("A-1", 9.5)
    async with bus:
        receipt = await bus.publish(orders, order, key=order.order_id, delay=timedelta(minutes=1))
        assert_type(receipt, Receipt)
        assert_type(receipt.durability, Durability)
        await bus.send(orders, order, expires="1h", require=Durability.FLUSHED)
        await bus.publish("orders.placed", {"anything": "goes"})
        assert_type(await bus.publish_many(orders, [order], key=lambda each: each.order_id), list[Receipt])

        await bus.publish(orders, Price("tea", 1.0))  # type: ignore[misc]
        await bus.publish(orders, "A-1")  # type: ignore[misc]
        await bus.send(orders, Ask("tea"))  # type: ignore[misc]
        await bus.publish_many(orders, [Price("tea", 1.0)])  # type: ignore[misc]
        await bus.publish(orders, order, keys="a typing error")  # type: ignore[call-arg]
        await bus.send(orders, order, keys="a typing error")  # type: ignore[call-arg]

        async with bus.batch() as batch:
            batch.publish(orders, order, key="A-1")
            batch.send("orders.ship", order)
            batch.publish(orders, 7)  # type: ignore[misc]
        assert_type(batch.receipts, list[Receipt])

        async with bus.transaction() as tx:
            await tx.send(orders, order)


async def ask() -> None:
    assert_type(await bus.request(quotes, Ask("tea"), timeout="2s"), Price)
    await bus.request(quotes, "tea")  # type: ignore[misc]

    async for price in bus.request_stream(history, Ask("tea"), timeout="2s", total="1m"):
        assert_type(price, Price)
    bus.request_stream(history, "tea")  # type: ignore[misc]
    bus.request_stream(quotes, Ask("tea"))  # type: ignore[arg-type]
    await bus.request(history, Ask("tea"))  # type: ignore[arg-type]

    def show(price: Price) -> None: ...
    def show_order(order: OrderPlaced) -> None: ...

    pending = bus.request_later(quotes, Ask("tea"), on_reply=show, on_error=print)
    assert_type(pending.done(), bool)
    bus.request_later(quotes, Ask("tea"), on_reply=show_order)  # type: ignore[arg-type]


async def pull() -> None:
    async for received in bus.receive(orders, group="audit", start="new"):
        assert_type(received, Received[OrderPlaced])
        assert_type(received.body, OrderPlaced)
        await received.retry("5s")
    async with bus.receive("orders.#", group="audit") as receiver:
        anything = await anext(receiver)
        assert_type(anything.body, Any)
        await anything.accept()


def plain() -> None:
    with bus.blocking() as b:
        assert_type(b.publish(orders, OrderPlaced("A-1", 9.5), key="A-1"), Receipt)
        assert_type(b.request(quotes, Ask("tea")), Price)
        assert_type(list(b.request_stream(history, Ask("tea"))), list[Price])
        assert_type(b.publish_many(orders, [OrderPlaced("A-1", 9.5)]), list[Receipt])
        assert_type(b.call(ask), None)
        b.publish(orders, Price("tea", 1.0))  # type: ignore[misc]
        b.send(orders, "A-1", key="a")  # type: ignore[misc]
        b.request(quotes, OrderPlaced("A-1", 9.5))  # type: ignore[misc]
