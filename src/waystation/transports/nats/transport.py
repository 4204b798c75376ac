"""`nats://` as a transport: sending, receiving, and what is done now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from ..._core.capabilities import Capabilities
from ..._core.delivery import DeadLetter, Delivery, SendOutcome
from ..._core.errors import ConfigurationError, SendRejected, TransportError, WaystationError
from ..._core.limits import MESSAGE_BODY_BYTES_MAX, SEND_TIMEOUT_S
from ..._core.message import Message
from ..._core.ports import Clock, Feed, Recurrence, Subscription, Topology
from ..._core.topic import check_name, is_reply_address, matches
from ..._core.url import TransportURL
from .answers import ApiError
from .dialling import check_version
from .feed import GroupFeed, Mailbox
from .inspector import NatsInspector
from .limits import LOOK_S, SERVER_VERSION_MIN
from .options import Options, read_options
from .retention import Retention
from .sender import Sender
from .station import Station
from .wire import Msg

_log = logging.getLogger("waystation.nats")


def transport(url: TransportURL, *, clock: Clock) -> NatsTransport:
    """Make the transport of a URL. No I/O yet.

    Raises:
        ConfigurationError: The URL has an option that is unknown or does not fit, or would show a secret.
    """
    return NatsTransport(read_options(url), clock)


def capabilities(options: Options, message_bytes_max: int = MESSAGE_BODY_BYTES_MAX) -> Capabilities:
    """Return what it gives."""
    return Capabilities(
        name="nats",
        send=options.durability,
        persistent=True,
        groups=True,
        multi_process=True,
        delayed_send=True,
        ordered_by_key=True,
        redelivers_unsettled=True,
        request_reply=True,
        inspectable=True,
        priority=True,
        deduplicates=True,
        replay=True,
        members=True,
        broadcast=True,
        recurring=True,
        message_bytes_max=message_bytes_max,
    )


class NatsTransport(NatsInspector):
    """Topics as streams, places of groups as keys, at NATS servers with JetStream."""

    posts_here = False

    def __init__(self, options: Options, clock: Clock) -> None:
        super().__init__(options, clock)
        self._capabilities = capabilities(options)
        self._retention = Retention(self._office, self._registry, self._looking)
        self._sender = Sender(self._office, self._registry, self._specials)
        self._stations: dict[tuple[str, str], Station] = {}
        self._feeds: list[GroupFeed] = []
        self._mailboxes: dict[str, tuple[Mailbox, int]] = {}
        self._chores: asyncio.Task[None] | None = None
        self._finding: asyncio.Task[None] | None = None
        self._find_again = False
        self._looked_at: dict[Station, int] = {}
        self._joining = asyncio.Lock()

    @property
    def capabilities(self) -> Capabilities:
        """Facts: the largest message is known once the server has said what it takes."""
        return self._capabilities

    async def open(self) -> None:
        """Connect, and make exist what everybody needs.

        Raises:
            Disconnected: No server answers.
            Refused: It does not let this program in.
            ConfigurationError: It is too old, or has no JetStream.
        """
        link, layout = self._office.link, self._office.layout
        await link.open()
        try:
            check_version(link.info, link.place, SERVER_VERSION_MIN)
            most = self._sender.body_bytes_max
            self._capabilities = capabilities(self._options, max(0, min(most, MESSAGE_BODY_BYTES_MAX)))
            self._registry.forget()
            self._specials.forget()
            await self._office.api.make_stream(
                layout.bucket,
                [f"$KV.{layout.prefix}.>"],
                max_msgs_per_subject=1,
                allow_rollup_hdrs=True,
                discard="new",
            )
            await self._dead.make()
            await self._specials.make()
            await self._office.enter()
        except ApiError as error:
            await link.close()
            raise ConfigurationError(f"{error}; is there room, and may this user make streams?") from error
        except BaseException:
            await link.close()
            raise
        self._office.changed = self._look_soon
        link.on_cut[:] = [self._cut]
        link.on_return[:] = [self._sender.pump, self._check_soon]
        link.subscribe(f"{layout.prefix}-topic", self._topic_made)
        self._is_open = True
        self._chores = asyncio.get_running_loop().create_task(self._do_chores())

    async def close(self) -> None:
        """Finish what was sent, give back what is not settled, hang up. May be called twice."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S if self._office.link.connected else 0):
                await self._sender.finish()
        except TimeoutError:
            pass
        self._sender.reject("the transport was closed")
        feeds: list[Feed] = [*self._feeds, *(mailbox for mailbox, _ in self._mailboxes.values())]
        for feed in feeds:
            await feed.close()
        for task in (self._chores, self._finding):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        self._chores = self._finding = None
        if self._office.link.connected:
            await self._later.leave()
            await self._office.leave()
        else:
            await self._later.stop()
        await self._office.link.close()
        self._stations.clear()
        self._looked_at.clear()

    # --- sending -------------------------------------------------------------------------------------------------

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        """Send a batch.

        Raises:
            Disconnected: The transport is not open; nothing was sent.
            ConfigurationError: A topic's name is not legal; nothing was sent.
        """
        self._check_open()
        for topic in {message.topic for message in messages}:
            if not is_reply_address(topic):
                check_name(topic)
        future: asyncio.Future[Sequence[SendOutcome]] = asyncio.get_running_loop().create_future()
        self._sender.post(messages, lambda outcomes: None if future.done() else future.set_result(outcomes))
        return await future

    def post(self, messages: Sequence[Message], done: Callable[[Sequence[SendOutcome]], None], /) -> None:
        """See `Posting`."""
        if self._is_open:
            self._sender.post(messages, done)
        else:
            done([SendRejected(f"{self._options.place} is not open")] * len(messages))

    async def recur(
        self, recurrence: Recurrence, due: float | None, next_due: float, messages: Sequence[Message], /
    ) -> float | None:
        """See `Recurring`."""
        self._check_open()
        return await self._calendar.recur(recurrence, due, next_due, messages)

    # --- receiving -----------------------------------------------------------------------------------------------

    async def declare(self, topology: Topology, /) -> None:
        """Make topics and groups exist."""
        self._check_open()
        await self._registry.declare(topology)

    async def open_feed(self, subscription: Subscription, /) -> Feed:
        """Start receiving.

        Raises:
            ConfigurationError: The subscription was not declared, or a reply address is open already.
            Disconnected: The transport is not open.
        """
        self._check_open()
        pattern, group = subscription.pattern, subscription.group
        if group is None:
            return self._open_mailbox(pattern)
        if not await self._registry.is_declared(group, pattern):
            raise ConfigurationError(f"the subscription of group {group!r} to {pattern!r} was not declared")
        feed = GroupFeed(self, subscription)
        self._feeds.append(feed)
        serves = self._office.serves
        serves[group, pattern] = serves.get((group, pattern), 0) + 1
        try:
            await self._office.renew()
            await self._join(feed)
        except BaseException:
            await feed.close()
            raise
        return feed

    def _open_mailbox(self, address: str) -> Mailbox:
        if address in self._mailboxes:
            raise ConfigurationError(f"the reply address {address!r} is open already")
        mailbox = Mailbox(self, address)
        sid = self._office.link.subscribe(self._office.layout.reply(address), mailbox.heard)
        self._mailboxes[address] = mailbox, sid
        return mailbox

    async def _join(self, feed: GroupFeed) -> None:
        """Let a feed take from every topic that there is by now."""
        async with self._joining:
            for topic in await self._registry.topics(feed.pattern):
                if topic in feed.topics:
                    continue
                key = topic, feed.group
                station = self._stations.get(key)
                if station is None or station.closed:
                    station = self._stations[key] = Station(
                        self._office, self._registry, topic, feed.group, ordered=feed.subscription.ordered
                    )
                feed.add(station)
                await station.join(feed)

    async def release(self, station: Station, feed: GroupFeed) -> None:
        """A feed is no member any more; the last one closes its station."""
        async with self._joining:
            await station.leave(feed)
            if not station.place.receivers:
                self._stations.pop((station.topic, station.group), None)
                self._looked_at.pop(station, None)

    def forget(self, feed: GroupFeed | Mailbox) -> None:
        """The feed was closed."""
        if isinstance(feed, Mailbox):
            _, sid = self._mailboxes.pop(feed.address, (None, 0))
            self._office.link.unsubscribe(sid)
            return
        if feed in self._feeds:
            self._feeds.remove(feed)
            each = feed.group, feed.pattern
            self._office.serves[each] -= 1
            if not self._office.serves[each]:
                del self._office.serves[each]

    def station(self, topic: str, group: str) -> Station | None:
        """Return a group on a topic, if it is served here."""
        return self._stations.get((topic, group))

    def has_urgent(self, topic: str) -> bool:
        """Say whether this process has sent messages with a priority to a topic."""
        return topic in self._sender.urgent

    async def bury(self, group: str, letters: Sequence[tuple[Delivery, DeadLetter]]) -> None:
        """Keep dead letters."""
        await self._dead.bury(group, letters)

    # --- now and then --------------------------------------------------------------------------------------------

    def _topic_made(self, msg: Msg) -> None:
        topic = msg.body.decode(errors="replace")
        if any(matches(feed.pattern, topic) and topic not in feed.topics for feed in self._feeds):
            self._find_soon()

    def _find_soon(self) -> None:
        self._find_again = True
        if self._finding is None or self._finding.done():
            self._finding = asyncio.get_running_loop().create_task(self._find_topics())

    async def _find_topics(self) -> None:
        try:
            while self._find_again:
                self._find_again = False
                for feed in list(self._feeds):
                    await self._join(feed)
        except TransportError as error:
            _log.debug("%s: looking for topics: %s", self._options.place, error)

    def _look_soon(self) -> None:
        for station in self._stations.values():
            station.look_soon()

    def _check_soon(self) -> None:
        for station in self._stations.values():
            station.look_soon(check=True)

    def _cut(self) -> None:
        for station in self._stations.values():
            station.cut()
        self._later.cut()

    async def _do_chores(self) -> None:
        number = 0
        while True:
            try:
                await self._chore(number)
            except (WaystationError, OSError) as error:
                _log.debug("%s: %s", self._options.place, error)
            number += 1
            await self.clock.sleep(LOOK_S)

    async def _chore(self, number: int) -> None:
        await self._office.renew()
        await self._office.look()
        await self._later.look()
        self._find_soon()
        for station in list(self._stations.values()):
            await station.look()
            if self._looked_at.get(station) != station.progress:
                self._looked_at[station] = station.progress
                await self._retention.look(station)
        if number % 10 == 9:
            await self._roster.sweep()
        if number % 1000 == 999:
            await self._retention.sweep()

    # --- groups and processes that are gone --------------------------------------------------------------------

    async def remove_group(self, group: str) -> bool:
        """See `Inspector`."""
        self._check_open()
        removed = await self._registry.remove(group)
        for feed in [feed for feed in self._feeds if feed.group == group]:
            await feed.close()
        return removed

    async def release_process(self, pid: int) -> int:
        """See `LeaseReleaser`: how many times that process had opened a transport here."""
        self._check_open()
        return await self._office.release(pid)
