"""`Line`: one connection to a NATS server, from its greeting to its end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, cast

import msgspec

from ..._core.errors import Disconnected, Refused, RemoteProtocolError
from .limits import CONNECT_S
from .wire import Msg, Reader, Word

#: Pings without an answer after which a server counts as gone.
_PINGS_COUNT_MAX = 2


class Line(asyncio.Protocol):
    """What is written leaves in order; what comes is handed on as it is read.

    Args:
        on_messages: Called with what subscriptions get, in order.
        on_info: Called with what the server says of itself, at first and whenever that changes.
        on_error: Called with what the server complains about while the connection goes on.
        on_end: Called once when there is no connection any more, with the reason.
        heartbeat_s: How often the server is asked whether it is there.
    """

    def __init__(
        self,
        *,
        on_messages: Callable[[list[Msg]], None],
        on_info: Callable[[dict[str, Any]], None],
        on_error: Callable[[str], None],
        on_end: Callable[[str], None],
        heartbeat_s: float,
    ) -> None:
        self._on_messages, self._on_info = on_messages, on_info
        self._on_error, self._on_end = on_error, on_end
        self._loop = asyncio.get_running_loop()
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._info: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._welcome: asyncio.Future[None] = self._loop.create_future()
        self._heartbeat_s = heartbeat_s
        self._pings = 0
        self._timer: asyncio.TimerHandle | None = None
        self._reason = ""
        self._ended = False

    # --- beginning -----------------------------------------------------------------------------------------------

    async def greet(self, login: dict[str, Any], tls: ssl.SSLContext | None, name: str) -> None:
        """Hear who the server is, speak TLS if that is asked for, and log in.

        Args:
            login: What `CONNECT` says.
            name: In the server's certificate.

        Raises:
            Disconnected: It hung up, or took too long.
            Refused: It does not know this user, or will not be spoken to without TLS.
        """
        try:
            async with asyncio.timeout(CONNECT_S):
                info = await self._info
                if tls is not None:
                    await self._secure(tls, name)
                elif info.get("tls_required"):
                    raise Refused("the server wants TLS: say tls=on")
                self.write(b"CONNECT %b\r\nPING\r\n" % msgspec.json.encode(login))
                await self._welcome
        except TimeoutError:
            raise Disconnected(f"the server said nothing for {CONNECT_S:g} s") from None
        self._timer = self._loop.call_later(self._heartbeat_s, self._ping)

    async def _secure(self, tls: ssl.SSLContext, name: str) -> None:
        assert self._transport is not None, "it has greeted"
        transport = await self._loop.start_tls(self._transport, self, tls, server_hostname=name)
        if transport is None:
            raise Disconnected("the server hung up while speaking TLS")
        self._transport = transport

    # --- the event loop's calls ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a connection."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Something came."""
        try:
            said = self._reader.feed(data)
        except RemoteProtocolError as error:
            self.end(str(error))
            return
        messages = [each for each in said if type(each) is Msg]
        if len(messages) == len(said):
            self._on_messages(messages)
            return
        messages = []
        for each in said:
            if type(each) is Msg:
                messages.append(each)
            else:
                assert type(each) is Word, "there is nothing else"
                self._hear(each.name, each.text)
        if messages:
            self._on_messages(messages)

    def connection_lost(self, exc: Exception | None) -> None:
        """There is no connection any more."""
        self.end(self._reason or (str(exc) if exc else "the server hung up"))

    # --- talking -------------------------------------------------------------------------------------------------

    @property
    def welcome(self) -> bool:
        """Whether the server has let this program in, and has not hung up."""
        return self._welcome.done() and not self._welcome.exception() and not self._ended

    @property
    def buffered_bytes(self) -> int:
        """How much was written and has not left this process."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Send; nothing happens once it has ended."""
        if self._transport is not None and not self._ended:
            self._transport.write(data)

    def end(self, reason: str) -> None:
        """Hang up. May be called twice."""
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort() if self._pings >= _PINGS_COUNT_MAX else self._transport.close()
        for waiting in (self._info, self._welcome):
            if not waiting.done():
                waiting.set_exception(_why(reason))
                waiting.exception()  # somebody may wait for it, or nobody
        self._on_end(reason)

    def _hear(self, name: bytes, text: bytes) -> None:
        if name == b"PING":
            self.write(b"PONG\r\n")
        elif name == b"PONG":
            self._pings = 0
            if not self._welcome.done():
                self._welcome.set_result(None)
        elif name == b"INFO":
            self._hear_info(text)
        elif name == b"-ERR":
            complaint = text.decode(errors="replace").strip("'")
            if self._welcome.done() and complaint.lower().startswith("permissions violation"):
                self._on_error(complaint)
            else:
                self._reason = complaint
                self.end(complaint)

    def _hear_info(self, text: bytes) -> None:
        try:
            info = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.MsgspecError:
            self.end("it does not speak as a NATS server does")
            return
        self._on_info(info)
        if not self._info.done():
            self._info.set_result(info)

    def _ping(self) -> None:
        if self._pings >= _PINGS_COUNT_MAX:
            self.end(f"the server has not answered for {self._pings * self._heartbeat_s:g} s")
            return
        self._pings += 1
        self.write(b"PING\r\n")
        self._timer = self._loop.call_later(self._heartbeat_s, self._ping)


def _why(reason: str) -> Disconnected:
    if any(word in reason.lower() for word in ("authorization", "authentication", "credential")):
        return Refused(reason)
    return Disconnected(reason)
