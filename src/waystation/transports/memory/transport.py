"""`memory://` as a transport: sending, scheduling, looking in.

Each transport is a world of its own, which lasts as long as the object, also between `close` and `open`. There is no
database in it, so it has no `transactions`.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from ..._core.capabilities import Capabilities
from ..._core.delivery import DeadLetter, Durability, Receipt, SendOutcome, receipts
from ..._core.duration import Instant, unix_time
from ..._core.errors import ConfigurationError, Disconnected, SendRejected, TransportError
from ..._core.inspection import (
    DeadInfo,
    GroupInfo,
    MemberInfo,
    RecurringInfo,
    ScheduledInfo,
    SeekInfo,
    TopicInfo,
    no_such_place,
)
from ..._core.limits import (
    BATCH_MESSAGES_MAX,
    MEMBER_LEASE_S,
    MEMORY_DEDUPE_KEYS_MAX,
    MEMORY_TOPIC_MESSAGES_MAX,
    TEMPORARY_GROUP_LEASE_S,
)
from ..._core.message import Message
from ..._core.ports import Clock, Feed, Gate, Recurrence, Start, Subscription, Timer, Topology
from ..._core.question import Told
from ..._core.run import MessageRun
from ..._core.topic import check_name, is_pattern, is_reply_address, matches
from ..._core.url import TransportURL
from .dead import DeadLetters
from .dedupe import DedupeKeys
from .feed import GroupFeed, Mailbox
from .log import Log
from .place import Place
from .question import Question
from .schedule import Calendar, Schedule

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


class MemoryTransport:
    """Topics, groups and deliveries as Python objects; for one event loop.

    Args:
        gate: By which other processes use it while it is open; then `capabilities` says so.
    """

    posts_here = True

    def __init__(
        self, clock: Clock, *, capabilities: Capabilities = CAPABILITIES, gate: Gate | None = None
    ) -> None:
        self.clock = clock
        self._capabilities = capabilities
        self._gate = gate
        if gate is not None:
            self.posts_here = False  # what is sent to others in one turn shares a system call
        self._is_open = False
        self._logs: dict[str, Log] = {}
        self._mailboxes: dict[str, Mailbox] = {}
        self._subscriptions: dict[tuple[str, str], Subscription] = {}
        self._feeds: list[GroupFeed] = []
        self._temporary: dict[
            str, float
        ] = {}  # groups of one instance each, and until when, by the monotonic clock
        self._schedule = Schedule()
        self._calendar = Calendar()
        self._dead = DeadLetters()
        self._dedupe_keys = DedupeKeys()
        self._members: list[MemberInfo] = []
        self._alarm: Timer | None = None
        self._alarm_at = math.inf  # by the monotonic clock
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
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = None, math.inf

    async def declare(self, topology: Topology, /) -> None:
        """Make topics and groups exist."""
        for name in topology.topics:
            self._log(name)
        for subscription in topology.subscriptions:
            if subscription.group is not None:
                self._subscribe(subscription, subscription.group)

    def _subscribe(self, subscription: Subscription, group: str) -> None:
        pattern = subscription.pattern
        if not is_pattern(pattern):
            self._log(pattern)
        for log in self._logs.values():
            if matches(pattern, log.name):
                self._join(log, group, log.position(subscription.start), ordered=subscription.ordered)
        self._subscriptions[group, pattern] = subscription
        if subscription.temporary and group not in self._temporary:
            self._keep([group])

    def _log(self, name: str) -> Log:
        """Return a topic's log. Groups whose pattern fits a new one read it from its beginning."""
        log = self._logs.get(name)
        if log is None:
            log = self._logs[name] = Log(check_name(name))
            for (group, pattern), subscription in self._subscriptions.items():
                if matches(pattern, name):
                    self._join(log, group, 0, ordered=subscription.ordered)
        return log

    def _join(self, log: Log, group: str, position: int, *, ordered: bool) -> None:
        if group in log.places:
            return  # a group keeps its place
        place = log.places[group] = Place(log, group, position, ordered=ordered, bury=self._bury)
        for feed in self._feeds:
            if feed.group == group and matches(feed.pattern, log.name):
                feed.join(place)

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
        """Take a question to its responder, if he is the only one and has a hand free; else send it."""
        log = self._logs.get(question.topic)
        place = None if log is None or len(log.places) > 1 else log.places.get(question.topic)
        if self._is_open and place is not None and place.is_idle and len(place.receivers) == 1:
            receiver = place.receivers[0]
            free = question.key is None or not place.has_in_flight(question.key)
            if free and isinstance(receiver, GroupFeed):
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

    def _bury(self, place: Place, message: Message, attempts: int, outcome: DeadLetter) -> None:
        self._dead.bury(place, message, attempts, outcome, self.clock.time())

    def _check_open(self) -> None:
        if not self._is_open:
            raise Disconnected("memory:// is not open")

    # --- time ------------------------------------------------------------------------------------------------

    def ring_at(self, instant: float) -> None:
        """Look around at this instant of the monotonic clock, or earlier. One timer, whatever the number of waits."""
        if instant >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = instant
        self._alarm = self.clock.call_later(max(0.0, instant - self.clock.monotonic()), self._look_around)

    def _look_around(self) -> None:
        """Deliver what is due and take back what was leased for too long."""
        self._alarm, self._alarm_at = None, math.inf
        now, wall = self.clock.monotonic(), self.clock.time()
        for message in self._schedule.take_due(wall):
            log = self._log(message.topic)
            log.add(message)
            log.has_priorities = log.has_priorities or message.priority > 0
            log.wake()
        for place in self._places():
            self.ring_at(place.tick(now))
            place.wake_if_ready()
        for group in [group for group, end in self._temporary.items() if end <= now]:
            self._forget_group(group)
        self._ring_for_schedule()

    def _ring_for_schedule(self) -> None:
        self.ring_at(self.clock.monotonic() + self._schedule.next_due - self.clock.time())

    def _places(self, group: str | None = None) -> list[Place]:
        places = [place for log in self._logs.values() for place in log.places.values()]
        return places if group is None else [place for place in places if place.group == group]

    # --- members ---------------------------------------------------------------------------------------------

    async def announce(self, said: Sequence[MemberInfo], /) -> Sequence[str]:
        """Say how this process's subscriptions are, in place of what it said before; return groups that are gone."""
        self._members = [replace(member, heard=self.clock.time()) for member in said]
        self._keep(member.group for member in said if member.group in self._temporary)
        known = {group for group, _ in self._subscriptions}
        return [group for group in dict.fromkeys(member.group for member in said) if group not in known]

    async def members(self) -> Sequence[MemberInfo]:
        """Return what this process has said lately: there is no other."""
        recent = self.clock.time() - MEMBER_LEASE_S
        found = [member for member in self._members if member.heard >= recent]
        return sorted(found, key=lambda member: (member.group, member.pattern))

    # --- looking in ------------------------------------------------------------------------------------------

    async def topics(self) -> Sequence[TopicInfo]:
        """Return every topic, by name."""
        return [log.info() for _, log in sorted(self._logs.items())]

    async def groups(self) -> Sequence[GroupInfo]:
        """Return every group on every topic."""
        now = self.clock.time()
        found = [place.info(now, self._dead.count(place.group, place.log.name)) for place in self._places()]
        return sorted(found, key=lambda info: (info.group, info.topic))

    async def browse(self, pattern: str, *, start: Start, limit: int) -> Sequence[tuple[int, Message]]:
        """Return offsets and messages, topic by topic, without taking anything from any group."""
        logs = [log for name, log in sorted(self._logs.items()) if matches(pattern, name)]
        rows = ((offset, log) for log in logs for offset in range(log.position(start), log.end))
        return [(offset, log.at(offset)) for offset, log in itertools.islice(rows, limit)]

    async def dead(self, *, group: str | None = None, limit: int = 100, after: int = 0) -> Sequence[DeadInfo]:
        """Return dead letters with a number over `after`, oldest first."""
        return self._dead.find(group, limit, after)

    async def retry_dead(self, numbers: Sequence[int]) -> int:
        """Give dead letters back to their group as new first attempts; return how many there were."""
        letters = self._dead.take(numbers)
        for letter in letters:
            place = self._logs[letter.topic].places[letter.group]
            place.put_back(letter.message, self.clock.monotonic())
            place.wake_if_ready()
        return len(letters)

    async def purge_dead(self, numbers: Sequence[int]) -> int:
        """Delete dead letters for good; return how many there were."""
        return len(self._dead.take(numbers))

    async def scheduled(
        self, *, pattern: str = "#", before: Instant | None = None, limit: int = 100
    ) -> Sequence[ScheduledInfo]:
        """Return messages that wait for their time, the next one first: of topics that fit, due before a time."""
        return self._schedule.find(
            pattern, math.inf if before is None else unix_time(before, name="before"), limit
        )

    async def move_scheduled(self, message_id: str, at: Instant) -> bool:
        """Let a message wait for another time; False if it is not there (any more)."""
        found = self._schedule.move(message_id, unix_time(at, name="at"))
        self._ring_for_schedule()
        return found

    async def cancel_scheduled(self, message_id: str) -> bool:
        """Delete a message that waits for its time; False if it is not there (any more)."""
        cancelled = self._schedule.cancel(message_id)
        for message in cancelled:
            self._dedupe_keys.unmark(message)
        return bool(cancelled)

    async def recurring(self) -> Sequence[RecurringInfo]:
        """Return messages that recur, the next one first."""
        return self._calendar.find()

    async def pause_recurring(self, name: str, *, paused: bool = True) -> bool:
        """Let nothing be published at its times until that is undone; False if nothing recurs by this name."""
        return self._calendar.pause(name, paused=paused)

    async def remove_recurring(self, name: str) -> bool:
        """Forget a message that recurs; False if there is none."""
        return self._calendar.remove(name)

    async def seek(
        self, group: str, pattern: str, start: Start, *, dry_run: bool = False
    ) -> Sequence[SeekInfo]:
        """Move a group's place; see `Inspector.seek`."""
        places = [place for place in self._places(group) if matches(pattern, place.log.name)]
        if not places:
            raise no_such_place(group, pattern, await self.groups())
        places.sort(key=lambda place: place.log.name)
        positions = [place.log.position(start) for place in places]
        found = [place.outlook(position) for place, position in zip(places, positions, strict=True)]
        if not dry_run:
            for place, position in zip(places, positions, strict=True):
                place.seek(position, self.clock.monotonic())
                self.ring_at(place.next_due)
        return found

    async def remove_group(self, group: str) -> bool:
        """Forget a group with its place, retries and dead letters; False if there is none. Its feeds are closed."""
        return self._forget_group(group)

    def _keep(self, groups: Iterable[str]) -> None:
        """Keep groups of one instance each for a while."""
        end = self.clock.monotonic() + TEMPORARY_GROUP_LEASE_S
        self._temporary.update(dict.fromkeys(groups, end))
        self.ring_at(end)

    def _forget_group(self, group: str) -> bool:
        for feed in [feed for feed in self._feeds if feed.group == group]:
            feed.end()
        self._temporary.pop(group, None)
        places = self._places(group)
        for place in places:
            del place.log.places[group]
            place.log.trim()
        self._subscriptions = {key: value for key, value in self._subscriptions.items() if key[0] != group}
        self._dead.forget(group)
        return bool(places)

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
