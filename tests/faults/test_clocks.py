"""A wall clock that jumps (F-31). What is due is due by the store's clock, which slows down rather than go back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from waystation._core.delivery import ACCEPT, Receipt, Retry
from waystation._core.message import Message
from waystation._core.ports import Feed
from waystation._runtime.clock import SystemClock
from waystation.transports.sqlite import SqliteTransport
from waystation.transports.sqlite import feed as feeds

from .store import info, opened
from .worker import SUBSCRIPTION, TEXT, TOPIC

HOUR_S = 3600.0


class JumpingClock(SystemClock):
    """A wall clock that a test sets; what is measured goes on as it should."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def time(self) -> float:
        """Unix seconds, and what was added to them."""
        return SystemClock.time() + self.offset_s


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


async def send(transport: SqliteTransport, *ids: str, due: float | None = None) -> None:
    messages = [Message(id_, TOPIC, b"x", content_type=TEXT, deliver_at=due) for id_ in ids]
    assert all(isinstance(outcome, Receipt) for outcome in await transport.send(messages))


async def comes(feed: Feed, within_s: float = 5.0) -> list[str]:
    """What comes next; it is accepted."""
    async with asyncio.timeout(within_s):
        deliveries = await feed.receive(10)
    await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
    return [delivery.message.id for delivery in deliveries]


async def nothing_comes(feed: Feed, for_s: float = 1.2) -> None:
    """Not even after the time at which an idle receiver looks again."""
    with pytest.raises(TimeoutError):
        await comes(feed, for_s)


async def test_what_is_scheduled_comes_when_the_clock_jumps_over_its_time(
    tmp_path: Path, clock: JumpingClock
) -> None:
    async with opened(tmp_path / "bus.db", clock) as transport:
        feed = await transport.open_feed(SUBSCRIPTION)
        await send(transport, "later", due=clock.time() + HOUR_S)
        await nothing_comes(feed)
        clock.offset_s = HOUR_S + 1
        assert await comes(feed) == ["later"]


async def test_what_is_scheduled_does_not_come_early_when_the_clock_jumps_back(
    tmp_path: Path, clock: JumpingClock
) -> None:
    async with opened(tmp_path / "bus.db", clock) as transport:
        feed = await transport.open_feed(SUBSCRIPTION)
        await send(transport, "later", due=clock.time() + HOUR_S)
        clock.offset_s = -HOUR_S
        await nothing_comes(feed)
        await send(transport, "now")
        assert await comes(feed) == ["now"]


async def test_a_clock_that_jumps_forward_ends_leases_and_loses_nothing(
    tmp_path: Path, clock: JumpingClock
) -> None:
    async with opened(tmp_path / "bus.db", clock) as transport, opened(tmp_path / "bus.db", clock) as other:
        feed = await transport.open_feed(SUBSCRIPTION)
        await send(transport, "a")
        (taken,) = await feed.receive(1)
        clock.offset_s = HOUR_S
        (again,) = await (await other.open_feed(SUBSCRIPTION)).receive(1)
        assert (again.message.id, again.attempt) == (taken.message.id, 2)


async def test_a_clock_that_jumps_back_takes_no_lease_away(tmp_path: Path, clock: JumpingClock) -> None:
    async with opened(tmp_path / "bus.db", clock) as transport, opened(tmp_path / "bus.db", clock) as other:
        feed = await transport.open_feed(SUBSCRIPTION)
        await send(transport, "a")
        taken = await feed.receive(1)
        clock.offset_s = -HOUR_S
        await nothing_comes(await other.open_feed(SUBSCRIPTION))
        await feed.extend(taken)
        await feed.settle([(delivery, ACCEPT) for delivery in taken])
        assert (await info(other)).lag == 0


async def test_a_retry_waits_for_its_delay_and_not_for_the_clock_that_jumped_back(
    tmp_path: Path, clock: JumpingClock
) -> None:
    async with opened(tmp_path / "bus.db", clock) as transport:
        feed = await transport.open_feed(SUBSCRIPTION)
        await send(transport, "a")
        taken = await feed.receive(1)
        clock.offset_s = -HOUR_S
        await feed.settle([(delivery, Retry(0.5)) for delivery in taken])
        assert await comes(feed) == ["a"]


async def test_a_lease_ends_after_its_time_also_when_the_clock_has_jumped_back(
    tmp_path: Path, clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "LEASE_S", 0.5)
    async with opened(tmp_path / "bus.db", clock) as transport, opened(tmp_path / "bus.db", clock) as other:
        feed = await transport.open_feed(SUBSCRIPTION)
        await send(transport, "a")
        await feed.receive(1)
        clock.offset_s = -HOUR_S
        assert await comes(await other.open_feed(SUBSCRIPTION)) == ["a"]
