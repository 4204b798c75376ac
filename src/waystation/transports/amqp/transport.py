"""`amqp://` and `amqps://` as a transport: groups as quorum queues, and what else is to be kept in queues, too.

There is no log: what every group has settled is gone, and a group that is new finds what nobody was there for.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Sequence

from ..._core.capabilities import Capabilities
from ..._core.delivery import Durability, SendOutcome
from ..._core.errors import ConfigurationError, Disconnected, TransportError
from ..._core.limits import KNOWN_TOPICS_COUNT_MAX
from ..._core.message import Message
from ..._core.ports import Clock, Feed, Subscription, Timer, Topology
from ..._core.run import MessageRun
from ..._core.topic import is_reply_address
from . import binding
from .calendar import Calendar
from .catalogue import Catalogue, GroupEntry, group_of
from .channel import Channel
from .copies import note
from .driver import Closed
from .feed import GroupFeed, Mailbox
from .ground import Ground, make_group
from .groups import Group
from .inspector import Inspection
from .limits import BODY_BYTES_MAX
from .member import Member
from .options import Options
from .roster import Roster, temporary
from .together import Together
from .unread import hand_over

_log = logging.getLogger("waystation.amqp")

CAPABILITIES = Capabilities(
    name="amqp",
    send=Durability.FLUSHED,
    persistent=True,
    groups=True,
    multi_process=True,
    delayed_send=True,
    ordered_by_key=True,
    redelivers_unsettled=True,
    request_reply=True,
    inspectable=True,
    members=True,
    broadcast=True,
    recurring=True,
    message_bytes_max=BODY_BYTES_MAX,
)


class AmqpTransport(Inspection, Calendar, Roster):
    """A connection to RabbitMQ, and what this process does through it. For one event loop."""

    posts_here = False

    def __init__(self, options: Options, clock: Clock) -> None:
        super().__init__(options, clock)
        self._feeds: list[GroupFeed | Mailbox] = []
        self._known: set[str] = set()  # topics that are in the catalogue, or about to be
        self._unnoted: set[str] = set()
        self._noting: asyncio.Task[None] | None = None
        self._dead_last = 0
        self._alarm: Timer | None = None
        self._alarm_at = math.inf

    @property
    def capabilities(self) -> Capabilities:
        """Facts."""
        return CAPABILITIES

    async def open(self) -> None:
        """Connect, and make what there must be.

        Raises:
            MissingExtra: The driver is not installed.
            TransportError: The server cannot be reached, or does not let this program in.
            ConfigurationError: What is there was made differently.
        """
        self.make()
        self.look_at_groups = Together(self._groups)
        await self.link.open(Ground(self.names), self.sender, self.clerk, self.hands)
        self._is_open = True

    async def close(self) -> None:
        """Finish what was sent, let unsettled deliveries go back, disconnect. May be called twice."""
        if not self._is_open:
            return
        self._is_open = False
        feeds, self._feeds = self._feeds, []
        for feed in feeds:
            await feed.close()
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = None, math.inf
        if self.link.connection is not None:
            try:
                await self.clerk.close()
            except (TransportError, Closed, TimeoutError):
                pass  # it ends with the connection
        await self.noted()
        await self.hands.close()
        await self.sender.close()
        await self.link.close()

    # --- declaring ---------------------------------------------------------------------------------------------

    async def declare(self, topology: Topology, /) -> None:
        """Make topics and groups exist. A group that is new gets what nobody was there for.

        Raises:
            TransportError: There is no connection.
            ConfigurationError: A queue of this name is there, and different.
        """
        self.check_open()
        wanted = [each for each in topology.subscriptions if each.group is not None]
        if not wanted and self._known.issuperset(topology.topics):
            return
        async with self.catalogue.held() as page:
            page.new = await self._declared(page.found, topology.topics, wanted)
        self._known |= page.new.topics

    async def _declared(
        self, catalogue: Catalogue, topics: Sequence[str], wanted: Sequence[Subscription]
    ) -> Catalogue:
        catalogue = catalogue.with_topics(topics)
        begun: list[GroupEntry] = []
        for each in wanted:
            assert each.group is not None, "others were left out"
            if catalogue.find(each.group, each.pattern) is None:
                partitions = self.options.partitions if each.ordered else 0
                entry = GroupEntry(each.group, each.pattern, partitions)
                if each.temporary:
                    entry = temporary(entry, self.clock.time())
                catalogue = catalogue.with_group(entry)
                if each.start != "new":
                    begun.append(entry)
                await self.with_channel(self._make, entry)
            else:
                entry = catalogue.groups[f"{each.group} {each.pattern}"]
                await self.with_channel(self._renew, entry)
        if begun:
            await hand_over(
                [group_of(entry, self.names) for entry in begun], self.names, self.link, self.sender
            )
        return catalogue

    async def _make(self, channel: Channel, entry: GroupEntry) -> None:
        """Make the queues of a group, and the tokens of its partitions."""
        group = group_of(entry, self.names)
        await make_group(channel, group)
        await self._make_tokens(channel, group)

    async def _renew(self, channel: Channel, entry: GroupEntry) -> None:
        """Make what a group lacks: the server may have lost it, or somebody has deleted or emptied a queue."""
        group = group_of(entry, self.names)
        await make_group(channel, group)
        again = group.line().again
        if not group.partitions or (await channel.look(again)).consumer_count:
            return
        there: set[int] = (
            set()
        )  # found by taking them, which cannot be answered wrongly; they go back with the channel
        while (token := await channel.get(group.tokens)) is not None:
            there.add(int(binding.note(token) or 0))
        if not (await channel.look(again)).consumer_count:
            await self._put_tokens(group, set(range(group.partitions)) - there)

    async def _make_tokens(self, channel: Channel, group: Group) -> None:
        """Put a token for each partition where there are none, or none that count."""
        if group.partitions:
            await channel.ask(channel.connection.commands.Queue.Purge(0, group.tokens, False))
            await self._put_tokens(group, range(group.partitions))

    async def _put_tokens(self, group: Group, numbers: Iterable[int]) -> None:
        await self.sender.sent([note(group.tokens, str(number)) for number in numbers])

    # --- sending -----------------------------------------------------------------------------------------------

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        """Send a batch; see `post`. Cancelling leaves the outcome unknown.

        Raises:
            Disconnected: The transport is not open.
        """
        self.check_open()
        self._note_topics(messages)
        return await super().send(messages)

    def post(self, messages: Sequence[Message], done: Callable[[Sequence[SendOutcome]], None], /) -> None:
        """Begin to send a batch; see `Posting`."""
        if not self._is_open:
            done([Disconnected("amqp:// is not open")] * len(messages))
            return
        self._note_topics(messages)
        self.sender.post(messages, done)

    def _note_topics(self, messages: Sequence[Message]) -> None:
        for topic in topics_of(messages):
            if topic not in self._known and not is_reply_address(topic):
                self._note(topic)

    def _note(self, topic: str) -> None:
        """Put a topic into the catalogue, soon."""
        if len(self._known) >= KNOWN_TOPICS_COUNT_MAX:
            self._known.clear()
        self._known.add(topic)
        self._unnoted.add(topic)
        if self._noting is None:
            self._noting = asyncio.create_task(self._note_all(), name="waystation-amqp-topics")

    async def _note_all(self) -> None:
        try:
            while self._unnoted:
                topics, self._unnoted = self._unnoted, set()
                async with self.catalogue.held() as page:
                    page.new = page.found.with_topics(topics)
        except TransportError as error:
            _log.debug("topics were not noted: %s", error)  # whoever publishes next tries again
            self._known.clear()
        finally:
            self._noting = None

    async def noted(self) -> None:
        """Wait until the topics of what was sent are in the catalogue."""
        if self._noting is not None:
            await asyncio.wait([self._noting])

    # --- receiving ---------------------------------------------------------------------------------------------

    async def open_feed(self, subscription: Subscription, /) -> Feed:
        """Start receiving.

        Raises:
            ConfigurationError: The subscription was not declared, or a reply address is open already.
            TransportError: There is no connection.
        """
        self.check_open()
        pattern, name = subscription.pattern, subscription.group
        if name is None:
            if any(isinstance(feed, Mailbox) and feed.address == pattern for feed in self._feeds):
                raise ConfigurationError(f"the reply address {pattern!r} is open already")
            mailbox = Mailbox(pattern, self.names, self._forget_mailbox)
            await self.link.add(mailbox)
            self._feeds.append(mailbox)
            return mailbox
        member = self.serving.get((name, pattern))
        if member is None or member.broken is not None:
            entry = (await self.catalogue.read()).find(name, pattern)
            if entry is None:
                raise ConfigurationError(
                    f"the subscription of group {name!r} to {pattern!r} was not declared"
                )
            member = self.serving.get((name, pattern))
            if member is None or member.broken is not None:
                member = self.serving[name, pattern] = Member(self, group_of(entry, self.names))
        async with member.busy:
            if not member.feeds:
                await self.link.add(member)
            member.feeds += 1
        feed = GroupFeed(member, self.clock, self._forget_feed)
        self._feeds.append(feed)
        if member.broken is not None:
            raise member.broken
        return feed

    async def _forget_mailbox(self, mailbox: Mailbox) -> None:
        self.link.remove(mailbox)
        if mailbox in self._feeds:
            self._feeds.remove(mailbox)

    async def _forget_feed(self, feed: GroupFeed) -> None:
        member = feed.member
        if feed in self._feeds:
            self._feeds.remove(feed)
        async with member.busy:
            member.feeds -= 1
            if not member.feeds:
                key = (member.group.name, member.group.pattern)
                if self.serving.get(key) is member:
                    del self.serving[key]
                await member.close()
                self.link.remove(member)

    # --- what parts need ---------------------------------------------------------------------------------------

    def ring_at(self, instant: float) -> None:
        """Look at all places again at this instant of the monotonic clock, or earlier."""
        if instant >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = instant
        self._alarm = self.clock.call_later(max(0.0, instant - self.clock.monotonic()), self._look_around)

    def _look_around(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        now, wall = self.clock.monotonic(), self.clock.time()
        for member in self.serving.values():
            member.place.tick(now, wall)
            member.ring()
            if member.place.has_ready:
                member.place.wake()

    def number_dead(self) -> int:
        """Return the next number for a dead letter: by the time, and higher than the last."""
        self._dead_last = max(self._dead_last + 1, int(self.clock.time() * 1000) * 1000)
        return self._dead_last


def topics_of(messages: Sequence[Message]) -> set[str]:
    """Return the topics of messages."""
    return {messages.shared.topic} if isinstance(messages, MessageRun) else {each.topic for each in messages}
