"""`bus.repeat`: messages that recur, published once at each time, whoever is there."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.runtime.shop import Bill, Order, a_bus, bills, orders, until
from waystation import (
    Bus,
    Capabilities,
    ConfigurationError,
    Delivery,
    Durability,
    EncodeError,
    Message,
    Router,
    Topic,
    UnsupportedCapability,
)
from waystation._runtime.current import CURRENT
from waystation.testing import VirtualClock

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
DAY = 86_400.0


def heard_by(bus: Bus) -> list[Message]:
    """Let a handler of the bus keep what comes."""
    heard: list[Message] = []

    @bus.subscribe(orders, group="billing")
    async def keep(order: Order, message: Message) -> None:
        heard.append(message)

    return heard


def times_of(messages: list[Message]) -> list[datetime]:
    return [datetime.fromtimestamp(message.deliver_at or 0.0, UTC) for message in messages]


# --- publishing --------------------------------------------------------------------------------------------------


async def test_a_message_comes_by_the_clock_of_a_town() -> None:
    clock = VirtualClock((MONDAY + timedelta(hours=7, minutes=59)).timestamp())
    bus = a_bus(clock)
    heard = heard_by(bus)
    bus.repeat(orders, Order(7), cron="0 9 * * MON-FRI", tz="Europe/Berlin", name="morning", key="k")
    async with bus.running():
        await clock.advance(59.999)
        assert not heard
        await clock.advance(0.001)
        (kept,) = await bus.inspector().recurring()
    assert times_of(heard) == [MONDAY + timedelta(hours=8)]
    assert (heard[0].id, heard[0].body) == ("morning@2026-11-02T08:00:00.000Z", b'{"number":7}')
    assert (heard[0].key, heard[0].time) == ("k", clock.time())
    assert kept.due == clock.time() + DAY


async def test_an_interval_begins_with_its_declaration_and_outlives_a_restart() -> None:
    clock = VirtualClock()
    bus = a_bus(clock)
    heard = heard_by(bus)
    bus.repeat(orders, Order(1), every="10s")
    async with bus.running():
        await clock.advance(9)
        assert not heard
        await clock.advance(16)
        assert len(heard) == 2
    async with bus.running():
        await clock.advance(5)
        assert len(heard) == 3, "at 30, not 10 s after the restart"


async def test_a_body_can_be_made_from_its_time() -> None:
    clock = VirtualClock(MONDAY.timestamp())
    bus, seen = a_bus(clock), list[datetime]()
    heard = heard_by(bus)

    def body(moment: datetime) -> Order:
        seen.append(moment)
        return Order(moment.hour)

    bus.repeat(orders, body, cron="35 5 * * *", tz="Asia/Kolkata", expires="1h")
    async with bus.running():
        assert not seen
        await clock.advance(300)
    assert seen == [datetime(2026, 11, 2, 5, 35, tzinfo=ZoneInfo("Asia/Kolkata"))]
    assert heard[0].body == b'{"number":5}'
    assert heard[0].expires_at == heard[0].time + 3600


async def test_it_follows_from_no_message_even_if_a_handler_started_it() -> None:
    clock = VirtualClock()
    bus = a_bus(clock)
    heard = heard_by(bus)
    bus.repeat(orders, Order(1), every="10s")
    CURRENT.set(Delivery.of(Message("cause", "orders.asked", b""), 1, None))
    async with bus.running():
        await clock.advance(10)
    assert (heard[0].causation_id, heard[0].correlation_id) == (None, None)


@pytest.mark.parametrize(("missed", "expected"), [("skip", 0), ("once", 1), ("all", 3)])
async def test_what_nobody_was_there_for_is_as_was_wished(missed: Any, expected: int) -> None:
    clock = VirtualClock()
    bus = a_bus(clock)
    heard = heard_by(bus)
    bus.repeat(orders, Order(1), every="1h", missed=missed)
    async with bus.running():
        await clock.advance(3600)
    assert len(heard) == 1
    await clock.advance(3 * 3600 + 1800)
    async with bus.running():
        await clock.advance(1)
        assert len(heard) == 1 + expected
        await clock.advance(1800)
        assert len(heard) == 2 + expected


async def passes(clock: VirtualClock, condition: Any) -> None:
    """Let work in threads and other processes' bells come in, while no virtual time passes."""
    while not condition():
        await clock.advance(0)


async def test_of_several_processes_one_publishes(tmp_path: Path) -> None:
    clock = VirtualClock()
    buses = [Bus(f"sqlite:///{tmp_path}/bus.db", clock=clock) for _ in range(3)]
    heards = []
    for bus in buses:
        heards.append(heard_by(bus))
        bus.repeat(orders, Order(1), every="10s", name="tick")
    async with contextlib.AsyncExitStack() as stack:
        running = [await stack.enter_async_context(bus.running()) for bus in buses]
        for count in range(1, 6):
            await clock.advance(10)
            await passes(clock, lambda count=count: sum(map(len, heards)) >= count)
        (kept,) = await running[0].inspector().recurring()
        assert kept.due == clock.time() + 10
        found = await running[0].inspector().browse("orders.placed", start="earliest", limit=100)
    times = sorted(message.deliver_at or 0.0 for _, message in found)
    assert times == [clock.time() - 10 * back for back in (4, 3, 2, 1, 0)]


async def test_who_dies_leaves_it_to_who_comes(tmp_path: Path) -> None:
    clock = VirtualClock()

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[list[Message]]:
        bus = Bus(f"sqlite:///{tmp_path}/bus.db", clock=clock)
        heard = heard_by(bus)
        bus.repeat(orders, Order(1), every="10s")
        async with bus.running():
            yield heard

    async with running() as first:
        await clock.advance(10)
        await passes(clock, lambda: len(first) == 1)
    async with running() as second:
        await clock.advance(10)
        await passes(clock, lambda: len(second) == 1)
    assert second[0].deliver_at == (first[0].deliver_at or 0) + 10


async def test_a_changed_time_replaces_the_old_one_and_who_has_the_old_one_stands_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    old, new = (Bus(f"sqlite:///{tmp_path}/bus.db", clock=clock) for _ in range(2))
    heard = heard_by(old)
    old.repeat(orders, Order(1), every="10s")
    new.repeat(orders, Order(2), every="1m")
    async with old.running(), new.running():
        await clock.advance(59)
        await passes(clock, lambda: "declared otherwise elsewhere" in caplog.text)
        assert not heard
        await clock.advance(1)
        await passes(clock, lambda: len(heard) == 1)
    assert heard[0].body == b'{"number":2}'


async def test_removed_it_stops_and_declared_again_it_comes_back() -> None:
    clock = VirtualClock()
    bus = a_bus(clock)
    heard = heard_by(bus)
    bus.repeat(orders, Order(1), every="10s")
    async with bus.running():
        assert await bus.inspector().remove_recurring("orders.placed")
        await clock.advance(60)
        assert not heard
        assert await bus.inspector().recurring() == []
    async with bus.running():
        await clock.advance(10)
        assert len(heard) == 1


async def test_a_wall_clock_that_is_set_is_noticed() -> None:
    """It never publishes before its time, and not more than a minute after."""

    class Wall(VirtualClock):
        ahead_s = 0.0

        def time(self) -> float:
            return super().time() + self.ahead_s

    clock = Wall(MONDAY.timestamp())
    bus = a_bus(clock)
    heard = heard_by(bus)
    bus.repeat(orders, Order(1), cron="0 1 * * *")
    async with bus.running():
        await clock.advance(1800)
        clock.ahead_s = -1800
        await clock.advance(1800)
        assert not heard
        clock.ahead_s = 1800
        await clock.advance(60)
        assert times_of(heard) == [MONDAY + timedelta(hours=1)]


# --- what goes wrong ---------------------------------------------------------------------------------------------


async def test_a_body_that_cannot_be_made_is_tried_again_and_nothing_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = VirtualClock()
    bus, calls = a_bus(clock), list[datetime]()
    heard = heard_by(bus)

    def body(moment: datetime) -> Order:
        calls.append(moment)
        if len(calls) < 4:
            raise LookupError("no rates yet")
        return Order(1)

    bus.repeat(orders, body, every="1h")
    with caplog.at_level(logging.ERROR):
        async with bus.running():
            await clock.advance(3600)
            await clock.advance(10)
            assert len(heard) == 1
    assert len(set(calls)) == 1
    assert "no rates yet" in caplog.text


async def test_a_body_of_another_type_is_refused_when_the_bus_starts() -> None:
    bus = a_bus()
    bus.repeat("orders.placed", object(), every="1h")
    with pytest.raises(EncodeError):
        async with bus.running():
            pass
    assert bus._connection is None


async def test_a_transport_that_cannot_is_refused_before_any_io() -> None:
    class Plain:
        capabilities = Capabilities(name="plain", send=Durability.SENT, groups=True)

    bus = a_bus()
    bus.repeat(orders, Order(1), every="1h")
    transports: list[Any] = [Plain()]  # it has nothing else: it is refused before
    bus._transports = transports
    with pytest.raises(
        UnsupportedCapability, match=r"repeat\(name='orders.placed'\) needs a transport that keeps"
    ):
        async with bus.running():
            pass


def test_two_of_one_name_are_refused_also_from_a_router() -> None:
    bus, router = a_bus(), Router()
    bus.repeat(orders, Order(1), every="1h")
    with pytest.raises(ConfigurationError, match="two recurring messages are named"):
        bus.repeat(orders, Order(2), every="2h")
    router.repeat(orders, Order(2), every="2h")
    with pytest.raises(ConfigurationError, match="give one of them name="):
        bus.include(router)
    other = Router()
    other.repeat(bills, Bill(1), every="2h")
    bus.include(other)
    assert [spec.name for spec in bus._repeats] == ["orders.placed", "bills.written"]


@pytest.mark.parametrize(
    ("topic", "options", "sentence"),
    [
        (orders, {}, "say when"),
        (orders, {"every": "1h", "missed": "never"}, "'skip', 'once', 'all'"),
        (orders, {"every": "1h", "name": "night job"}, "is not a recurring message's name"),
        (orders, {"every": "1h", "key": 5}, "use key=str"),
        (orders, {"every": "1h", "headers": {"a": "b\n"}}, "line break"),
        (orders, {"every": "1h", "expires": "-1s"}, "is not a duration"),
        (Topic("orders.*", Order), {"every": "1h"}, "is not a topic name"),
        (None, {"every": "1h"}, "is not a Topic"),
    ],
)
def test_what_is_wrong_is_refused_where_it_is_declared(topic: Any, options: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        a_bus().repeat(topic, Order(1), **options)


async def test_a_bus_that_only_repeats_can_be_run() -> None:
    clock = VirtualClock()
    bus = a_bus(clock)
    bus.repeat(orders, Order(1), every="10s")
    running = asyncio.create_task(bus.run())
    await until(lambda: bus._connection is not None)
    await clock.advance(10)
    (topic,) = await bus.inspector().topics()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert topic.messages == 1
