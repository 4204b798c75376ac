"""Asking and being answered: awaited, by callback, too late, never."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from waystation import (
    Bus,
    ConfigurationError,
    DecodeError,
    Disconnected,
    EncodeError,
    Endpoint,
    Message,
    NoResponder,
    RequestFailed,
    RequestTimeout,
)
from waystation._runtime.requests import Requests
from waystation.testing import VirtualClock


class Ask(msgspec.Struct):
    sku: str


class Price(msgspec.Struct):
    amount: float


quotes = Endpoint("prices.quote", Ask, Price)


@dataclass
class Shop:
    """A bus whose responder answers when, and if, the test lets it."""

    bus: Bus
    clock: VirtualClock
    may_answer: asyncio.Event
    asked: asyncio.Event

    @property
    def requests(self) -> Requests:
        return self.bus._connected.requests


@asynccontextmanager
async def shop() -> AsyncIterator[Shop]:
    clock = VirtualClock()
    made = Shop(Bus("memory://", clock=clock), clock, asyncio.Event(), asyncio.Event())
    made.may_answer.set()

    @made.bus.respond(quotes, concurrency=10)
    async def quote(ask: Ask) -> Price:
        made.asked.set()
        await made.may_answer.wait()
        if ask.sku == "unknown":
            raise LookupError(ask.sku)
        return Price(float(len(ask.sku)))

    async with made.bus.running():
        yield made
        made.may_answer.set()


async def test_a_request_is_answered() -> None:
    async with shop() as s:
        assert await s.bus.request(quotes, Ask("tea")) == Price(3.0)
        assert s.requests.in_flight == 0


async def test_answers_find_their_own_request() -> None:
    async with shop() as s:
        skus = ["x" * n for n in range(1, 200)]
        prices = await asyncio.gather(*(s.bus.request(quotes, Ask(sku)) for sku in skus))
        assert [price.amount for price in prices] == [float(len(sku)) for sku in skus]
        assert len(s.requests._desks) == 1


async def test_a_responder_that_raises_fails_the_request_in_its_own_words() -> None:
    async with shop() as s:
        with pytest.raises(RequestFailed, match=r"prices\.quote") as caught:
            await s.bus.request(quotes, Ask("unknown"))
        assert caught.value.reason == "LookupError: unknown"


async def test_a_request_times_out_and_its_late_answer_is_dropped() -> None:
    async with shop() as s:
        s.may_answer.clear()
        asking = asyncio.create_task(s.bus.request(quotes, Ask("tea"), timeout="2s"))
        await s.asked.wait()
        await s.clock.advance(1.9)
        assert not asking.done()
        await s.clock.advance(0.2)
        with pytest.raises(RequestTimeout, match="within 2 s"):
            await asking
        assert s.requests.in_flight == 0
        s.may_answer.set()
        await s.clock.advance(0)
        assert s.requests.late == 1
        assert await s.bus.request(quotes, Ask("milk")) == Price(4.0)


async def test_a_cancelled_request_leaves_nothing_behind() -> None:
    async with shop() as s:
        s.may_answer.clear()
        asking = asyncio.create_task(s.bus.request(quotes, Ask("tea")))
        await s.asked.wait()
        assert s.requests.in_flight == 1
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert s.requests.in_flight == 0


async def test_a_request_that_nobody_ever_answered_is_refused_at_once() -> None:
    async with Bus("memory://") as bus:
        with pytest.raises(NoResponder, match=r"'prices\.quote': start its responder first"):
            await bus.request(quotes, Ask("tea"))


async def test_an_endpoint_that_is_mistyped_is_named() -> None:
    async with shop() as s:
        with pytest.raises(NoResponder, match=r"at 'prices\.qoute': did you mean 'prices\.quote'\?"):
            await s.bus.request(Endpoint("prices.qoute", Ask, Price), Ask("tea"))


async def test_a_request_of_the_wrong_type_is_not_sent() -> None:
    no_ask: Any = Price(1.0)
    async with shop() as s:
        with pytest.raises(EncodeError):
            await s.bus.request(quotes, no_ask)
        assert s.requests.in_flight == 0
        assert not s.asked.is_set()


async def test_an_answer_of_the_wrong_type_is_an_error() -> None:
    async with shop() as s:
        other = Endpoint("prices.quote", Ask, list[int])
        with pytest.raises(DecodeError):
            await s.bus.request(other, Ask("tea"))


async def test_a_request_says_where_its_answer_goes_and_when_nobody_waits_any_more() -> None:
    clock = VirtualClock()
    bus, seen = Bus("memory://", clock=clock), list[Message]()

    @bus.respond(quotes)
    async def quote(ask: Ask, message: Message) -> Price:
        seen.append(message)
        return Price(1.0)

    async with bus.running():
        await bus.request(quotes, Ask("tea"), timeout=5, headers={"tenant": "north"}, key="tea")
    (message,) = seen
    assert message.reply_to is not None
    assert message.reply_to.startswith("_reply.")
    assert message.correlation_id == message.id
    assert message.expires_at == clock.time() + 5
    assert (message.headers, message.key) == ({"tenant": "north"}, "tea")


async def test_closing_the_bus_ends_a_request() -> None:
    async with shop() as s:
        s.may_answer.clear()
        asking = asyncio.create_task(s.bus.request(quotes, Ask("tea")))
        await s.asked.wait()
        await s.requests.close()
        with pytest.raises(Disconnected):
            await asking


async def test_a_reply_for_nobody_is_counted() -> None:
    async with shop() as s:
        await s.bus.request(quotes, Ask("tea"))
        transport = s.bus._transports[0]
        await transport.send([Message("r", s.requests._address, b"", correlation_id="nobody")])
        await transport.send([Message("r", s.requests._address, b"")])
        await s.clock.advance(0)
        assert s.requests.late == 2


async def test_answers_are_read_again_after_the_transport_failed(caplog: pytest.LogCaptureFixture) -> None:
    async with shop() as s:
        await s.bus.request(quotes, Ask("tea"))
        (desk,) = s.requests._desks.values()
        await desk._reading._feed.close()
        await s.clock.advance(1)
        assert await s.bus.request(quotes, Ask("milk")) == Price(4.0)
    told = [record for record in caplog.records if record.name == "waystation.requests"]
    assert len([record for record in told if record.levelno >= logging.WARNING]) == 1, "once, not at each try"


# --- callbacks


async def test_a_callback_gets_the_answer() -> None:
    async with shop() as s:
        got: asyncio.Future[Price] = asyncio.get_running_loop().create_future()
        pending = s.bus.request_later(quotes, Ask("tea"), on_reply=got.set_result)
        assert not pending.done()
        assert await got == Price(3.0)
        await s.clock.advance(0)
        assert pending.done()
        assert pending.cancel() is False


async def test_a_callback_may_be_a_coroutine_function() -> None:
    async with shop() as s:
        got: asyncio.Future[Price] = asyncio.get_running_loop().create_future()

        async def keep(price: Price) -> None:
            await asyncio.sleep(0)
            got.set_result(price)

        s.bus.request_later(quotes, Ask("tea"), on_reply=keep)
        assert await got == Price(3.0)


async def test_a_callback_gets_the_error() -> None:
    async with shop() as s:
        got: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        s.bus.request_later(quotes, Ask("unknown"), on_reply=print, on_error=got.set_result)
        assert isinstance(await got, RequestFailed)


async def test_a_cancelled_callback_is_never_called() -> None:
    async with shop() as s:
        s.may_answer.clear()
        called: list[object] = []
        before = s.bus.request_later(quotes, Ask("tea"), on_reply=called.append, on_error=called.append)
        assert before.cancel()
        pending = s.bus.request_later(quotes, Ask("tea"), on_reply=called.append, on_error=called.append)
        await s.asked.wait()
        assert pending.cancel()
        s.may_answer.set()
        await s.clock.advance(0)
        assert pending.done()
        assert called == []
        assert s.requests.in_flight == 0


@pytest.mark.parametrize("sku", ["tea", "unknown"])
async def test_a_failure_that_nobody_takes_is_logged(sku: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "waystation.requests")
    async with shop() as s:

        def broken(_: Price) -> None:
            raise ZeroDivisionError

        pending = s.bus.request_later(quotes, Ask(sku), on_reply=broken)
        while not pending.done():
            await asyncio.sleep(0)
    (record,) = caplog.records
    assert "prices.quote" in record.getMessage()


async def test_an_open_callback_is_told_when_the_bus_closes() -> None:
    got: list[Exception] = []
    async with shop() as s:
        s.may_answer.clear()
        s.bus.request_later(quotes, Ask("tea"), on_reply=print, on_error=got.append)
        await s.asked.wait()
        await s.requests.close()
    assert [type(error) for error in got] == [Disconnected]


async def test_a_request_inside_a_transaction_is_refused(tmp_path: object) -> None:
    bus = Bus(f"sqlite:///{tmp_path}/bus.db")

    @bus.respond(quotes)
    def quote(ask: Ask) -> Price:
        return Price(1.0)

    async with bus.running():
        async with bus.transaction():
            with pytest.raises(ConfigurationError, match="outside"):
                await bus.request(quotes, Ask("tea"))
        assert await bus.request(quotes, Ask("tea")) == Price(1.0)
