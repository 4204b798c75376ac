"""`Link`: the connection that is there now. It is dialled again when it ends, and whoever works through it is told."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from ..._core.errors import ConfigurationError, Disconnected, Refused, TransportError
from ..._core.retry import describe
from .channel import Channel
from .connection import Connection, connect
from .driver import Closed, Driver, trouble
from .limits import REDIAL_FIRST_S, REDIAL_S_MAX
from .options import Options

_log = logging.getLogger("waystation.amqp")


class Part(Protocol):
    """Something that works through the connection."""

    async def up(self, connection: Connection, /) -> None:
        """Begin to work through a new connection.

        Raises:
            TransportError: It cannot: the connection is given up, and another one tried.
            Closed: The same, in the server's words.
        """

    def down(self, error: Exception, /) -> None:
        """The connection has ended: what was under way through it is over."""


class Link:
    """Keeps a connection. For one event loop.

    Attributes:
        connection: The one that is there; None: there is none at present.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.connection: Connection | None = None
        self._driver: Driver | None = None
        self._parts: list[Part] = []
        self._ended = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._raising = asyncio.Lock()

    async def open(self, *parts: Part) -> None:
        """Connect for the first time, with the parts that are always there.

        Raises:
            TransportError: It cannot be reached, or does not let this program in.
            ConfigurationError: What is there was made differently, or a file is missing.
        """
        self._driver = self._driver or Driver()
        self._parts = list(parts)
        try:
            await self._raise(await connect(self._driver, self.options))
        except Closed as closed:
            raise trouble(closed, self.options, "connecting") from closed
        self._keeper = asyncio.create_task(self._keep(), name="waystation-amqp")

    async def channel(self) -> Channel:
        """Open a channel.

        Raises:
            Disconnected: There is no connection at present.
        """
        if self.connection is None:
            raise Disconnected(f"there is no connection to {self.options.shown} at present")
        return await self.connection.channel()

    async def add(self, part: Part) -> None:
        """Let another part work through this connection and those that follow.

        Raises:
            TransportError: It cannot; then it was not added.
        """
        async with self._raising:
            connection = self.connection
            if connection is None:
                raise Disconnected(f"there is no connection to {self.options.shown} at present")
            try:
                await part.up(connection)
            except Closed as closed:
                raise trouble(closed, self.options, "a subscription") from closed
            except TimeoutError as error:
                connection.drop(Disconnected(f"{self.options.shown} does not answer"))
                raise Disconnected(f"{self.options.shown} does not answer") from error
            if connection.ended is not None:
                part.down(connection.ended)
                raise connection.ended
            self._parts.append(part)

    def remove(self, part: Part) -> None:
        """Forget a part, which sees to its own end."""
        if part in self._parts:
            self._parts.remove(part)

    async def close(self) -> None:
        """Disconnect. May be called twice."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        connection, self.connection = self.connection, None
        self._parts = []
        if connection is not None:
            connection.on_end = lambda _: None
            await connection.close()

    async def _raise(self, connection: Connection) -> None:
        """Let all parts work through a new connection."""
        async with self._raising:
            try:
                for part in list(self._parts):
                    await part.up(connection)
            except BaseException:
                connection.drop()
                self._tell(Disconnected("the connection could not be used"))
                raise
            if connection.ended is not None:
                self._tell(connection.ended)
                raise connection.ended
            self._ended.clear()
            connection.on_end = self._lost
            self.connection = connection

    def _lost(self, error: Exception) -> None:
        self.connection = None
        _log.warning("%s: %s; connecting again", self.options.shown, error)
        self._tell(error)
        self._ended.set()

    def _tell(self, error: Exception) -> None:
        for part in list(self._parts):
            part.down(error)

    async def _keep(self) -> None:
        """Dial again whenever the connection has ended; said once, however often it takes."""
        while True:
            await self._ended.wait()
            pause_s = REDIAL_FIRST_S
            refused = ""
            while self.connection is None:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, REDIAL_S_MAX)
                try:
                    assert self._driver is not None, "there was a connection before"
                    await self._raise(await connect(self._driver, self.options))
                except (TransportError, ConfigurationError, Closed, TimeoutError) as error:
                    _log.debug("%s: %s", self.options.shown, describe(error))
                    if isinstance(error, (Refused, ConfigurationError)) and str(error) != refused:
                        refused = str(error)
                        _log.error("%s: %s", self.options.shown, refused)
            _log.warning("%s: connected again", self.options.shown)
