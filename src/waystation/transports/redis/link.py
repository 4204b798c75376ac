"""`Link`: a connection that comes back. It knows the scripts, and what a cut means for whoever has asked."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from ..._core.errors import ConfigurationError, Disconnected, Refused, WaystationError
from ..._core.limits import RECONNECT_DELAY_S_MAX, RECONNECT_FIRST_DELAY_S
from ..._core.retry import RetryPolicy
from .failures import MOVES, code_of, failure
from .limits import RIDE_OUT_S
from .line import Line, Lost, Told, command, teller
from .options import Options
from .scripts import HOT, script
from .server import Moved, Server, greet, probe

_log = logging.getLogger("waystation.redis")

_AGAIN = RetryPolicy(first_delay=RECONNECT_FIRST_DELAY_S, max_delay=RECONNECT_DELAY_S_MAX)

#: Nodes of a cluster that are followed from one to the next.
_MOVES_MAX = 5


class Link:
    """One process's connection to a server.

    Args:
        name: What the server is told who this is.
        time: Returns the time that scripts go by, as text; nothing: the server's own.

    Attributes:
        options: What the URL says.
        server: What was found when the connection began.
        on_back: Called after each time that the connection has come back.
        on_gone: Called when it has been away for `RIDE_OUT_S`, with the reason.
    """

    def __init__(self, options: Options, name: str, time: Callable[[], bytes]) -> None:
        self.options = options
        self.name = name
        self.server: Server | None = None
        self.on_back: list[Callable[[], object]] = []
        self.on_gone: list[Callable[[Disconnected], object]] = []
        self._time = time
        self._base = options.base.encode()
        self._loop = asyncio.get_running_loop()
        self._line: Line | None = None
        self._host, self._port = options.host, options.port
        self._back: asyncio.Future[None] | None = None
        self._coming: asyncio.Task[None] | None = None
        self._gone: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._reason = "not connected"

    @property
    def is_up(self) -> bool:
        """Whether there is a connection."""
        return self._line is not None

    @property
    def is_closed(self) -> bool:
        """Whether it was closed for good."""
        return self._is_closed

    async def open(self) -> None:
        """Connect.

        Raises:
            ConfigurationError: The server will not do.
            Disconnected: There is none, or it refuses.
        """
        self._line = await self._connect()

    async def close(self) -> None:
        """Disconnect. Whoever still waits is told so."""
        self._is_closed = True
        self._reason = "closed"
        if self._gone is not None:
            self._gone.cancel()
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        line, self._line = self._line, None
        if line is not None:
            line.abort("closed")
            await asyncio.sleep(0)  # the loop closes the socket in its next turn

    # --- calls -------------------------------------------------------------------------------------------------

    def begin(self, name: str, arguments: tuple[bytes, ...], told: Told) -> None:
        """Send a script, after those that were sent before. Without a connection `told` gets `Lost` at once."""
        line = self._line
        if line is None:
            told(Lost(self._reason))
            return
        one = script(name)
        rest = (b"1", self._base, self._time(), *arguments)

        def taken(reply: Any) -> None:
            if isinstance(reply, line.error_type):
                code = code_of(reply)
                if code == "NOSCRIPT":  # nothing was done: the server was told to forget, or is new
                    line.send(command(b"EVAL", one.text, *rest), told)
                    return
                if code in MOVES:
                    line.abort(str(failure(self.options.place, reply)))
            told(reply)

        line.send(command(b"EVALSHA", one.digest, *rest), taken)

    def begin_command(self, parts: tuple[bytes, ...], told: Told) -> None:
        """As `begin`, for a command of the server's own."""
        if self._line is None:
            told(Lost(self._reason))
        else:
            self._line.send(command(*parts), told)

    async def call(self, name: str, *arguments: bytes) -> Any:
        """Send a script and return its reply; wait for `RIDE_OUT_S` if there is no connection.

        Raises:
            Disconnected: There is no connection, or it ended: then it is unknown whether the script has run.
            TransportError: The server says that something is wrong.
        """
        await self.wait(RIDE_OUT_S)
        future: asyncio.Future[Any] = self._loop.create_future()
        self.begin(name, arguments, teller(future))
        return self.read(await future)

    def read(self, reply: Any) -> Any:
        """Return a reply, or raise what it means.

        Raises:
            TransportError: See `call`.
        """
        if isinstance(reply, Lost):
            raise Disconnected(f"{self.options.place}: the connection ended: {reply}")
        if isinstance(reply, Exception):
            raise failure(self.options.place, reply)
        return reply

    async def wait(self, patience_s: float) -> None:
        """Wait until there is a connection.

        Raises:
            Disconnected: There was none for so long, or this was closed.
        """
        if self._line is not None:
            return
        if self._is_closed:
            raise Disconnected("the bus is closed")
        if self._back is None:
            self._back = self._loop.create_future()
        try:
            async with asyncio.timeout(patience_s):
                await asyncio.shield(self._back)
        except TimeoutError:
            raise self.down() from None

    def down(self) -> Disconnected:
        """Return what whoever finds no connection is told."""
        if self._is_closed:
            return Disconnected("the bus is closed")
        return Disconnected(f"{self.options.place}: {self._reason}")

    # --- connecting --------------------------------------------------------------------------------------------

    async def connect_line(
        self, on_lost: Callable[[str], None], on_word: Callable[[Any], None] | None = None
    ) -> Line:
        """Return a greeted connection to the same server, for something else than calls.

        Raises:
            Disconnected: There is none.
            Lost: It has ended.
        """
        line, _ = await self._dial(on_lost, on_word)
        return line

    async def _connect(self) -> Line:
        """Return a connection to a server that will do."""
        place = self.options.place
        try:
            async with asyncio.timeout(self.options.connect_timeout_s):
                return await self._connect_somewhere()
        except TimeoutError:
            raise Disconnected(
                f"{place} has not answered for {self.options.connect_timeout_s:g} s: is it reachable?{self._advice()}"
            ) from None
        except Lost as lost:
            raise Disconnected(f"{place} hung up: {lost}.{self._advice()}") from None
        except OSError as error:
            raise Disconnected(
                f"{place} cannot be reached: {error.strerror or error}: does a Redis listen there?{self._advice()}"
            ) from None

    async def _connect_somewhere(self) -> Line:
        self._host, self._port = self.options.host, self.options.port
        for _ in range(_MOVES_MAX):
            line, about = await self._dial(self._lost)
            try:
                self.server = await probe(line, self.options, about)
            except Moved as moved:
                self._host, self._port = moved.host or self._host, moved.port
                line.abort("moved")
                continue
            except BaseException:
                line.abort("given up")
                raise
            await line.ask_all([(b"SCRIPT", b"LOAD", script(name).text) for name in HOT])
            return line
        raise Disconnected(f"{self.options.place}: the cluster sends this program from node to node")

    async def _dial(
        self, on_lost: Callable[[str], None], on_word: Callable[[Any], None] | None = None
    ) -> tuple[Line, Any]:
        opened: Line | None = None

        def lost(reason: str) -> None:
            if opened is not None:
                on_lost(reason)

        line = Line(on_lost=lost)
        tls = self.options.tls
        await self._loop.create_connection(
            lambda: line, self._host, self._port, ssl=tls, server_hostname=self._host if tls else None
        )
        try:
            about = await greet(line, self.options, self.name)
        except BaseException:
            line.abort("not greeted")
            raise
        opened = line
        line.on_word = on_word
        return line, about

    def _advice(self) -> str:
        if self.options.tls is None:
            return " If it speaks TLS, write rediss://"
        return " If it speaks no TLS, write redis://"

    def _lost(self, reason: str) -> None:
        """The connection has ended."""
        if self._line is None or self._is_closed:
            return
        self._line, self._reason = None, reason
        _log.warning("%s: the connection ended: %s; trying again", self.options.place, reason)
        if self._back is None:
            self._back = self._loop.create_future()
        self._gone = self._loop.call_later(RIDE_OUT_S, self._tell_gone)
        self._coming = self._loop.create_task(self._come_back(), name="redis reconnect")

    def _tell_gone(self) -> None:
        for tell in list(self.on_gone):
            tell(self.down())

    async def _come_back(self) -> None:
        began, failures, said = self._loop.time(), 0, ""
        while True:
            try:
                line = await self._connect()
                break
            except WaystationError as error:
                self._reason = str(error).removeprefix(f"{self.options.place}: ")
                if str(error) != said and isinstance(error, (ConfigurationError, Refused)):
                    said = str(error)
                    _log.error("%s", said)
            failures += 1
            await asyncio.sleep(_AGAIN.delay_s(failures, jitter=random.random() / 2))
        if self._gone is not None:
            self._gone.cancel()
        self._line = line
        _log.info("%s: connected again after %.1f s", self.options.place, self._loop.time() - began)
        back, self._back = self._back, None
        for tell in list(self.on_back):
            tell()
        if back is not None and not back.done():
            back.set_result(None)
