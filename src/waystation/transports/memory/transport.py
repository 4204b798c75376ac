"""`memory://` as a transport: sending and receiving.

Each transport is a world of its own, which lasts as long as the object, also between `close` and `open`. There is no
database in it, so it has no `transactions`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from ..._core.capabilities import Capabilities
from ..._core.delivery import Durability, Receipt, SendOutcome, receipts
from ..._core.errors import ConfigurationError, Disconnected, SendRejected, TransportError
from ..._core.limits import (
    BATCH_MESSAGES_MAX,
    MEMORY_DEDUPE_KEYS_MAX,
    MEMORY_TOPIC_MESSAGES_MAX,
)
from ..._core.message import Message
from ..._core.ports import Clock, Feed, Gate, Recurrence, Subscription, Topology
from ..._core.question import Told
from ..._core.run import MessageRun
from ..._core.topic import is_reply_address, matches
from ..._core.url import TransportURL
from .feed import GroupFeed, Mailbox
from .log import Log
from .question import Question
from .world import World

#: What it gives.
CAPABILITIES = Capabilities(
    name="memory",
    send=Durability.RECEIVED,
    groups=True,
    delayed_send=True,
    ordered_by_key=True,
    redelivers_unsettled=True,
    request_reply=True,
    inspectable=True,
    replay=True,
    members=True,
    broadcast=True,
    priority=True,
    deduplicates=True,
    recurring=True,
)


def transport(url: TransportURL, *, clock: Clock) -> MemoryTransport:
    """Build a transport with nothing in it.

    Raises:
        ConfigurationError: The URL has an option; there are none.
    """
    url.check_options(())
    return MemoryTransport(clock)


class MemoryTransport(World):
    """Topics, groups and deliveries as Python objects; for one event loop.

    Args:
        gate: By which other processes use it while it is open; then `capabilities` says so.
    """

    posts_here = True

    def __init__(
        self, clock: Clock, *, capabilities: Capabilities = CAPABILITIES, gate: Gate | None = None
    ) -> None:
        super().__init__(clock)
        self._capabilities = capabilities
        self._gate = gate
        if gate is not None:
            self.posts_here = False  # what is sent to others in one turn shares a system call
        self._is_open = False
        self._mailboxes: dict[str, Mailbox] = {}
        self._sent_in_turn = 0

    @property
    def capabilities(self) -> Capabilities:
        """Facts."""
        return self._capabilities

    async def open(self) -> None:
        """Begin, or go on where `close` ended."""
        self._is_open = True
        self._look_around()
        if self._gate is not None:
            try:
                await self._gate.open(self)
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """Close every feed. Messages and places stay in the object."""
        if self._gate is not None:
            await self._gate.close()
        self._is_open = False
        feeds: list[Feed] = [*self._feeds, *self._mailboxes.values()]
        for feed in feeds:
            await feed.close()
        self._rest()

    async def declare(self, topology: Topology, /) -> None:
        """Make topics and groups exist."""
        for name in topology.topics:
            self._log(name)
        for subscription in topology.subscriptions:
            if subscription.group is not None:
                self._subscribe(subscription, subscription.group)

    # --- sending and receiving -------------------------------------------------------------------------------

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        """Append messages to their topics, in order; all, or none if a topic is full.

        Raises:
            Disconnected: The transport is not open; nothing was sent.
            ConfigurationError: A topic's name is not legal; nothing was sent.
        """
        outcomes = self._append(messages)
        self._sent_in_turn += len(messages)
        if self._sent_in_turn >= BATCH_MESSAGES_MAX:
            self._sent_in_turn = 0
            await asyncio.sleep(0)  # nothing else here waits, and receivers must get a turn
        return outcomes

    def post(self, messages: Sequence[Message], done: Callable[[Sequence[SendOutcome]], None], /) -> None:
        """As `send`; whoever posts much sees to it that receivers get a turn."""
        outcomes: Sequence[SendOutcome]
        try:
            outcomes = self._append(messages)
        except TransportError as error:
            outcomes = [error] * len(messages)
        except ConfigurationError as error:
            outcomes = [SendRejected(str(error))] * len(messages)
        done(outcomes)

    def ask(self, question: Message, done: Callable[[Told], None], /) -> Question | None:
        """Take a question to its responder, if he is the only one and has a hand free; else send it.

        What must wait for its time, or be known by its `dedupe_key`, is for the log.
        """
        log = self._logs.get(question.topic)
        place = None if log is None or len(log.places) > 1 else log.places.get(question.topic)
        if place is not None and len(place.receivers) == 1 and self._is_open:
            receiver = place.receivers[0]
            plain = question.deliver_at is None and question.dedupe_key is None
            if plain and isinstance(receiver, GroupFeed) and place.may_hand_over(question):
                asked = receiver.questions.ask(question, place, done)
                if asked is not None:
                    return asked
        self.post((question,), lambda outcomes: done(outcomes[0]))
        return None

    def _append(self, messages: Sequence[Message]) -> list[SendOutcome]:
        self._check_open()
        if not isinstance(messages, MessageRun):
            return self._append_each(messages)
        if self._is_plain(messages.shared):
            return self._append_run(messages)
        return self._append_each(list(messages))  # each is built once

    def _append_each(self, messages: Sequence[Message]) -> list[SendOutcome]:
        ways: dict[str, Log | Mailbox] = {}
        is_plain = True
        for message in messages:
            if message.topic not in ways:
                ways[message.topic] = self._way(message.topic)
            if message.dedupe_key is not None or message.priority:
                is_plain = False
        for way in ways.values():
            if not way.make_room(len(messages)):
                return [self._full()] * len(messages)
        firsts = {} if is_plain else self._heed(messages, ways)
        if firsts is None:
            return [SendRejected(f"{MEMORY_DEDUPE_KEYS_MAX:,} dedupe_keys are remembered") for _ in messages]
        outcomes = receipts([message.id for message in messages], Durability.RECEIVED, firsts)
        if firsts:
            messages = [message for index, message in enumerate(messages) if index not in firsts]
        for message in messages:
            if message.deliver_at is None or message.deliver_at <= self.clock.time():
                ways[message.topic].add(message)
            else:
                self._schedule.add(message, message.deliver_at)
                self._ring_for_schedule()
        for way in ways.values():
            way.wake()
        return outcomes

    def _is_plain(self, shared: Message) -> bool:
        """Say whether a run can be kept as it came: it waits for no time, overtakes nobody and is no reply."""
        waits = shared.deliver_at is not None and shared.deliver_at > self.clock.time()
        return not (waits or shared.priority or shared.dedupe_key or is_reply_address(shared.topic))

    def _append_run(self, run: MessageRun) -> list[SendOutcome]:
        log = self._log(run.shared.topic)
        if not log.make_room(len(run)):
            return [self._full()] * len(run)
        log.add_run(run)
        log.wake()
        return receipts(run.ids, Durability.RECEIVED, {})

    def _full(self) -> SendRejected:
        return SendRejected(f"a topic is full: {MEMORY_TOPIC_MESSAGES_MAX:,} unread messages")

    def _heed(self, messages: Sequence[Message], ways: Mapping[str, Log | Mailbox]) -> dict[int, str] | None:
        """Note priorities and dedupe_keys; return the places of duplicates, with the id of the first of each.

        None if there is no room for so many keys.
        """
        for message in messages:
            way = ways[message.topic]
            if message.priority and isinstance(way, Log):
                way.has_priorities = True
        now = self.clock.monotonic()
        keys = sum(message.dedupe_key is not None for message in messages)
        return self._dedupe_keys.mark(messages, now) if self._dedupe_keys.make_room(keys, now) else None

    def _way(self, topic: str) -> Log | Mailbox:
        """Return where messages of a topic go."""
        found = self._logs.get(topic) or self._mailboxes.get(topic)
        if found is not None:
            return found
        # Where nobody waits for an answer any more, it is dropped.
        return Mailbox(self, topic) if is_reply_address(topic) else self._log(topic)

    async def recur(
        self, recurrence: Recurrence, due: float | None, next_due: float, messages: Sequence[Message], /
    ) -> float | None:
        """Send what is due and put down when the next is.

        Raises:
            SendRejected: The topic is full; it is due as before.
        """
        self._check_open()
        if due is None:
            self._calendar.begin(recurrence, next_due)
        elif self._calendar.go_on(recurrence, due, next_due):
            for outcome in await self.send(messages):
                if not isinstance(outcome, Receipt):
                    self._calendar.go_on(recurrence, next_due, due)
                    raise outcome
        return self._calendar.due(recurrence)

    async def open_feed(self, subscription: Subscription, /) -> Feed:
        """Start receiving.

        Raises:
            ConfigurationError: The subscription was not declared, or a reply address is open already.
            Disconnected: The transport is not open.
        """
        self._check_open()
        pattern, group = subscription.pattern, subscription.group
        if group is None:
            if pattern in self._mailboxes:
                raise ConfigurationError(f"the reply address {pattern!r} is open already")
            mailbox = self._mailboxes[pattern] = Mailbox(self, pattern)
            return mailbox
        if (group, pattern) not in self._subscriptions:
            raise ConfigurationError(f"the subscription of group {group!r} to {pattern!r} was not declared")
        feed = GroupFeed(self, group, pattern)
        for log in self._logs.values():
            if matches(pattern, log.name):
                feed.join(log.places[group])
        self._feeds.append(feed)
        return feed

    def forget(self, feed: GroupFeed | Mailbox) -> None:
        """The feed was closed."""
        if isinstance(feed, Mailbox):
            self._mailboxes.pop(feed.address, None)
        else:
            self._feeds.remove(feed)

    def _check_open(self) -> None:
        if not self._is_open:
            raise Disconnected("memory:// is not open")

    async def facts(self) -> dict[str, str]:
        """Return what there is, and where it lives."""
        served = {} if self._gate is None else {"served at": self._gate.address, **self._gate.facts()}
        return {
            **served,
            "kept in": "this process's memory; nothing outlives it",
            "durability of a send": Durability.RECEIVED.name,
            "topics": str(len(self._logs)),
            "messages kept": str(sum(len(log.entries) for log in self._logs.values())),
        }
