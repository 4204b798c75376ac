"""Dependencies: made once per call, closed after it, replaced in tests."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest

from waystation import Bus, ConfigurationError, Delivery, Depends, Message, RetryPolicy

from .shop import Order, Wish, consumers, dead, orders, until

Subscribe = Callable[[Callable[..., Any]], Callable[..., Any]]


async def handled(bus: Bus, count: int = 1) -> list[str]:
    """Publish orders, wait until all are handled, and return the reasons of those that died."""
    async with bus.running():
        await bus.publish_many(orders, [Order(n) for n in range(count)])
        await until(lambda: consumers(bus)[0].counters.handled == count)
        return [letter.reason for letter in await dead(bus)]


def subscribed(bus: Bus) -> Subscribe:
    return bus.subscribe(orders, group="billing", retry=RetryPolicy(max_attempts=1))


async def test_every_kind_of_dependency_is_called_with_what_it_asks_for() -> None:
    bus, got = Bus("memory://"), list[Any]()

    def plain(message: Message) -> str:
        return message.topic

    async def asynchronous(delivery: Delivery) -> int:
        return delivery.attempt

    def generator(the_bus: Bus) -> Iterator[bool]:
        yield the_bus is bus
        got.append("generator closed")

    async def async_generator(topic: Annotated[str, Depends(plain)]) -> AsyncIterator[str]:
        yield topic.upper()
        got.append("async generator closed")

    class Settings:
        def __init__(self, attempt: Annotated[int, Depends(asynchronous)]) -> None:
            self.attempt = attempt

    @subscribed(bus)
    async def charge(
        order: Order,
        a: Annotated[str, Depends(plain)],
        b: Annotated[int, Depends(asynchronous)],
        c: Annotated[bool, Depends(generator)],
        d: Annotated[str, Depends(async_generator)],
        e: Annotated[Settings, Depends(Settings)],
    ) -> None:
        got.append((a, b, c, d, e.attempt))

    assert await handled(bus) == []
    assert got == [
        ("orders.placed", 1, True, "ORDERS.PLACED", 1),
        "async generator closed",
        "generator closed",
    ]


async def test_a_dependency_is_made_once_per_message_however_often_it_is_needed() -> None:
    bus, made = Bus("memory://"), list[int]()

    def session() -> int:
        made.append(len(made))
        return made[-1]

    def repository(session: Annotated[int, Depends(session)]) -> int:
        return session

    @subscribed(bus)
    async def charge(
        order: Order,
        first: Annotated[int, Depends(session)],
        second: Annotated[int, Depends(session)],
        third: Annotated[int, Depends(repository)],
    ) -> None:
        assert first == second == third

    assert await handled(bus, 3) == []
    assert made == [0, 1, 2]


@pytest.mark.parametrize("plain", [False, True])
async def test_a_generator_sees_the_handlers_exception_and_cannot_hide_it(plain: bool) -> None:
    bus, seen = Bus("memory://"), list[str]()

    def session() -> Iterator[int]:
        try:
            yield 1
        except Wish as error:
            seen.append(str(error))  # and does not raise it again

    if plain:

        @subscribed(bus)
        def charge(order: Order, session: Annotated[int, Depends(session)]) -> None:
            raise Wish("no money")
    else:

        @subscribed(bus)
        async def charge_async(order: Order, session: Annotated[int, Depends(session)]) -> None:
            raise Wish("no money")

    (reason,) = await handled(bus)
    assert "no money" in reason
    assert seen == ["no money"]


async def test_a_failure_while_closing_is_the_handlers_failure() -> None:
    bus = Bus("memory://")

    async def session() -> AsyncIterator[int]:
        yield 1
        raise Wish("commit failed")

    @subscribed(bus)
    async def charge(order: Order, session: Annotated[int, Depends(session)]) -> None: ...

    assert "commit failed" in (await handled(bus))[0]


async def test_a_failing_dependency_closes_those_before_it() -> None:
    bus, closed = Bus("memory://"), list[str]()

    def session() -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append("session")

    def user(session: Annotated[int, Depends(session)]) -> str:
        raise Wish("nobody")

    @subscribed(bus)
    async def charge(order: Order, user: Annotated[str, Depends(user)]) -> None: ...

    assert "nobody" in (await handled(bus))[0]
    assert closed == ["session"]


async def test_dependencies_of_a_plain_handler_run_in_its_thread_unless_they_need_the_loop() -> None:
    bus, threads = Bus("memory://"), dict[str, int]()

    def plain() -> None:
        threads["plain"] = threading.get_ident()

    async def asynchronous() -> None:
        await asyncio.sleep(0)
        threads["async"] = threading.get_ident()

    @subscribed(bus)
    def charge(order: Order, a: Annotated[None, Depends(plain)]) -> None:
        threads["handler"] = threading.get_ident()

    @bus.subscribe(orders, group="mixed")
    def mixed(order: Order, a: Annotated[None, Depends(asynchronous)]) -> None:
        threads["mixed"] = threading.get_ident()

    async with bus.running():
        await bus.publish(orders, Order(1))
        await until(lambda: len(threads) == 4)
    assert threads["plain"] == threads["handler"] != threading.get_ident()
    assert threads["async"] == threading.get_ident() != threads["mixed"]


async def test_tests_put_another_dependency_in_its_place() -> None:
    bus, got = Bus("memory://"), list[str]()

    def database() -> str:
        raise Wish("the real one")

    def stub(message: Message) -> str:
        return f"stub for {message.topic}"

    @subscribed(bus)
    async def charge(order: Order, database: Annotated[str, Depends(database)]) -> None:
        got.append(database)

    with bus.override(database, stub):
        assert await handled(bus) == []
    assert got == ["stub for orders.placed"]
    assert "the real one" in (await handled(bus))[0]


def test_dependencies_that_need_each_other_are_refused() -> None:
    bus = Bus("memory://")

    def first(other: Any) -> int:
        return 1

    def second(other: Annotated[int, Depends(first)]) -> int:
        return 2

    first.__annotations__["other"] = Annotated[int, Depends(second)]

    with pytest.raises(ConfigurationError, match="needs itself"):

        @bus.subscribe(orders, group="billing")
        async def charge(order: Order, first: Annotated[int, Depends(first)]) -> None: ...


def test_a_dependency_that_cannot_be_filled_is_named() -> None:
    bus = Bus("memory://")

    def session(url: str) -> int:
        return 1

    with pytest.raises(ConfigurationError, match=r"session\(\) at test_depends.py:\d+: .*'url': str"):

        @bus.subscribe(orders, group="billing")
        async def charge(order: Order, session: Annotated[int, Depends(session)]) -> None: ...
