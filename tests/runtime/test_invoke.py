"""Signatures of handlers: what fits, and what is said about what does not."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from waystation import (
    Accept,
    Bus,
    ConfigurationError,
    Delivery,
    Depends,
    Endpoint,
    Message,
    Retry,
    RetryPolicy,
    Router,
    Topic,
    Transaction,
)
from waystation._core.limits import HANDLER_BATCH_MESSAGES
from waystation._runtime.handlers import HandlerSpec, declare

from .shop import Bill, Order, bills, orders

if TYPE_CHECKING:
    from fractions import Fraction as Basket  # known to type checkers only

quotes = Endpoint("prices.quote", Order, Bill)


class BigOrder(Order):
    size: int


def subscribed(function: Callable[..., Any], topic: Topic[Any] | str = orders, **options: Any) -> HandlerSpec:
    return declare(function, kind="event", topic=topic, group="billing", **options)


def refusal(function: Callable[..., Any], topic: Topic[Any] | str = orders, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        subscribed(function, topic, **options)
    return str(caught.value)


def test_the_body_is_the_first_parameter() -> None:
    async def typed(order: Order) -> None: ...
    def anything(order: Any) -> None: ...
    def starred(*args: Any) -> None: ...

    for handler in (typed, lambda order: order, anything, starred):
        assert subscribed(handler).invocation.body_type is Order


def test_a_handler_may_take_a_base_class_of_what_its_topic_carries() -> None:
    async def charge(order: Order) -> None: ...

    assert subscribed(charge, Topic("orders.big", BigOrder)).invocation.body_type is BigOrder


def test_a_topic_that_is_only_a_name_carries_what_its_handler_says() -> None:
    async def charge(order: Order) -> None: ...
    async def charge_many(order: list[Order]) -> None: ...

    assert subscribed(charge, "orders.placed").topic == Topic("orders.placed", Order)
    assert subscribed(charge_many, "orders.placed").topic == Topic("orders.placed", list[Order])
    spec = subscribed(charge_many, "orders.placed", batch=5)
    assert (spec.topic, spec.batch) == (Topic("orders.placed", Order), 5)


def test_a_list_of_bodies_makes_a_batch_handler() -> None:
    async def charge(many: list[Order]) -> None: ...

    assert subscribed(charge).batch == HANDLER_BATCH_MESSAGES
    assert subscribed(charge, batch=7).batch == 7
    assert subscribed(charge, Topic("lists", list[Order])).batch is None, "the topic's own type comes first"


def test_callables_of_every_kind_are_handlers() -> None:
    class Charge:
        async def __call__(self, order: Order) -> None: ...

        def method(self, order: Order, message: Message) -> None: ...

    def partly(rate: float, order: Order) -> None: ...

    assert subscribed(Charge()).invocation.is_async
    assert not subscribed(Charge().method).invocation.is_async
    assert subscribed(functools.partial(partly, 0.5)).invocation.body_type is Order


def test_a_mismatch_names_both_types_the_function_and_its_line() -> None:
    async def charge(bill: Bill) -> None: ...

    text = refusal(charge)
    assert "charge() at test_invoke.py:" in text
    assert "carries Order, but the parameter 'bill' is Bill" in text
    assert "batch" in text
    assert "make it list[Order]" in refusal(charge, batch=3)


def test_nothing_can_fill_an_unknown_parameter() -> None:
    async def charge(order: Order, rate: float) -> None: ...

    text = refusal(charge)
    assert "'rate': float" in text
    assert "Message, Delivery, Transaction, Bus, Annotated[T, Depends(f)]" in text
    assert "'rate' has no annotation" in refusal(lambda order, rate: (order, rate))


def test_what_has_a_default_is_left_alone() -> None:
    async def charge(order: Order, rate: float = 0.5, *more: int, **options: int) -> None: ...

    assert subscribed(charge).invocation.plan.arguments == ()


def test_a_batch_handler_takes_lists_of_context() -> None:
    async def charge(many: list[Order], messages: list[Message], deliveries: list[Delivery]) -> None: ...
    async def wrong(many: list[Order], message: Message) -> None: ...

    subscribed(charge)
    assert "write list[Message]" in refusal(wrong)


def test_a_default_of_depends_is_explained() -> None:
    def rate() -> float:
        return 0.5

    async def charge(order: Order, rate: Any = Depends(rate)) -> None: ...  # noqa: B008 - what is being refused

    assert "Annotated[T, Depends(...)]" in refusal(charge)


def test_an_annotation_that_cannot_be_resolved_is_explained() -> None:
    async def charge(basket: "Basket") -> None: ...

    text = refusal(charge)
    assert "name 'Basket' is not defined" in text
    assert "TYPE_CHECKING" in text


def test_functions_without_a_body_or_with_a_yield_are_refused() -> None:
    async def nothing() -> None: ...
    async def named(*, order: Order) -> None: ...
    async def positional(order: Order, message: Message, /) -> None: ...
    async def yields(order: Order) -> AsyncIterator[int]:
        yield 1

    assert "takes no parameter" in refusal(nothing)
    assert "passed by position" in refusal(named)
    assert "remove the '/'" in refusal(positional)
    assert "yields" in refusal(yields)
    no_function: Any = 3
    with pytest.raises(ConfigurationError, match="not callable"):
        subscribed(no_function)


def test_a_transaction_is_awaited_so_its_handler_is_async() -> None:
    def charge(order: Order, tx: Transaction) -> None: ...
    async def charge_async(order: Order, tx: Transaction) -> None: ...

    assert "'async def'" in refusal(charge)
    assert "transactions" in subscribed(charge_async).requirements


def test_a_result_needs_a_place_to_go() -> None:
    async def charge(order: Order) -> Bill:
        return Bill(1)

    async def maybe(order: Order) -> Bill | None: ...
    async def many(order: Order) -> list[Bill]:
        return []

    async def never(order: Order) -> NoReturn:
        raise NotImplementedError

    async def none(order: Order) -> None: ...
    async def settles(order: Order) -> Retry:
        return Retry(1)

    assert "publishes=Topic(...)" in refusal(charge)
    assert "raise RetryNow or Reject" in refusal(settles)
    assert "carries Order" in refusal(charge, publishes=orders)
    assert "nothing for publishes=" in refusal(none, publishes=bills)
    assert subscribed(charge, publishes=bills).invocation.returns == "one"
    assert subscribed(maybe, publishes=bills).invocation.returns == "one"
    assert subscribed(many, publishes=bills).invocation.returns == "many"
    assert subscribed(never).invocation.returns == "nothing"


def test_a_batch_handler_returns_settlements_or_nothing() -> None:
    async def good(many: list[Order]) -> list[Accept | Retry]:
        return []

    async def bad(many: list[Order]) -> list[Bill]:
        return []

    assert subscribed(good).invocation.returns == "settlements"
    assert "list[Settlement]" in refusal(bad)
    assert "bus.batch()" in refusal(bad, publishes=bills)


def test_a_responder_returns_what_its_endpoint_answers_with() -> None:
    def good(order: Order) -> Bill:
        return Bill(1)

    def bad(order: Order) -> Order:
        return order

    def silent(order: Order) -> None: ...
    def batch(many: list[Order]) -> None: ...

    spec = declare(good, kind="request", topic=quotes)
    assert (spec.group, spec.response, spec.topic) == ("prices.quote", Bill, Topic("prices.quote", Order))
    for handler in (bad, silent):
        with pytest.raises(ConfigurationError, match="answers with Bill"):
            declare(handler, kind="request", topic=quotes)
    with pytest.raises(ConfigurationError):
        declare(batch, kind="request", topic=quotes)
    declare(silent, kind="request", topic=Endpoint("prices.forget", Order, type(None)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concurrency": 0}, "concurrency=0"),
        ({"batch": 0}, "batch=0"),
        ({"publishes": "bills"}, "must be a Topic"),
        ({"publishes": Topic("bills.*", Bill)}, "wildcard"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    async def charge(order: Order) -> Any: ...

    assert said in refusal(charge, **options)


def test_an_option_that_does_not_exist_is_refused_with_the_one_that_was_meant() -> None:
    router = Router()
    mistyped: Any = {"concurency": 8}
    events_only: Any = {"ordered": False}
    with pytest.raises(ConfigurationError, match="no option 'concurency' here: did you mean 'concurrency'"):
        router.subscribe(orders, group="billing", **mistyped)
    with pytest.raises(
        ConfigurationError, match="no option 'ordered' here; there are concurrency, max_duration, rate"
    ):
        router.respond(quotes, **events_only)


def test_illegal_names_are_refused() -> None:
    async def charge(order: Order) -> None: ...

    no_topic: Any = 3
    with pytest.raises(ConfigurationError, match="group"):
        declare(charge, kind="event", topic=orders, group="a group")
    with pytest.raises(ConfigurationError, match="wildcard"):
        declare(charge, kind="command", topic=Topic("orders.*", Order))
    with pytest.raises(ConfigurationError, match="not a Topic"):
        declare(charge, kind="event", topic=no_topic, group="billing")


def test_a_type_that_no_codec_reads_is_refused() -> None:
    class Opaque:
        def __init__(self, secret: object) -> None: ...

    async def charge(order: Opaque) -> None: ...

    assert "Opaque cannot be read" in refusal(charge, "orders.odd")
    assert "Opaque cannot be read" in refusal(charge, Topic("orders.odd", Opaque))


async def test_context_is_passed_by_annotation_in_any_order() -> None:
    bus, got = Bus("memory://"), list[Any]()

    @bus.subscribe(orders, group="one")
    async def one(order: Order, message: Message) -> None:
        got.append((message.id, order.number))

    @bus.subscribe(orders, group="two", retry=RetryPolicy(max_attempts=1))
    def two(order: Order, the_bus: Bus, rate: float = 0.5, *, delivery: Delivery) -> None:
        got.append((delivery.message.id, the_bus is bus, rate))

    @bus.subscribe(orders, group="three")
    async def three(many: list[Order], messages: list[Message], the_bus: Bus | None = None) -> None:
        got.append((messages[0].id, len(many), the_bus is bus))

    async with bus.running():
        receipt = await bus.publish(orders, Order(1))
        connection = bus._connected
        while sum(consumer.counters.handled for consumer in connection._consumers) < 3:
            await asyncio.sleep(0)
    assert sorted(got, key=repr) == sorted(
        [(receipt.message_id, 1), (receipt.message_id, True, 0.5), (receipt.message_id, 1, True)], key=repr
    )
