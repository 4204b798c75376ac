"""`ServedChannel` with a feed that does what a test says: what is taken while the client cannot hear is said later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from waystation._core.delivery import Delivery, Settlement, first_deliveries
from waystation._core.errors import StoreUnavailable
from waystation._core.limits import BATCH_BYTES_MAX
from waystation._core.message import Message
from waystation._core.packed import unpack
from waystation._peer.channel import ServedChannel, deliver_frames
from waystation._wire.frames import Credit, Deliver, Ended, Frame

from .stand import until


@dataclass
class Pipe:
    """A feed that gives what is put into it, and a client that hears when it may."""

    hears: bool = True
    said: list[Frame] = field(default_factory=list)
    queue: asyncio.Queue[Sequence[Delivery] | Exception] = field(default_factory=asyncio.Queue)
    waiting: bool = False

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        self.waiting = True
        got = await self.queue.get()
        self.waiting = False
        if isinstance(got, Exception):
            raise got
        return got

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        raise NotImplementedError

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]], /) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        self.hears = False

    def numbers(self) -> list[int]:
        """The numbers of all deliveries that were said, in order."""
        found: list[int] = []
        for frame in self.said:
            if isinstance(frame, Deliver):
                found += range(frame.first, frame.first + len(frame.batch))
        return found


@asynccontextmanager
async def channel(pipe: Pipe) -> AsyncIterator[ServedChannel]:
    def say(frame: Frame) -> None:
        if pipe.hears:
            pipe.said.append(frame)

    made = ServedChannel(1, pipe, mailbox=False, say=say, flush=lambda: None, hears=lambda: pipe.hears)
    made.credit(Credit(1, 0, 100))
    try:
        yield made
    finally:
        await made.close()


def deliveries(*ids: str, body: bytes = b"") -> Sequence[Delivery]:
    messages = [Message(id_, "work", body) for id_ in ids]
    return first_deliveries(messages, range(len(messages)), "token")


async def test_what_came_while_the_client_took_nothing_is_said_when_it_does() -> None:
    """The feed was being waited for when the connection became full."""
    pipe = Pipe()
    async with channel(pipe) as served:
        await until(lambda: pipe.waiting, "it waits for the feed")
        pipe.hears = False
        pipe.queue.put_nowait(deliveries("a", "b"))
        await until(lambda: len(served.unsettled) == 2, "it has taken them")
        assert pipe.numbers() == []
        pipe.hears = True
        served.ring()
        assert pipe.numbers() == [0, 1]
        await until(lambda: pipe.waiting, "it waits for more")
        pipe.queue.put_nowait(deliveries("c"))
        await until(lambda: len(pipe.numbers()) > 2, "it is said")
        assert pipe.numbers() == [0, 1, 2]


async def test_a_feed_that_breaks_while_its_client_is_away_is_told_when_it_comes_back() -> None:
    pipe = Pipe()
    async with channel(pipe) as served:
        await until(lambda: pipe.waiting, "it waits for the feed")
        pipe.hears = False
        pipe.queue.put_nowait(StoreUnavailable("the disk is gone"))
        await until(lambda: served._last, "it has broken")
        assert pipe.said == []
        pipe.hears = True
        served.resume(0)
        assert pipe.said == [Ended(1, "StoreUnavailable", "the disk is gone")]


async def test_a_client_that_comes_back_is_told_what_it_has_not_had_and_no_more() -> None:
    pipe = Pipe()
    async with channel(pipe) as served:
        await until(lambda: pipe.waiting, "it waits for the feed")
        pipe.queue.put_nowait(deliveries("a", "b", "c"))
        await until(lambda: len(pipe.numbers()) == 3, "all are said")
        served.drop([1])
        pipe.said.clear()
        served.resume(1)
        assert pipe.numbers() == [2]


@pytest.mark.parametrize(("size", "frames"), [(10, 1), (BATCH_BYTES_MAX // 3, 2), (BATCH_BYTES_MAX + 1, 5)])
def test_large_deliveries_travel_in_frames_of_their_own(size: int, frames: int) -> None:
    numbered = list(enumerate(deliveries(*"abcde", body=bytes(size)), 7))
    made = list(deliver_frames(1, numbered))
    assert len(made) == frames
    assert [message.id for frame in made for message in unpack(frame.batch)] == list("abcde")
    assert [frame.first for frame in made] == [
        7 + sum(len(each.batch) for each in made[:place]) for place in range(frames)
    ]
