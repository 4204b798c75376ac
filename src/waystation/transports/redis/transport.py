"""`RedisTransport`: topics as streams, and everything that changes as one script each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..._core.capabilities import Capabilities
from ..._core.delivery import Durability, SendOutcome
from ..._core.errors import ConfigurationError, Disconnected
from ..._core.message import Message
from ..._core.ports import Clock, Feed, Subscription, Topology
from ..._core.topic import is_reply_address
from .inspector import Looking
from .opened import Opened
from .options import Options
from .sender import Done

#: What a server can give at most. Effects are the business of the user's own database, so there are no transactions.
CAPABILITIES = Capabilities(
    name="redis",
    send=Durability.FLUSHED,
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
    priority=True,
    deduplicates=True,
    recurring=True,
)


class RedisTransport(Looking):
    """One process's access to one server's keys of one prefix."""

    posts_here = False

    def __init__(self, options: Options, *, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._capabilities = CAPABILITIES
        self._open: Opened | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Before `open` what a server can give at most; then what this one does."""
        return self._capabilities

    async def open(self) -> None:
        """Connect.

        Raises:
            ConfigurationError: The server will not do: it evicts keys, is too old, or is none.
            Disconnected: It cannot be reached, or lets nobody in.
        """
        opened = Opened(self._options, self._clock)
        try:
            await opened.open()
        except BaseException:
            await opened.close()
            raise
        self._open = opened
        server = opened.link.server
        assert server is not None, "it is connected"
        self._capabilities = replace(CAPABILITIES, send=server.durability, persistent=server.persistent)

    async def declare(self, topology: Topology, /) -> None:
        """Make topics and groups exist."""
        await self._opened().declare(topology)

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        """Send a batch; one outcome per message, in order.

        Raises:
            Disconnected: The transport is not open; nothing was sent.
            ConfigurationError: A topic's name is not legal; nothing was sent.
        """
        return await self._opened().sender.send(messages)

    def post(self, messages: Sequence[Message], done: Done, /) -> None:
        """See `Posting`."""
        try:
            sender = self._opened().sender
        except Disconnected as error:
            done([error] * len(messages))
            return
        sender.post(messages, done)

    async def open_feed(self, subscription: Subscription, /) -> Feed:
        """Become a member of a group, or the reader of a reply address.

        Raises:
            ConfigurationError: The subscription was not declared.
            Disconnected: There is no connection.
        """
        opened = self._opened()
        if subscription.group is None and not is_reply_address(subscription.pattern):
            raise ConfigurationError(
                f"only a reply address is read without a group, not {subscription.pattern!r}"
            )
        return await opened.open_feed(subscription)

    async def close(self) -> None:
        """Finish what was sent, give back what is unsettled, disconnect. May be called twice."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened.close()

    def _opened(self) -> Opened:
        if self._open is None:
            raise Disconnected(f"{self._options.place} is not open: use `async with bus:`")
        return self._open
