"""`kafka://` as a transport: sending, receiving, scheduling, looking in."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from ..._core.capabilities import Capabilities
from ..._core.delivery import Durability, SendOutcome
from ..._core.errors import ConfigurationError, TransportError
from ..._core.limits import TEMPORARY_GROUP_LEASE_S
from ..._core.message import Message
from ..._core.ports import Clock, Feed, Subscription, Timer, Topology
from ..._core.topic import is_pattern, matches
from ..._core.url import TransportURL
from .broker import Broker
from .control import (
    Declared,
    declared_of,
    group_key,
    is_ordered,
    needs_positions,
    read_said,
    start_of,
)
from .feed import GroupFeed, Mailbox
from .inspecting import Inspecting
from .ledger import CONFIG
from .limits import (
    BODY_BYTES_MAX,
    DISCOVERY_S,
    STATE_PARTITIONS_COUNT,
    TEMPORARY_LOOK_S,
    TRIM_MESSAGES_MIN,
    TRIM_S,
)
from .looking import Looker
from .member import Member
from .names import Names, Spot
from .options import Options, read_options
from .outbox import Outbox
from .positions import positions
from .replies import Replies
from .schedule import Mover
from .sender import Sender
from .table import Table

_log = logging.getLogger("waystation.kafka")

CAPABILITIES = Capabilities(
    name="kafka",
    send=Durability.REPLICATED_FLUSHED,
    persistent=True,
    groups=True,
    multi_process=True,
    delayed_send=True,
    ordered_by_key=True,
    redelivers_unsettled=True,
    request_reply=True,
    inspectable=True,
    replay=True,
    members=True,
    broadcast=True,
    message_bytes_max=BODY_BYTES_MAX,
)


def transport(url: TransportURL, *, clock: Clock) -> KafkaTransport:
    """Build a transport that is not connected.

    Raises:
        ConfigurationError: The URL has something that does not fit.
    """
    return KafkaTransport(read_options(url), clock=clock)


class KafkaTransport(Inspecting):
    """Topics, groups and deliveries on a Kafka cluster; for one event loop.

    It does not post: what is published while a batch is on its way is the next one, and the fewer requests and flushes
    there are, the more messages pass.
    """

    def __init__(self, options: Options, *, clock: Clock) -> None:
        self.clock = clock
        self._options = options
        self._names = Names(options.prefix)
        self._capabilities = CAPABILITIES
        self._is_open = False
        self._name = secrets.token_urlsafe(9)
        self._closed()

    def _closed(self) -> None:
        self._members: dict[str, Member] = {}
        self._feeds: list[GroupFeed] = []
        self._declared: dict[tuple[str, str], Declared] = {}
        self._alarm: Timer | None = None
        self._alarm_at = math.inf  # by the monotonic clock
        self._rounds: list[Timer] = []
        self._discovery: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def capabilities(self) -> Capabilities:
        """Facts."""
        return self._capabilities

    # --- coming and going ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect.

        Raises:
            Disconnected: No broker answers in time.
            Refused: The user is not let in.
            MissingExtra: The driver is not installed.
        """
        self._broker = broker = Broker(self._options, self._names)
        self._sender = Sender(self._options, lambda function: broker.call("the producer", function))
        try:
            await broker.open(self._sender.open)
        except BaseException:
            await self._sender.close()
            await broker.close()
            raise
        self._capabilities = replace(CAPABILITIES, send=broker.promised)
        self._outbox = Outbox(
            broker, self._sender, clock=self.clock, made=self._resubscribe, scheduled=self._join_scheduler
        )
        self._control = Table(broker, self._sender, self._names.control)
        self._letters = Table(broker, self._sender, self._names.dead)
        self._waiting = Table(broker, self._sender, self._names.delay)
        self._mover = Mover(broker, self._waiting, clock=self.clock, send=self.send, ring_at=self.ring_at)
        self._replies = Replies(self, broker)
        self._looker = Looker(broker, self._members, clock=self.clock)
        self._is_open = True

    async def close(self) -> None:
        """Send what waits, leave every group, disconnect. May be called twice."""
        if not self._is_open:
            return
        self._is_open = False
        for timer in self._rounds:
            timer.cancel()
        if self._alarm is not None:
            self._alarm.cancel()
        if self._discovery is not None:
            self._discovery.cancel()
        feeds: list[Feed] = [*self._feeds, *self._replies.mailboxes.values()]
        await asyncio.gather(*(feed.close() for feed in feeds))
        await self._mover.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, *filter(None, [self._discovery]), return_exceptions=True)
        await self._replies.close()
        await self._outbox.close()
        await self._sender.close()
        await self._broker.close()
        self._closed()

    # --- sending ---------------------------------------------------------------------------------------------

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        """Send messages.

        Raises:
            Disconnected: The transport is not open; nothing was sent.
            ConfigurationError: A topic's name is not legal; nothing was sent.
        """
        self._check_open()
        future: asyncio.Future[Sequence[SendOutcome]] = asyncio.get_running_loop().create_future()

        def done(outcomes: Sequence[SendOutcome]) -> None:
            if not future.done():
                future.set_result(outcomes)

        self._outbox.post(messages, done)
        return await future

    def _join_scheduler(self) -> None:
        self._mover.join()

    # --- groups ----------------------------------------------------------------------------------------------

    async def declare(self, topology: Topology, /) -> None:
        """Make topics and groups exist."""
        self._check_open()
        for name in topology.topics:
            await self._ensure(name)
        wanted = [each for each in topology.subscriptions if each.group is not None]
        if not wanted:
            return
        for each in wanted:
            if not is_pattern(each.pattern):
                await self._ensure(each.pattern)
        await self._read_declared()
        rows = {}
        for each in wanted:
            assert each.group is not None, "others were left out"
            if (each.group, each.pattern) not in self._declared:
                row = await self._declare(each)
                rows[row.key] = msgspec.json.encode(row)
        if rows:
            await self._broker.ensure(self._names.state, partitions=STATE_PARTITIONS_COUNT, config=CONFIG)
            await self._control.put(rows)
            await self._read_declared()

    async def _ensure(self, name: str) -> None:
        topic = self._names.topic(name)
        if topic not in self._broker.known:
            await self._broker.ensure(topic)
            self._resubscribe()

    async def _declare(self, subscription: Subscription) -> Declared:
        starts: dict[str, dict[int, int]] = {}
        if needs_positions(subscription.start):
            await self._broker.refresh()
            for ours, name in self._looker.topics_of_users().items():
                if matches(subscription.pattern, ours):
                    spots = self._broker.spots(name)
                    found = await positions(
                        self._broker, spots, subscription.start, await self._broker.bounds(spots)
                    )
                    starts[ours] = {spot[1]: offset for spot, offset in found.items()}
        return declared_of(subscription, starts, self.clock.time())

    async def open_feed(self, subscription: Subscription, /) -> Feed:
        """Start receiving.

        Raises:
            ConfigurationError: The subscription was not declared, or a reply address is open already.
            Disconnected: The transport is not open.
        """
        self._check_open()
        pattern, group = subscription.pattern, subscription.group
        if group is None:
            return await self._replies.open(pattern)
        if (group, pattern) not in self._declared and (group, pattern) not in await self._read_declared():
            raise ConfigurationError(f"the subscription of group {group!r} to {pattern!r} was not declared")
        member = self._members.get(group)
        if member is None:
            member = self._members[group] = Member(
                group,
                self._broker,
                self._sender,
                clock=self.clock,
                ordered=lambda topic: is_ordered(self._declared.values(), group, topic),
                start_of=lambda spot: start_of(
                    list(self._declared.values()), group, self._names.ours(spot[0]), spot
                ),
                ring_at=self.ring_at,
            )
        feed = GroupFeed(self, member, pattern)
        self._feeds.append(feed)
        await self._broker.refresh()
        self._subscribe(member)
        self._begin_rounds()
        self._mover.join()
        return feed

    def _subscribe(self, member: Member) -> None:
        """Let a member read what its feeds are for, as far as it exists."""
        patterns = {feed.pattern for feed in self._feeds if feed.member is member}
        topics = set()
        for name in self._broker.known:
            again = self._names.again_parts(name)
            ours = self._names.ours(name) if again is None else again[1] if again[0] == member.group else None
            if ours is not None and any(matches(pattern, ours) for pattern in patterns):
                topics.add(name)
        member.subscribe(topics)

    def _resubscribe(self) -> None:
        for member in self._members.values():
            self._subscribe(member)

    def _begin_rounds(self) -> None:
        if self._discovery is None:
            self._discovery = asyncio.get_running_loop().create_task(self._discover())
            self._again_in(TEMPORARY_LOOK_S, self._forget_instances)
            if self._options.trims:
                self._again_in(TRIM_S, self._trim)

    async def _discover(self) -> None:
        """Look for topics that others have made; in real time, since it is only about how soon they are found."""
        while True:
            await asyncio.sleep(DISCOVERY_S)
            try:
                await self._broker.refresh()
            except TransportError as error:
                _log.debug("the list of topics: %s", error)
                continue
            self._resubscribe()
            self._mover.join()

    def _again_in(self, delay_s: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do something every so often, by the clock."""

        async def run() -> None:
            try:
                await work()
            except TransportError as error:
                _log.debug("looking after groups: %s", error)
            finally:
                if self._is_open:
                    self._again_in(delay_s, work)

        def begin() -> None:
            self._rounds.remove(timer)
            self._begin(run())

        timer = self.clock.call_later(delay_s, begin)
        self._rounds.append(timer)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def forget(self, feed: GroupFeed | Mailbox) -> None:
        """The feed was closed."""
        if isinstance(feed, Mailbox):
            self._replies.forget(feed)
            return
        self._feeds.remove(feed)
        member = feed.member
        if member.has_feeds:
            if self._is_open:
                self._subscribe(member)
            try:
                await member.tell()
            except TransportError as error:
                _log.debug("group %s: %s", member.group, error)
        elif self._members.get(member.group) is member:
            del self._members[member.group]
            await member.close()

    # --- time ------------------------------------------------------------------------------------------------

    def ring_at(self, instant: float) -> None:
        """Look around at this instant of the monotonic clock, or earlier. One timer, whatever the number of waits."""
        if instant >= self._alarm_at or not self._is_open:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = instant
        self._alarm = self.clock.call_later(max(0.0, instant - self.clock.monotonic()), self._look_around)

    def _look_around(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        now = self.clock.monotonic()
        for member in self._members.values():
            self.ring_at(member.tick(now))
        self._mover.tick()
        self.ring_at(now + self._mover.next_due - self.clock.time())

    async def _forget_instances(self) -> None:
        """Forget groups of one instance each of which nobody has said for long that he serves them."""
        declared = await self._read_declared()
        since = self.clock.time() - TEMPORARY_GROUP_LEASE_S
        if not any(each.temporary for each in declared.values()):
            return
        served = {member.group for member in read_said(self._control.rows.items(), since)}
        for group in {
            each.group for each in declared.values() if each.temporary and each.since < since
        } - served:
            await self.remove_group(group)

    async def _trim(self) -> None:
        """Delete what every group has settled."""
        declared = list((await self._read_declared()).values())
        floors: dict[Spot, int] = {}
        for standing in await self._looker.standings(declared):
            for spot, place in standing.places.items():
                floor = place.mark(ahead=0).floor
                floors[spot] = min(floor, floors.get(spot, floor))
        bounds = await self._broker.bounds(floors)
        below = {
            spot: floor for spot, floor in floors.items() if floor - bounds[spot][0] >= TRIM_MESSAGES_MIN
        }
        if below:
            await self._broker.trim(below)

    async def remove_group(self, group: str) -> bool:
        """Forget a group with its place, retries and dead letters; False if there is none. Its feeds are closed."""
        for feed in [feed for feed in self._feeds if feed.group == group]:
            await feed.close()
        patterns = [pattern for each, pattern in await self._read_declared() if each == group]
        if not patterns:
            return False
        await self._broker.forget_group(self._names.group(group))
        await self._control.put({group_key(group, pattern): None for pattern in patterns})
        mine = [key for key, letter in (await self._read_letters()).items() if letter.group == group]
        if mine:
            await self._letters.put(dict.fromkeys(mine))
        await self._read_declared()
        return True
