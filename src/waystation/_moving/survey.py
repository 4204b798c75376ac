"""What a move takes along: everything of the source, put down in the journal.

A source that is a `Ledger` is only looked at. From any other, what a group owes can only be had by receiving it: it is
put down, on the disk, and settled then. So the source is emptied as it is read, and the journal has what has left it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._core.delivery import ACCEPT, DeadLetter, Delivery, Settlement
from .._core.errors import SettlementLost
from .._core.inspection import Inspector, Ledger, TopicInfo
from .._core.limits import BATCH_MESSAGES_MAX
from .._core.message import Message
from .._core.ports import Clock, Feed, Subscription, Transport
from .journal import Journal, Rank

#: How long to wait for more of what a group owes, before its source is asked whether there is any, in seconds.
_QUIET_S = 0.5


@dataclass(frozen=True, slots=True)
class Source:
    """A medium that is moved, seen from both of its sides."""

    transport: Transport
    inspector: Inspector


async def survey(source: Source, journal: Journal, *, clock: Clock, say: Callable[[str], None]) -> int:
    """Put down what is there and not in the journal yet; return how many messages that are."""
    before = journal.counts()
    topics = await source.inspector.topics()
    with journal.step():
        for topic in topics:
            journal.add_topic(topic.name, topic.groups)
        journal.put("published", str(published(topics)))
    damaged = 0
    # What is scheduled first: what comes due meanwhile is known as that, and not taken for a second message.
    await _schedules(source, journal)
    for topic in topics:
        for group in topic.groups:
            say(f"reading what {group} owes of {topic.name}")
            if isinstance(source.transport, Ledger):
                damaged += await _look(source.transport, journal, group, topic.name, clock.time())
            else:
                await _take(source, journal, group, topic.name, clock)
        if not topic.groups and source.transport.capabilities.replay:
            await _unread(source, journal, topic.name)
    await _dead(source, journal)
    with journal.step():
        journal.put("damaged", str(damaged))
    after = journal.counts()
    return sum(after[name] - before[name] for name in ("messages", "scheduled", "dead"))


def published(topics: Sequence[TopicInfo]) -> int:
    """Return how many messages were ever published at the source."""
    return sum(topic.next_offset for topic in topics)


async def _schedules(source: Source, journal: Journal) -> None:
    # Asked for more each time, since what is due is listed by time and has no numbers.
    limit = BATCH_MESSAGES_MAX
    while True:
        found = await source.inspector.scheduled(limit=limit)
        if len(found) < limit:
            break
        limit *= 4
    with journal.step():
        for number, each in enumerate(found):
            journal.add_topic(each.message.topic, ())
            journal.add(each.message, Rank(1, number), due=each.due)


async def _look(ledger: Ledger, journal: Journal, group: str, topic: str, now: float) -> int:
    """Put down what a group owes; return how many messages nobody can read: they stay where they are."""
    after, damaged = -1, 0
    while found := await ledger.unsettled(group, topic, after=after, limit=BATCH_MESSAGES_MAX):
        after = found[-1].position
        with journal.step():
            for each in found:
                if each.error is not None:
                    damaged += 1
                    continue
                number = journal.add(each.message, Rank(1, each.position))
                waits = each.attempts and each.due is not None and each.due > now
                journal.judge(number, group, "later" if waits else "owed", due=each.due, reason=each.reason)
    return damaged


async def _take(source: Source, journal: Journal, group: str, topic: str, clock: Clock) -> None:
    feed = await source.transport.open_feed(Subscription(pattern=topic, group=group))
    try:
        while True:
            deliveries = await _receive(feed, clock)
            if not deliveries and not await _lag(source, group, topic):
                return
            with journal.step():
                for delivery in deliveries:
                    if delivery.error is None:
                        number = journal.add(delivery.message, _by_time(delivery.message))
                        journal.judge(number, group, "owed")
            try:
                await feed.settle([(delivery, _ended(delivery)) for delivery in deliveries])
            except SettlementLost:
                pass  # it comes again, and is known
    finally:
        await feed.close()


async def _receive(feed: Feed, clock: Clock) -> list[Delivery]:
    """Return what comes soon."""
    receiving = asyncio.ensure_future(feed.receive(BATCH_MESSAGES_MAX))
    over = asyncio.ensure_future(clock.sleep(_QUIET_S))
    try:
        await asyncio.wait({receiving, over}, return_when=asyncio.FIRST_COMPLETED)
        return list(receiving.result()) if receiving.done() else []
    finally:
        for task in (receiving, over):
            task.cancel()
        await asyncio.gather(receiving, over, return_exceptions=True)


async def _lag(source: Source, group: str, topic: str) -> int:
    infos = await source.inspector.groups()
    return sum(info.lag for info in infos if (info.group, info.topic) == (group, topic))


async def _unread(source: Source, journal: Journal, topic: str) -> None:
    """Put down what no group reads, and a new one might."""
    start = 0
    while found := await source.inspector.browse(topic, start=start, limit=BATCH_MESSAGES_MAX):
        start = max(offset for offset, _ in found) + 1
        with journal.step():
            for offset, message in found:
                journal.add(message, Rank(1, offset))


async def _dead(source: Source, journal: Journal) -> None:
    after = 0
    while found := await source.inspector.dead(limit=BATCH_MESSAGES_MAX, after=after):
        after = found[-1].number
        with journal.step():
            for each in found:
                journal.add_topic(each.topic, [each.group])
                number = journal.add(each.message, Rank(0, each.number))
                journal.judge(number, each.group, "dead", reason=each.reason, detail=each.detail)


def _ended(delivery: Delivery) -> Settlement:
    """Return how a delivery ends that was put down. What nobody can read goes along as a dead letter."""
    return ACCEPT if delivery.error is None else DeadLetter("it cannot be read", delivery.error)


def _by_time(message: Message) -> Rank:
    """Return a rank among what came by itself: a publisher's messages have times that do not fall, and growing ids."""
    publisher, _, count = message.id.rpartition("-")
    return Rank(1, round(message.time * 1e6), f"{publisher}-{count:>16}")
