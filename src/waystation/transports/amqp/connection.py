"""One connection to a server: the greeting, heartbeats, and frames to and from its channels.

Written for batches: what is sent in one turn of the event loop is one system call, and nothing is made for a message
but its bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from ..._core.errors import ConfigurationError, Disconnected, TransportError
from . import frames
from .channel import Channel
from .driver import Closed, Driver, refusal
from .limits import FRAME_BYTES_MAX
from .options import Options

_log = logging.getLogger("waystation.amqp")

_CONNECTION_CLASS = 10


class Connection(asyncio.Protocol):
    """A connection that has greeted, from `connect` on. It ends once.

    Attributes:
        server: What the server says of itself: `product`, `version`, `cluster_name`, `capabilities`.
        blocked: Why the server takes no messages at present; nothing: it does.
        on_end: Called when it ends by itself.
    """

    def __init__(self, driver: Driver, options: Options) -> None:
        self.driver, self.options = driver, options
        self.commands = driver.commands
        self.server: dict[str, Any] = {}
        self.blocked = ""
        self.on_end: Callable[[Exception], None] = lambda _: None
        self.ended: Exception | None = None
        self.piece_bytes = FRAME_BYTES_MAX - 8
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._channels: dict[int, Channel] = {}
        self._channels_max = 2047
        self._next = 1
        self._buffer = bytearray()
        self._unsent: list[bytes] = []
        self._flushing = False
        self._heartbeat_s = float(options.heartbeat_s)
        self._heard_at = self._said_at = self._loop.time()
        self._beat: asyncio.TimerHandle | None = None

    # --- beginning and end -------------------------------------------------------------------------------------

    async def greeting(self) -> None:
        """Wait until the server has let this side in.

        Raises:
            Refused: It does not.
            Disconnected: It ended the connection.
        """
        await self._greeted

    async def channel(self) -> Channel:
        """Open another channel.

        Raises:
            TransportError: The connection has ended, or has no channel left.
        """
        if self.ended is not None:
            raise self.ended
        for _ in range(self._channels_max):
            number, self._next = self._next, self._next % self._channels_max + 1
            if number not in self._channels:
                break
        else:
            raise Disconnected(f"all {self._channels_max} channels of this connection are in use")
        channel = self._channels[number] = Channel(self, number)
        try:
            await channel.ask(self.commands.Channel.Open())
        except BaseException:
            channel.hang_up()
            raise
        return channel

    def forget(self, channel: Channel) -> None:
        """A channel is over."""
        self._channels.pop(channel.number, None)

    async def close(self) -> None:
        """Say goodbye, which makes sure that everything said before was heard, and hang up."""
        if self.ended is None:
            self.say(self.commands.Connection.Close(200, "", 0, 0), 0)
            try:
                async with asyncio.timeout(self.options.connect_timeout_s):
                    await asyncio.shield(self._lost)
            except TimeoutError:
                pass
        self.drop()
        await asyncio.wait([self._lost], timeout=1.0)

    def drop(self, error: Exception | None = None) -> None:
        """Hang up without a word."""
        if self._transport is not None:
            self._transport.abort()
        self._end(error or Disconnected("the connection was closed"))

    def _end(self, error: Exception) -> None:
        if self.ended is not None:
            return
        self.ended = error
        if self._beat is not None:
            self._beat.cancel()
        if not self._greeted.done():
            self._greeted.set_exception(error)
            self._greeted.exception()
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.end(error)
            channel.gone()
        self.on_end(error)

    # --- speaking ----------------------------------------------------------------------------------------------

    def say(self, method: Any, channel: int) -> None:
        """Send a method."""
        self.write(self.driver.marshal(method, channel))

    def write(self, data: bytes) -> None:
        """Send bytes at the end of this turn of the event loop, together with what else it sends."""
        self._unsent.append(data)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what waits now."""
        self._flushing = False
        unsent, self._unsent = self._unsent, []
        if unsent and self._transport is not None and self.ended is None:
            self._said_at = self._loop.time()
            self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def read(self, frame: bytes) -> Any:
        """Return the method in a frame."""
        return self.driver.unmarshal(frame)[2]

    # --- hearing -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # which uvloop's is, but does not inherit from
        self._transport.write(frames.GREETING)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if not self._lost.done():
            self._lost.set_result(None)
        where = f"RabbitMQ at {self.options.host}:{self.options.port}"
        self._end(Disconnected(f"the connection to {where} was lost" + (f": {exc}" if exc else "")))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._heard_at = self._loop.time()
        buffer = self._buffer
        buffer += data
        at, have = 0, len(buffer)
        try:
            while have - at >= 8:
                kind, number, length = frames.HEAD.unpack_from(buffer, at)
                if kind == 65:  # the server greets with the version that it speaks, and hangs up
                    raise ValueError("it speaks another version of AMQP than 0-9-1")
                end = at + 8 + length
                if length > FRAME_BYTES_MAX:
                    raise ValueError(
                        f"a frame of {length:,} bytes; at most {FRAME_BYTES_MAX:,} were agreed on"
                    )
                if have < end:
                    break
                if buffer[end - 1] != frames.END:
                    raise ValueError("a frame does not end where it should")
                self._hear(kind, number, buffer, at, end)
                at = end
        except ValueError as error:
            where = f"RabbitMQ at {self.options.host}:{self.options.port}"
            self.drop(Disconnected(f"{where} sent what cannot be read: {error}"))
            return
        del buffer[:at]

    def _hear(self, kind: int, number: int, buffer: bytearray, at: int, end: int) -> None:
        if self.ended is not None:
            return
        if number == 0:
            if kind == frames.METHOD:
                self._hear_connection(self.read(bytes(buffer[at:end])))
            return
        channel = self._channels.get(number)
        if channel is None:
            return
        payload = bytes(buffer[at + 7 : end - 1])
        if kind == frames.BODY:
            channel.hear_body(payload)
        elif kind == frames.HEADER:
            channel.hear_header(payload)
        else:
            channel.hear_method(payload, bytes(buffer[at:end]))

    def _hear_connection(self, said: Any) -> None:
        match said.name:
            case "Connection.Start":
                self._start(said)
            case "Connection.Tune":
                self._tune(said)
            case "Connection.OpenOk":
                self._greeted.set_result(None)
            case "Connection.Close":
                self.say(self.commands.Connection.CloseOk(), 0)
                self.flush()
                closed = Closed(said.reply_code, said.reply_text)
                self._end(refusal(closed, self.options))
                if self._transport is not None:
                    self._transport.close()
            case "Connection.CloseOk":
                if self._transport is not None:
                    self._transport.close()
            case "Connection.Blocked":
                self.blocked = said.reason or "the server is short of memory or disk"
                _log.warning("RabbitMQ takes no messages at present: %s", self.blocked)
            case "Connection.Unblocked":
                self.blocked = ""
                _log.warning("RabbitMQ takes messages again")

    def _start(self, said: Any) -> None:
        self.server = dict(said.server_properties)
        able = ("publisher_confirms", "consumer_cancel_notify", "basic.nack", "connection.blocked",
                "authentication_failure_close", "exchange_exchange_bindings")  # fmt: skip
        known = {"product": "waystation", "capabilities": dict.fromkeys(able, True)}
        secret = f"\0{self.options.user}\0{self.options.password}"
        self.say(self.commands.Connection.StartOk(known, "PLAIN", secret, "en_US"), 0)

    def _tune(self, said: Any) -> None:
        commands = self.commands
        if said.heartbeat:
            self._heartbeat_s = min(self._heartbeat_s, float(said.heartbeat))
        if said.channel_max:
            self._channels_max = min(self._channels_max, said.channel_max)
        frame_bytes = min(FRAME_BYTES_MAX, said.frame_max or FRAME_BYTES_MAX)
        self.piece_bytes = frame_bytes - 8
        self.say(commands.Connection.TuneOk(self._channels_max, frame_bytes, round(self._heartbeat_s)), 0)
        self.say(commands.Connection.Open(self.options.vhost), 0)
        self._look_after()

    def _look_after(self) -> None:
        """Say something if nothing was said for a while; hang up if nothing was heard for three intervals."""
        now = self._loop.time()
        if now - self._heard_at > 3 * self._heartbeat_s:
            where = f"RabbitMQ at {self.options.host}:{self.options.port}"
            self.drop(Disconnected(f"{where} has said nothing for {now - self._heard_at:.0f} s"))
            return
        if now - self._said_at >= self._heartbeat_s / 2:
            self.write(frames.HEARTBEAT)
        self._beat = self._loop.call_later(self._heartbeat_s / 2, self._look_after)


async def connect(driver: Driver, options: Options) -> Connection:
    """Connect and greet.

    Raises:
        ConfigurationError: A file for TLS cannot be used.
        Refused: The server does not let this program in.
        Disconnected: Nobody answers there, or not in time, or it is not RabbitMQ.
    """
    loop = asyncio.get_running_loop()
    where = f"RabbitMQ at {options.host}:{options.port}"
    tls = options.tls
    connection: Connection | None = None
    try:
        async with asyncio.timeout(options.connect_timeout_s):
            _, connection = await loop.create_connection(
                lambda: Connection(driver, options), options.host, options.port, ssl=tls
            )
            await connection.greeting()
    except BaseException as error:
        if connection is not None:
            connection.drop()
        if isinstance(error, (TransportError, ConfigurationError)):
            raise
        if isinstance(error, TimeoutError):
            raise Disconnected(f"{where} did not answer within {options.connect_timeout_s:g} s") from error
        if isinstance(error, OSError):
            raise Disconnected(f"{where} cannot be reached: {error.strerror or error}") from error
        raise
    return connection
