"""What an open transport works with, shared by its parts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ..._core.delivery import Durability, SendOutcome
from ..._core.errors import Disconnected
from ..._core.message import Message
from ..._core.ports import Clock
from .catalogue import Catalogue, merged
from .clerk import Clerk
from .drawer import Drawer
from .driver import Closed, trouble
from .hands import Hands
from .link import Link
from .member import Member
from .names import Names
from .office import Office
from .options import Options
from .roll import Roll, merged_rolls
from .sender import Sender


class Works:
    """Made anew by each opening, since it belongs to one event loop.

    Attributes:
        serving: This process as a member of groups, by group and pattern.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self.options = options
        self.clock = clock
        self.names = Names(options.prefix)
        self.serving: dict[tuple[str, str], Member] = {}
        self._is_open = False

    def make(self) -> None:
        """Make it, without I/O."""
        names = self.names
        self.link = Link(self.options)
        self.sender = Sender(names, self.clock, lambda: Durability.FLUSHED)
        self.catalogue = Drawer(
            names.registry, Catalogue, self.link, self.sender, empty=Catalogue, merge=merged
        )
        self.roll = Drawer(names.roster, Roll, self.link, self.sender, empty=Roll, merge=merged_rolls)
        self.office = Office(names, self.link, self.sender)
        self.clerk = Clerk(names, self.clock, self.sender)
        self.hands = Hands(names, self.sender, self.serving)

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        """Send a batch, and wait for its outcomes. Cancelling leaves them unknown.

        Raises:
            Disconnected: The transport is not open.
        """
        self.check_open()
        future: asyncio.Future[Sequence[SendOutcome]] = asyncio.get_running_loop().create_future()

        def done(outcomes: Sequence[SendOutcome]) -> None:
            if not future.done():
                future.set_result(outcomes)

        self.sender.post(messages, done)
        return await future

    async def noted(self) -> None:
        """Wait until the topics of what was sent are in the catalogue."""

    async def with_channel(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Do something through a channel of its own.

        Raises:
            TransportError: There is no connection, or the server does not allow it.
            ConfigurationError: Something of this name is there, and different.
        """
        channel = await self.link.channel()
        try:
            return await work(channel, *arguments)
        except Closed as closed:
            raise trouble(closed, self.options, "what was asked") from closed
        except TimeoutError as error:
            raise Disconnected(f"{self.options.shown} does not answer") from error
        finally:
            await channel.close()

    def check_open(self) -> None:
        """Refuse what a closed transport cannot do.

        Raises:
            Disconnected: It is closed.
        """
        if not self._is_open:
            raise Disconnected("amqp:// is not open")
