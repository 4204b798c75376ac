"""`Line`: one connection to a server. Commands follow each other without waiting, and replies come in their order.

Whoever sent a command may lose interest; its reply is read all the same, and thrown away. So a call that is cancelled
can never give its reply to somebody else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

from ..._core.extras import import_driver
from .limits import REPLY_S

Told: TypeAlias = Callable[[Any], None]
"""Gets a reply: what the server said, an error that it said, or `Lost`. Must not raise."""


class Lost(Exception):
    """The connection ended before the reply came: whether the command was carried out is unknown."""


def command(*parts: bytes) -> bytes:
    """Return a command as the server reads it."""
    return b"*%d\r\n%b" % (len(parts), b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]))


class Line(asyncio.Protocol):
    """A connection.

    Args:
        on_lost: Called once when it has ended, with the reason.

    Attributes:
        on_word: Once set: called with everything that the server says from then on, which is no reply.
    """

    def __init__(self, *, on_lost: Callable[[str], None]) -> None:
        driver = import_driver("hiredis", extra="redis")
        self.error_type: type[Exception] = driver.ReplyError
        self._nothing = object()
        self._reader = driver.Reader(protocolError=ValueError, notEnoughData=self._nothing)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Told] = deque()
        self._on_lost = on_lost
        self.on_word: Callable[[Any], None] | None = None
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._moved = self._loop.time()
        self._reason = "the server closed the connection"

    # --- what the event loop calls -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._look()

    def data_received(self, data: bytes) -> None:
        """Hand out the replies that have come."""
        self._moved = self._loop.time()
        reader, nothing = self._reader, self._nothing
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not nothing:
                if self.on_word is not None:
                    self.on_word(reply)
                else:
                    self._waiting.popleft()(reply)
        except (ValueError, IndexError) as error:
            self.abort(f"what the server says cannot be understood: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        """Tell everybody who waits."""
        if self._watch is not None:
            self._watch.cancel()
        self._transport = None
        if error is not None:
            self._reason = str(error) or type(error).__name__
        waiting, self._waiting = self._waiting, deque()
        for told in waiting:
            told(Lost(self._reason))
        self._on_lost(self._reason)

    # --- what the gate calls -----------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes, told: Told) -> None:
        """Send one command. Its reply is handed over from the event loop."""
        if not self.is_open or self._transport is None:
            told(Lost(self._reason))
            return
        if not self._waiting:
            self._moved = self._loop.time()
        self._waiting.append(told)
        self._transport.write(data)

    def say(self, data: bytes) -> None:
        """Send a command whose reply is a word like any other."""
        if self.is_open and self._transport is not None:
            self._transport.write(data)

    async def ask(self, *parts: bytes) -> Any:
        """Send a command and return its reply; an error that the server says is returned, too.

        Raises:
            Lost: The connection has ended.
        """
        (reply,) = await self.ask_all([parts])
        return reply

    async def ask_all(self, commands: Sequence[Sequence[bytes]]) -> list[Any]:
        """Send commands together and return their replies.

        Raises:
            Lost: The connection has ended.
        """
        futures = [self._loop.create_future() for _ in commands]
        for parts, future in zip(commands, futures, strict=True):
            self.send(command(*parts), teller(future))
        replies = [await future for future in futures]
        for reply in replies:
            if isinstance(reply, Lost):
                raise reply
        return replies

    def abort(self, reason: str) -> None:
        """End it at once."""
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """End it when what was sent has left."""
        self._reason = "closed"
        if self._transport is not None:
            self._transport.close()

    def _look(self) -> None:
        """End it if the server has said nothing for too long although somebody waits."""
        if self._waiting and self._loop.time() - self._moved >= REPLY_S:
            self.abort(f"the server has not answered for {REPLY_S:g} s")
            return
        self._watch = self._loop.call_later(REPLY_S / 4, self._look)


def teller(future: asyncio.Future[Any]) -> Told:
    """Return what gives a reply to a future, if somebody still waits for it."""

    def tell(reply: Any) -> None:
        if not future.done():
            future.set_result(reply)

    return tell
