"""A bridge keeps copying: at least once, with stable ids, over deaths, and while its target is away."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.moving.town import SPEED, TOPIC, Life, MortalFeed, declare, handled, message, send
from waystation._core.capabilities import Capabilities
from waystation._core.delivery import Delivery, SendOutcome, Settlement
from waystation._core.errors import Disconnected
from waystation._core.inspection import Inspector
from waystation._core.message import Message
from waystation._core.ports import Feed, Subscription, Transport
from waystation._core.url import parse_url
from waystation._moving.bridge import Bridge, Copied, Ends
from waystation._moving.copying import TRAIL
from waystation._moving.media import mark_of, opened
from waystation._runtime.resolve import find_gate
from waystation.testing import ScaledClock
from waystation.transports.memory import MemoryTransport
from waystation.transports.sqlite import SqliteTransport

GROUP = "bridge-there"


class Stand:
    """Two media with a bridge between them."""

    def __init__(self, source: Transport, target: Transport, clock: ScaledClock) -> None:
        self.source, self.target, self.clock = source, target, clock

    def bridge(self, *, patterns: tuple[str, ...] = ("orders.#",), back: bool = False) -> Bridge:
        source, target = (self.target, self.source) if back else (self.source, self.target)
        marks = ("there", "here") if back else ("here", "there")
        ends = Ends(
            source=source, target=target, source_mark=marks[0], target_mark=marks[1],
            group=f"bridge-{marks[1]}", patterns=patterns,
        )  # fmt: skip
        return Bridge(ends, clock=self.clock)

    async def until_settled(self, count: int = 0) -> None:
        """Wait until the bridge owes no more than so many."""
        assert isinstance(self.source, Inspector)
        async with asyncio.timeout(10):
            while sum(info.lag for info in await self.source.groups() if info.group == GROUP) > count:
                await self.clock.sleep(0.2)


@asynccontextmanager
async def stand(folder: Path, target: type[MemoryTransport] | None = None) -> AsyncIterator[Stand]:
    clock = ScaledClock(SPEED)
    source = SqliteTransport(str(folder / "source.db"), clock=clock)
    there = target(clock) if target else SqliteTransport(str(folder / "target.db"), clock=clock)
    for each in (source, there):
        await each.open()
    try:
        yield Stand(source, there, clock)
    finally:
        for each in (source, there):
            await each.close()


async def stopped(bridge: Bridge, running: asyncio.Task[Copied]) -> Copied:
    bridge.stop()
    return await running


async def test_what_is_published_is_copied_as_it_is(tmp_path: Path) -> None:
    async with stand(tmp_path) as here:
        await send(here.source, [message(1, key="k", headers={"n": "ä"}), message(2, "invoices.sent")])
        await declare(here.target, ("billing", TOPIC))
        bridge = here.bridge()
        running = asyncio.create_task(bridge.run())
        await send(here.source, [message(3, "orders.paid.late")])
        await here.until_settled()
        async with asyncio.timeout(10):
            while bridge.copied.copied < 2:
                await here.clock.sleep(0.2)
        assert await stopped(bridge, running) == Copied(copied=2)
        assert isinstance(here.target, Inspector)
        ((_, first),) = await here.target.browse(TOPIC, start="earliest", limit=10)
        assert first == message(1, key="k", headers={"n": "ä", TRAIL: "here"}, dedupe_key="m-1")
        assert [info.name for info in await here.target.topics()] == ["orders.paid.late", TOPIC]


async def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    async with stand(tmp_path) as here:
        await declare(here.target, ("billing", TOPIC))
        for number in range(3):
            bridge = here.bridge()
            running = asyncio.create_task(bridge.run())
            await send(here.source, [message(number)])
            async with asyncio.timeout(10):
                while not bridge.copied.copied:
                    await here.clock.sleep(0.2)
            assert await stopped(bridge, running) == Copied(copied=1)
        assert sorted(await handled(here.target, "billing", TOPIC)) == ["m-0", "m-1", "m-2"]


async def test_one_that_is_cut_off_loses_nothing_and_the_target_knows_what_it_had(tmp_path: Path) -> None:
    async with stand(tmp_path) as here:
        await declare(here.source, (GROUP, "orders.#"))
        await declare(here.target, ("billing", TOPIC))
        await send(here.source, [message(number) for number in range(10)])
        deaf = Deaf(str(tmp_path / "source.db"), clock=here.clock)
        await deaf.open()
        first = Stand(deaf, here.target, here.clock).bridge()
        running = asyncio.create_task(first.run())
        async with asyncio.timeout(10):
            while first.copied.copied < 10:
                await here.clock.sleep(0.2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await deaf.close()
        second = here.bridge()
        running = asyncio.create_task(second.run())
        async with asyncio.timeout(10):
            while second.copied.copied < 10:
                await here.clock.sleep(0.2)
        assert await stopped(second, running) == Copied(copied=10, known=10)
        assert len(await handled(here.target, "billing", TOPIC)) == 10


class Deaf(SqliteTransport):
    """A source whose settlements never come through."""

    async def open_feed(self, subscription: Subscription, /) -> Feed:
        return DeafFeed(await super().open_feed(subscription), Life(float("inf"), happens=True))


class DeafFeed(MortalFeed):
    """Its feed."""

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]], /) -> None:
        await asyncio.Event().wait()


async def test_a_target_that_is_away_is_waited_for_and_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "waystation.bridge")
    async with stand(tmp_path, Moody) as here:
        assert isinstance(here.target, Moody)
        here.target.away = True
        await declare(here.target, ("billing", TOPIC))
        bridge = here.bridge()
        running = asyncio.create_task(bridge.run())
        await send(here.source, [message(number, key="k") for number in range(5)])
        async with asyncio.timeout(10):
            while here.target.tries < 4:
                await here.clock.sleep(0.2)
        here.target.away = False
        async with asyncio.timeout(10):
            while bridge.copied.copied < 5:
                await here.clock.sleep(0.2)
        await stopped(bridge, running)
        assert await handled(here.target, "billing", TOPIC) == [f"m-{number}" for number in range(5)]
        assert [record.getMessage() for record in caplog.records] == [
            "the target takes nothing: nobody is there; trying again until it does",
            "the target is back",
        ]


async def test_what_is_not_copied_when_it_stops_is_given_back(tmp_path: Path) -> None:
    async with stand(tmp_path, Moody) as here:
        assert isinstance(here.target, Moody)
        here.target.away = True
        bridge = here.bridge()
        running = asyncio.create_task(bridge.run())
        await send(here.source, [message(1)])
        async with asyncio.timeout(10):
            while here.target.tries < 2:
                await here.clock.sleep(0.2)
        assert await stopped(bridge, running) == Copied()
        assert isinstance(here.source, Inspector)
        (info,) = [each for each in await here.source.groups() if each.group == GROUP]
        assert (info.ready, info.in_flight) == (1, 0)


class Moody(MemoryTransport):
    """A target that is away at times."""

    away = False
    tries = 0

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        self.tries += 1
        if self.away:
            raise Disconnected("nobody is there")
        return await super().send(messages)


async def test_what_the_target_never_takes_is_a_dead_letter(tmp_path: Path) -> None:
    async with stand(tmp_path, Narrow) as here:
        bridge = here.bridge()
        running = asyncio.create_task(bridge.run())
        await send(here.source, [message(1), message(12)])
        await here.until_settled()
        async with asyncio.timeout(10):
            while bridge.copied.refused + bridge.copied.copied < 2:
                await here.clock.sleep(0.2)
        assert await stopped(bridge, running) == Copied(copied=1, refused=1)
        assert isinstance(here.source, Inspector)
        (dead,) = await here.source.dead(group=GROUP)
        assert (dead.message.id, dead.reason) == ("m-c", "the target of the bridge does not take it")
        assert "its body has 2 bytes; at most 1 can be sent there" in dead.detail


class Narrow(MemoryTransport):
    """A target that takes small messages only."""

    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(super().capabilities, message_bytes_max=1)


async def test_two_bridges_in_a_circle_send_nothing_back(tmp_path: Path) -> None:
    async with stand(tmp_path) as here:
        there, back = here.bridge(), here.bridge(back=True)
        running = [asyncio.create_task(each.run()) for each in (there, back)]
        await send(here.source, [message(1)])
        async with asyncio.timeout(10):
            while not back.copied.returned:
                await here.clock.sleep(0.2)
        for each in (there, back):
            each.stop()
        assert await asyncio.gather(*running) == [Copied(copied=1), Copied(returned=1)]


async def test_a_medium_is_known_by_its_place_and_not_by_its_secrets() -> None:
    assert mark_of("tcp://user:secret@store:7400?token=a") == mark_of("tcp://store:7400")
    assert mark_of("sqlite:///a.db") != mark_of("sqlite:///b.db")


async def test_over_tcp_too(tmp_path: Path) -> None:
    async with stand(tmp_path, MemoryTransport) as here:
        await declare(here.target, ("billing", TOPIC))
        gate = find_gate(parse_url("tcp://127.0.0.1:0"))
        await gate.open(here.target)
        async with opened(gate.address, clock=here.clock) as client:
            bridge = Stand(here.source, client, here.clock).bridge()
            running = asyncio.create_task(bridge.run())
            await send(here.source, [message(number) for number in range(20)])
            async with asyncio.timeout(10):
                while bridge.copied.copied < 20:
                    await here.clock.sleep(0.2)
            await stopped(bridge, running)
        await gate.close()
        assert len(await handled(here.target, "billing", TOPIC)) == 20
