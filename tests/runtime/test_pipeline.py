"""Middleware, and the choice of how a handler is run."""

from typing import Any

import pytest

from waystation import Bus, ConfigurationError, Delivery, Handler, Reject, RetryPolicy
from waystation._core.message import Message
from waystation._runtime.pipeline import compose

from .shop import Order, consumers, dead, orders, until


def noting(name: str, log: list[str]) -> Any:
    def middleware(handler: Handler) -> Handler:
        async def wrapped(delivery: Delivery, body: Any) -> Any:
            log.append(f"{name} in")
            try:
                return await handler(delivery, body)
            finally:
                log.append(f"{name} out")

        return wrapped

    return middleware


async def test_the_first_middleware_is_outermost() -> None:
    log = list[str]()

    async def handler(delivery: Delivery, body: Any) -> str:
        log.append(body)
        return "done"

    composed = compose([noting("a", log), noting("b", log)], handler)
    assert await composed(Delivery.of(Message("1", "t", b""), 1, None), "body") == "done"
    assert log == ["a in", "b in", "body", "b out", "a out"]


def test_without_middleware_there_is_no_wrapper() -> None:
    async def handler(delivery: Delivery, body: Any) -> None: ...

    assert compose([], handler) is handler


def test_middleware_that_forgets_to_return_a_handler_is_refused() -> None:
    async def handler(delivery: Delivery, body: Any) -> None: ...

    def forgetful(handler: Any) -> Any: ...

    with pytest.raises(ConfigurationError, match="returned NoneType"):
        compose([forgetful], handler)


@pytest.mark.parametrize("plain", [False, True])
async def test_middleware_of_the_bus_is_around_that_of_the_subscription(plain: bool) -> None:
    log = list[str]()
    bus = Bus("memory://", middleware=[noting("bus", log)])

    def charge(order: Order) -> None:
        log.append("plain")

    async def charge_async(order: Order) -> None:
        log.append("async")

    bus.subscribe(orders, group="billing", middleware=[noting("mine", log)])(
        charge if plain else charge_async
    )
    async with bus.running():
        await bus.publish(orders, Order(1))
        await until(lambda: consumers(bus)[0].counters.accepted == 1)
    assert log == ["bus in", "mine in", "plain" if plain else "async", "mine out", "bus out"]


async def test_middleware_can_refuse_a_message_and_sees_batches_whole() -> None:
    seen = list[int]()

    def refusing(handler: Handler) -> Handler:
        async def wrapped(delivery: Delivery, body: Any) -> Any:
            seen.append(len(body))
            raise Reject("not today")

        return wrapped

    bus = Bus("memory://")

    @bus.subscribe(orders, group="billing", middleware=[refusing], retry=RetryPolicy(max_attempts=1))
    async def charge(many: list[Order]) -> None: ...

    async with bus:
        await bus.publish_many(orders, [Order(n) for n in range(3)])
        async with bus.running():
            await until(lambda: consumers(bus)[0].counters.dead == 3)
            assert {letter.reason for letter in await dead(bus)} == {"Reject: not today"}
    assert seen == [3]
