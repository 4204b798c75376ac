"""Questions and answers: each to who asked, whole and in order, and nothing is left when nobody waits any more."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from waystation import Endpoint, RequestFailed, RequestTimeout, StreamEndpoint

from ..._core.delivery import ACCEPT, Delivery, Receipt
from ..._core.message import Message
from ..._core.ports import AnsweringFeed, Asking, Feed, Subscription, Transport
from ..._core.question import Reply, Told
from ..clock import MovableClock
from ..embedded import EmbeddedBus
from .rules import rule
from .world import PATIENCE_S, Suite, ids, until

TIMEOUTS = 10_000
CANCELS = 10_000
STREAMS = 200

#: How many ask at once.
ASKERS = 1000

#: Questions that a responder takes straight away.
HANDS = 7

_SEED = 20_260

_ENDPOINT = "talk.desk"

_echo = Endpoint("talk.echo", str, str)
_slow = Endpoint("talk.slow", str, str)
_count = StreamEndpoint("talk.count", int, int)


@dataclass
class _Talk:
    """A bus that answers itself."""

    bus: EmbeddedBus
    clock: MovableClock
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    over: int = 0

    async def silence(self) -> None:
        """Wait until nobody waits for anything, and every handler that began is over."""
        await until(
            lambda: self.bus.waiting_requests == 0 and self.begun == self.over, "nobody waits any more"
        )


class Replying(Suite):
    """C-30, and C-36 for requests."""

    @rule(30)
    async def test_c30_replies_keep_the_order_of_sending(self) -> None:
        """To one address, from one sender."""
        async with self.world() as world:
            feed = await world.transport.open_feed(Subscription(pattern="_reply.mine", group=None))
            sent = [world.message(b"%d" % number, topic="_reply.mine") for number in range(500)]
            for start in range(0, 500, 50):
                await world.send(*sent[start : start + 50])
            assert await _bodies(feed, 500) == [message.body for message in sent]
            await feed.close()

    @pytest.mark.timeout(120)
    @rule(30)
    async def test_c30_ten_thousand_timeouts_leave_nothing_behind(self) -> None:
        """Each is told so in time; each late answer is dropped and counted, and the next request is answered."""
        async with self.talk() as talk:
            tasks = len(asyncio.all_tasks())
            for _ in range(0, TIMEOUTS, ASKERS):
                talk.may_answer.clear()
                asking = [
                    asyncio.ensure_future(talk.bus.request(_slow, "late", timeout=5)) for _ in range(ASKERS)
                ]
                await until(lambda: talk.begun > talk.over, "a handler has begun")
                await talk.clock.advance(5.1)
                outcomes = await asyncio.gather(*asking, return_exceptions=True)
                assert {type(outcome) for outcome in outcomes} == {RequestTimeout}
                talk.may_answer.set()
                await until(lambda: talk.bus.late_replies == talk.over == talk.begun, "each was too late")
            await talk.silence()
            assert await talk.bus.request(_echo, "in time") == "in time"
            assert (
                len(asyncio.all_tasks()) <= tasks + 4
            )  # who reads the replies, here and at a server on this loop

    @rule(30)
    async def test_c30_what_is_asked_is_told_of_once_and_reaches_its_responder_by_one_way(self) -> None:
        """Straight, where a transport is `Asking` and its feed answers, and he has a hand free; else sent."""
        async with self.world() as world:
            feed = await world.feed(group=_ENDPOINT, pattern=_ENDPOINT)
            straight: list[Delivery] = []
            if isinstance(feed, AnsweringFeed):
                feed.offer(_some_hands(straight))
            asked = [world.message(topic=_ENDPOINT, reply_to="_reply.mine") for _ in range(50)]
            told: dict[str, list[Told]] = {question.id: [] for question in asked}
            for question in asked:
                _ask(world.transport, question, told[question.id].append)
            sent = await world.take(feed, len(asked) - len(straight))
            for delivery in straight:
                assert isinstance(feed, AnsweringFeed)
                assert feed.answer(delivery, Reply(delivery.message.id.encode()))
            await until(lambda: all(told.values()), "all are told of")
            await feed.settle([(delivery, ACCEPT) for delivery in (*straight, *sent)])
            assert sorted(ids([*straight, *sent])) == sorted(told)
            assert {len(each) for each in told.values()} == {1}
            for delivery in straight:
                assert told[delivery.message.id] == [Reply(delivery.message.id.encode())]
            assert all(isinstance(told[each.message.id][0], Receipt) for each in sent)
            await world.nothing_comes(feed, topic=_ENDPOINT)

    @rule(30, "redelivers_unsettled")
    async def test_c30_what_a_responder_has_not_answered_when_it_leaves_comes_to_the_next(self) -> None:
        """By whichever way it came; who asked knows that its answer comes as a message."""
        async with self.world() as world:
            feed = await world.feed(group=_ENDPOINT, pattern=_ENDPOINT)
            straight: list[Delivery] = []
            if isinstance(feed, AnsweringFeed):
                feed.offer(_some_hands(straight))
            asked = [world.message(topic=_ENDPOINT, reply_to="_reply.mine") for _ in range(10)]
            told: list[Told] = []
            for question in asked:
                _ask(world.transport, question, told.append)
            await world.take(feed, len(asked) - len(straight))
            await feed.close()
            await until(lambda: len(told) == len(asked), "all are told of")
            assert {type(each) for each in told} == {Receipt}
            after = await world.feed(group=_ENDPOINT, pattern=_ENDPOINT)
            again = await world.take(after, len(asked))
            assert {delivery.attempt for delivery in again} == {1}
            assert sorted(ids(again)) == sorted(each.id for each in asked)
            await after.settle([(delivery, ACCEPT) for delivery in again])
            await world.nothing_comes(after, topic=_ENDPOINT)

    @rule(30)
    async def test_c30_a_streamed_reply_is_whole_and_in_order(self) -> None:
        """Whatever its length, beside others, and up to its error."""
        async with self.talk() as talk:
            lengths = [0, 1, 2, 63, 64, 65, 1000]
            streams = [talk.bus.request_stream(_count, length) for length in lengths]

            async def read(number: int) -> list[int]:
                return [part async for part in streams[number]]

            found = await asyncio.gather(*map(read, range(len(streams))))
            assert found == [list(range(length)) for length in lengths]
            failing = talk.bus.request_stream(_count, -3)
            assert [await anext(failing) for _ in range(3)] == [0, 1, 2]
            with pytest.raises(RequestFailed, match="enough"):
                await anext(failing)
            await talk.silence()

    @rule(30)
    async def test_c30_an_abandoned_stream_stops_its_responder(self) -> None:
        """Wherever it was left."""
        async with self.talk() as talk:

            async def abandon(parts: int) -> None:
                async with aclosing(talk.bus.request_stream(_count, 10**9)) as stream:
                    for number in range(parts):
                        assert await anext(stream) == number

            for _ in range(0, STREAMS, 10):
                await asyncio.gather(*map(abandon, range(1, 101, 10)))
            await talk.silence()
            assert talk.begun == STREAMS

    @pytest.mark.timeout(120)
    @rule(36, "request_reply")
    async def test_c36_cancelled_requests_give_nobody_anothers_answer(self) -> None:
        """10,000 are cancelled at random moments, of two tenants: those that are answered get what they asked for."""
        dice = random.Random(_SEED)
        wrong: list[str] = []
        answered = cancelled = 0

        async def tenant(talk: _Talk, name: str) -> None:
            nonlocal answered, cancelled
            while cancelled < CANCELS:
                canaries = [f"{name} {dice.getrandbits(64):x}" for _ in range(50)]
                asking = [asyncio.ensure_future(talk.bus.request(_echo, canary)) for canary in canaries]
                for _ in range(dice.randrange(12)):
                    await asyncio.sleep(0)
                for task in asking:
                    if dice.random() < 0.8:
                        task.cancel()
                for canary, outcome in zip(
                    canaries, await asyncio.gather(*asking, return_exceptions=True), strict=True
                ):
                    if isinstance(outcome, asyncio.CancelledError):
                        cancelled += 1
                        continue
                    answered += 1
                    if outcome != canary:
                        wrong.append(f"{canary} got {outcome!r}")

        async with self.talk() as talk:
            await asyncio.gather(tenant(talk, "north"), tenant(talk, "south"))
            await talk.silence()
        assert not wrong
        assert answered > 0

    @asynccontextmanager
    async def talk(self) -> AsyncIterator[_Talk]:
        """Give a bus that answers itself."""
        clock = self.clock()
        talk = _Talk(EmbeddedBus.over(self.make(clock), clock=clock), clock)

        @talk.bus.respond(_echo, concurrency=100)
        async def echo(text: str) -> str:
            return text

        @talk.bus.respond(_slow, concurrency=8)
        async def slow(text: str) -> str:
            talk.begun += 1
            await talk.may_answer.wait()
            talk.over += 1
            return text

        @talk.bus.respond(_count, concurrency=50)
        async def count(length: int) -> AsyncIterator[int]:
            talk.begun += 1
            try:
                for number in range(abs(length)):
                    yield number
                if length < 0:
                    raise ValueError("enough")
            finally:
                talk.over += 1

        async with talk.bus.running(drain=0):
            yield talk


def _some_hands(taken: list[Delivery]) -> Callable[[Delivery], bool]:
    """Return a responder that takes the first questions that it is offered, and no more."""

    def take(delivery: Delivery) -> bool:
        has_room = len(taken) < HANDS
        if has_room:
            taken.append(delivery)
        return has_room

    return take


def _ask(transport: Transport, question: Message, done: Callable[[Told], None]) -> None:
    """Ask by the shortest way that a transport has."""
    if isinstance(transport, Asking):
        transport.ask(question, done)
        return
    sending = asyncio.ensure_future(transport.send([question]))
    sending.add_done_callback(lambda sent: done(sent.result()[0]))


async def _bodies(feed: Feed, count: int) -> list[bytes]:
    found: list[bytes] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            deliveries = await feed.receive(count)
            await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
            found += [delivery.message.body for delivery in deliveries]
    return found
