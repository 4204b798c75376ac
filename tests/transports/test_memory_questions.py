"""Questions that go straight to a responder of `memory://`: once, in order, and never lost for want of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from waystation._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Receipt, Retry
from waystation._core.errors import Disconnected, SettlementLost
from waystation._core.limits import LEASE_S
from waystation._core.message import Message
from waystation._core.ports import Subscription, Topology
from waystation._core.question import Reply, Told
from waystation.testing import VirtualClock
from waystation.transports.memory import MemoryTransport
from waystation.transports.memory.feed import GroupFeed

TOPIC = "prices.quote"
RESPONDER = Subscription(pattern=TOPIC, group=TOPIC)
TAP = Subscription(pattern="#", group="tap")
YES = Reply(b'"yes"')


def question(name: str, key: str | None = None, **fields: Any) -> Message:
    return Message(name, TOPIC, b'"?"', key=key, reply_to="_reply.mine", **fields)


@dataclass
class Desk:
    """A responder, and whoever asks him.

    Attributes:
        free: Questions that he takes, before he says no.
        hand: What he has taken.
        told: What became of questions, by name.
    """

    transport: MemoryTransport
    clock: VirtualClock
    free: int = 1000
    hand: list[Delivery] = field(default_factory=list)
    told: dict[str, list[Told]] = field(default_factory=dict)

    def ask(self, *questions: Message) -> None:
        for each in questions:
            self.transport.ask(each, self.told.setdefault(each.id, []).append)

    def take(self, delivery: Delivery) -> bool:
        if self.free <= len(self.hand):
            return False
        self.hand.append(delivery)
        return True

    async def feed(self) -> GroupFeed:
        """A feed whose questions come to hand."""
        feed = await self.transport.open_feed(RESPONDER)
        assert isinstance(feed, GroupFeed)
        feed.offer(self.take)
        return feed

    async def logged(self) -> list[str]:
        return [each.id for _, each in await self.transport.browse(TOPIC, start="earliest", limit=100)]

    async def info(self) -> tuple[int, int, int]:
        """Ready, in flight, waiting."""
        (info,) = [each for each in await self.transport.groups() if each.group == TOPIC]
        return info.ready, info.in_flight, info.waiting


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    clock = VirtualClock()
    made = Desk(MemoryTransport(clock), clock)
    await made.transport.open()
    await made.transport.declare(Topology((), (RESPONDER,)))
    yield made
    await made.transport.close()


def names(deliveries: list[Delivery] | tuple[Delivery, ...]) -> list[str]:
    return [each.message.id for each in deliveries]


async def test_a_question_and_its_answer_lie_in_no_log() -> None:
    async with desk() as d:
        feed = await d.feed()
        d.ask(question("q1"))
        assert names(d.hand) == ["q1"]
        assert d.told["q1"] == []
        assert await d.info() == (0, 1, 0), "it is in flight, for whoever looks"
        assert feed.answer(d.hand[0], YES)
        assert d.told["q1"] == [YES]
        assert await d.info() == (0, 0, 0)
        assert not await d.logged()


async def test_a_question_has_an_age_as_long_as_it_is_in_hand() -> None:
    async with desk() as d:
        await d.feed()
        d.ask(question("q1", time=d.clock.time()))
        await d.clock.advance(7)
        (info,) = await d.transport.groups()
        assert info.oldest_age_s == pytest.approx(7)


async def test_an_answer_is_given_once() -> None:
    async with desk() as d:
        feed = await d.feed()
        d.ask(question("q1"))
        assert feed.answer(d.hand[0], YES)
        assert not feed.answer(d.hand[0], YES)
        await feed.settle([(d.hand[0], ACCEPT)])
        await feed.settle([(d.hand[0], RELEASE)])
        await feed.extend(d.hand)
        assert d.told["q1"] == [YES]
        assert not feed.take(10)


@pytest.mark.parametrize(
    "fields", [{"deliver_at": 10.0**10}, {"deliver_at": 1.0}, {"dedupe_key": "once"}], ids=str
)
async def test_what_must_be_known_to_the_log_goes_there(fields: dict[str, Any]) -> None:
    async with desk() as d:
        await d.feed()
        d.ask(question("q1", **fields))
        assert not d.hand
        assert isinstance(d.told["q1"][0], Receipt)


async def test_a_question_twice_with_one_dedupe_key_is_asked_once() -> None:
    async with desk() as d:
        feed = await d.feed()
        d.ask(question("q1", dedupe_key="once"), question("q2", dedupe_key="once"))
        assert names(list(feed.take(10))) == ["q1"]
        (receipt,) = d.told["q2"]
        assert isinstance(receipt, Receipt)
        assert receipt.duplicate


async def test_for_a_responder_without_a_free_hand_questions_wait_in_their_order() -> None:
    async with desk() as d:
        feed = await d.feed()
        d.free = 1
        d.ask(question("q1"), question("q2"))
        d.free = 3
        d.ask(question("q3"))
        assert names(d.hand) == ["q1"]
        assert await d.logged() == ["q2", "q3"], "what waits is not overtaken"
        assert isinstance(d.told["q2"][0], Receipt)
        assert names(list(feed.take(10))) == ["q2", "q3"]
        d.ask(question("q4"))
        assert names(d.hand) == ["q1", "q4"]


async def test_without_a_responder_or_with_two_or_with_a_witness_a_question_is_sent() -> None:
    async with desk() as d:
        d.ask(question("q1"))
        feed, other = await d.feed(), await d.feed()
        feed.take(10)
        d.ask(question("q2"))
        await other.close()
        feed.take(10)
        d.ask(question("q3"))
        await d.transport.declare(Topology((), (TAP,)))
        d.ask(question("q4"))
        assert names(d.hand) == ["q3"]
        assert await d.logged() == ["q1", "q2", "q4"]


async def test_a_feed_that_takes_no_questions_gets_them_as_messages() -> None:
    async with desk() as d:
        feed = await d.transport.open_feed(RESPONDER)
        d.ask(question("q1"))
        (delivery,) = await feed.receive(10)
        assert isinstance(feed, GroupFeed)
        assert not feed.answer(delivery, YES), "what lies in the log has a reply address"
        await feed.settle([(delivery, ACCEPT)])


async def test_what_is_asked_of_a_closed_transport_is_refused() -> None:
    async with desk() as d:
        await d.feed()
        await d.transport.close()
        d.ask(question("q1"))
        assert isinstance(d.told["q1"][0], Disconnected)
        await d.transport.open()


async def test_a_question_that_is_left_is_answered_by_a_message() -> None:
    async with desk() as d:
        feed = await d.feed()
        told: list[Told] = []
        asked = d.transport.ask(question("q1"), told.append)
        assert asked is not None
        asked.leave()
        asked.leave()
        assert len(told) == 1
        assert isinstance(told[0], Receipt)
        assert not feed.answer(d.hand[0], YES)
        assert await d.info() == (0, 1, 0), "its responder has it still"
        await feed.settle([(d.hand[0], ACCEPT)])
        assert len(told) == 1
        assert await d.info() == (0, 0, 0)


async def test_a_question_has_no_lease_that_could_end() -> None:
    async with desk() as d:
        feed = await d.feed()
        d.ask(question("q1"))
        await d.clock.advance(3 * LEASE_S)
        await feed.extend(d.hand)
        assert feed.answer(d.hand[0], YES)


@pytest.mark.parametrize(("dies", "attempt"), [(False, 1), (True, 2)])
async def test_what_a_responder_had_who_is_gone_comes_to_the_next(dies: bool, attempt: int) -> None:
    async with desk() as d:
        feed = await d.feed()
        d.ask(question("q1"), question("q2"))
        assert feed.answer(d.hand[0], YES)
        await (feed.abandon() if dies else feed.close())
        assert isinstance(d.told["q2"][0], Receipt), "its answer will come as a message"
        after = await d.transport.open_feed(RESPONDER)
        (again,) = await after.receive(10)
        assert (again.message.id, again.attempt) == ("q2", attempt)
        await after.settle([(again, ACCEPT)])
        assert await d.info() == (0, 0, 0)


async def test_who_had_a_question_that_was_given_back_can_neither_answer_nor_settle_it() -> None:
    """Neither where it was, nor at the feed that he has opened since, where all else that he has can be settled."""
    async with desk() as d:
        feed = await d.feed()
        d.ask(question("q1"))
        (old,) = d.hand
        await feed.close()
        after = await d.feed()
        (again,) = await after.receive(10)
        d.ask(question("q2"))
        for each in (feed, after):
            assert not each.answer(old, YES)
            with pytest.raises(SettlementLost) as lost:
                await each.extend([old])
            assert lost.value.deliveries == (old,)
            with pytest.raises(SettlementLost, match="1 of "):
                await each.settle([(old, ACCEPT)])
        with pytest.raises(SettlementLost, match="1 of 3"):
            await after.settle([(old, ACCEPT), (again, ACCEPT), (d.hand[1], ACCEPT)])
        assert await d.info() == (0, 0, 0)


async def test_a_group_that_is_removed_leaves_nobody_waiting_at_it() -> None:
    async with desk() as d:
        feed = await d.feed()
        d.ask(question("q1"))
        await d.transport.remove_group(TOPIC)
        assert isinstance(d.told["q1"][0], Receipt)
        assert not feed.answer(d.hand[0], YES)


async def test_while_a_question_of_a_key_is_in_hand_nobody_else_gets_the_next() -> None:
    async with desk() as d:
        feed = await d.feed()
        d.ask(question("a1", "a"))
        other = await d.transport.open_feed(RESPONDER)
        assert isinstance(other, GroupFeed)
        d.ask(question("a2", "a"), question("b1", "b"))
        assert names(list(other.take(10))) == ["b1"]
        assert feed.answer(d.hand[0], YES)
        assert names(list(other.take(10))) == ["a2"]


async def test_of_one_responder_the_next_of_a_key_is_behind_the_one_in_hand() -> None:
    async with desk() as d:
        feed = await d.feed()
        d.ask(question("a1", "a"), question("a2", "a"))
        assert names(d.hand) == ["a1"]
        assert names(list(feed.take(10))) == ["a2"]


async def test_a_question_that_is_handed_back_is_before_those_of_its_key_that_came_later() -> None:
    async with desk() as d:
        feed = await d.feed()
        d.ask(question("a1", "a"), question("a2", "a"))
        later = list(feed.take(10))
        await feed.settle([(each, RELEASE) for each in [*d.hand, *later]])
        order = []
        while found := feed.take(10):
            order += names(list(found))
            await feed.settle([(each, ACCEPT) for each in found])
        assert order == ["a1", "a2"]


async def test_a_refused_question_keeps_no_key() -> None:
    async with desk() as d:
        feed = await d.feed()
        d.free = 0
        d.ask(question("a1", "a"))
        (first,) = feed.take(10)
        await feed.settle([(first, ACCEPT)])
        d.free = 1
        d.ask(question("a2", "a"))
        assert names(d.hand) == ["a2"]


async def test_a_question_may_be_put_off_and_given_up() -> None:
    async with desk() as d:
        feed = await d.feed()
        d.ask(question("q1"), question("q2", "k"))
        await feed.settle([(d.hand[0], Retry(5.0)), (d.hand[1], DeadLetter("enough"))])
        assert await d.info() == (0, 0, 1)
        (letter,) = await d.transport.dead()
        assert (letter.message.id, letter.attempts) == ("q2", 1)
        await d.clock.advance(5.1)
        (again,) = feed.take(10)
        assert (again.message.id, again.attempt) == ("q1", 2)
        assert all(isinstance(told[0], Receipt) for told in d.told.values())


async def test_a_place_that_is_moved_takes_no_question_back_and_forgets_none_that_waits() -> None:
    async with desk() as d:
        feed = await d.feed()
        d.ask(question("a1", "a"), question("q1"), question("q2"))
        await feed.settle([(d.hand[1], RELEASE)])
        (seen,) = await d.transport.seek(TOPIC, TOPIC, "new")
        assert seen.taken_back == 0
        d.ask(question("a2", "a"))
        assert names(d.hand) == ["a1", "q1", "q2"], "its key is in hand"
        assert names(list(feed.take(10))) == ["q1", "a2"]
        assert feed.answer(d.hand[0], YES)
        assert feed.answer(d.hand[2], YES)


async def test_closing_the_transport_keeps_what_was_not_answered() -> None:
    async with desk() as d:
        await d.feed()
        d.ask(question("q1"))
        await d.transport.close()
        assert isinstance(d.told["q1"][0], Receipt)
        await d.transport.open()
        feed = await d.transport.open_feed(RESPONDER)
        async with asyncio.timeout(5):
            assert names(list(await feed.receive(10))) == ["q1"]
