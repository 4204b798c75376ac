"""`Opened`: what a transport has while it is open."""

from __future__ import annotations

import os
import secrets
import socket
import time
from typing import Any

import msgspec

from ..._core.limits import RETENTION_SWEEP_S, SEND_TIMEOUT_S, TEMPORARY_GROUP_LEASE_S, UNREAD_RETENTION_S
from ..._core.ports import Clock, Subscription, Timer, Topology
from .ear import Ear
from .feed import GroupFeed
from .link import Link
from .mailbox import Mailbox
from .options import Options
from .sender import Sender
from .starts import start_text

_pack = msgspec.msgpack.Encoder().encode
_TEMPORARY = repr(TEMPORARY_GROUP_LEASE_S).encode()


def machine_name() -> str:
    """Return how leases call this machine."""
    return socket.gethostname().replace(":", "-")


class Opened:
    """A connection with all that uses it.

    Attributes:
        name: What the server knows this process by: machine, process, and something random.
        goes_by_server: Whether times are the server's.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self.name = f"{machine_name()}:{os.getpid()}:{secrets.token_hex(6)}"
        self._clock = clock
        # All clients must go by one clock: by the server's, unless a test has brought its own.
        self.goes_by_server = clock.time is time.time
        self.link = Link(options, self.name, _no_time if self.goes_by_server else self._time)
        self.link.on_back.append(self._declare_again)  # before anything is sent or taken
        self.ear = Ear(self.link)
        self.sender = Sender(self.link)
        self.feeds: list[GroupFeed | Mailbox] = []
        self.is_closing = False
        self._keep = tuple(
            repr(each).encode() for each in (options.keep_s, UNREAD_RETENTION_S, RETENTION_SWEEP_S * 0.9)
        )
        self._declared: dict[tuple[str | None, str], Subscription] = {}
        self._topics: dict[str, None] = {}
        self._number = 0
        self._sweep: Timer | None = None

    def _time(self) -> bytes:
        return repr(self._clock.time()).encode()

    async def open(self) -> None:
        """Connect.

        Raises:
            ConfigurationError: The server will not do.
            Disconnected: There is none.
        """
        await self.link.open()
        self._sweep_later()

    # --- topics and groups -------------------------------------------------------------------------------------

    async def declare(self, topology: Topology) -> None:
        """Make topics and groups exist, now and after each cut: the server may have come back without them."""
        named = [one for one in topology.subscriptions if one.group is not None]
        self._topics.update(dict.fromkeys(topology.topics))
        if topology.topics or named:
            await self.link.call("declare", *_declaration(topology.topics, named))
        for one in named:
            self._declared[one.group, one.pattern] = one

    def forget_group(self, group: str) -> None:
        """Do not declare it again."""
        self._declared = {key: one for key, one in self._declared.items() if key[0] != group}

    def _declare_again(self) -> None:
        arguments = _declaration(tuple(self._topics), list(self._declared.values()))
        self.link.begin("declare", arguments, lambda _reply: None)

    # --- feeds -------------------------------------------------------------------------------------------------

    async def open_feed(self, subscription: Subscription) -> GroupFeed | Mailbox:
        """Begin to receive."""
        feed: GroupFeed | Mailbox
        if subscription.group is None:
            feed = Mailbox(
                self.link, self.ear, subscription.pattern, clock=self._clock, on_closed=self._forget
            )
        else:
            self._number += 1
            owner = f"{self.name}:{self._number}:"  # none is the beginning of another
            feed = GroupFeed(
                self.link, self.ear, subscription, owner, clock=self._clock, on_closed=self._forget
            )
        await feed.open()
        self.feeds.append(feed)
        return feed

    def _forget(self, feed: GroupFeed | Mailbox) -> None:
        if feed in self.feeds:
            self.feeds.remove(feed)

    # --- the end -----------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Finish what was sent, give back what is unsettled, disconnect."""
        self.is_closing = True
        if self._sweep is not None:
            self._sweep.cancel()
        try:
            await self.sender.finish(SEND_TIMEOUT_S if self.link.is_up else 0)
            for feed in list(self.feeds):
                await feed.close()
        finally:
            await self.ear.close()
            await self.link.close()

    def _sweep_later(self) -> None:
        self._sweep = self._clock.call_later(RETENTION_SWEEP_S, self._begin_sweep)

    def _begin_sweep(self) -> None:
        def told(_reply: Any) -> None:
            if not self.is_closing:
                self._sweep_later()

        self.link.begin("sweep", self._keep, told)


def _no_time() -> bytes:
    return b""


def _declaration(topics: tuple[str, ...], subscriptions: list[Subscription]) -> tuple[bytes, ...]:
    rows = [
        (one.group, one.pattern, start_text(one.start), one.ordered, one.temporary) for one in subscriptions
    ]
    return _pack(topics), _pack(rows), _TEMPORARY
