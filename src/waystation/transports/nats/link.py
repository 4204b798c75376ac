"""`Link`: a client of NATS servers that comes back by itself. Everything else here talks through it.

There is one connection, dialled anew after a cut at whatever server of the cluster answers. Subscriptions are made
again; what had been asked and not answered fails with `Disconnected`, for nobody knows what became of it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..._core.errors import Disconnected, Refused, TransportError
from .dialling import dial
from .limits import API_ATTEMPT_S, API_TIMEOUT_S, REDIAL_FIRST_S, REDIAL_S_MAX
from .line import Line
from .options import Address, Options
from .wire import Msg, publication, status_of

_log = logging.getLogger("waystation.nats")

#: A message to be sent: where to, its headers as a block, its body.
Frame = tuple[str, bytes, bytes]

#: Statuses that end a series of answers.
_ENDS = (204, 404, 408)


class Asked(Protocol):
    """Who waits for answers to one or several frames."""

    def answered(self, index: int, msg: Msg) -> bool:
        """An answer to the frame at this place came; say whether that was the last one."""

    def failed(self, error: TransportError, subject: str | None) -> bool:
        """No answer comes any more: to frames for this subject, or None: to any; say whether that is all."""


class Link:
    """Talks to NATS.

    Args:
        options: What the URL says.

    Attributes:
        info: What the server says of itself.
        on_cut: Called after each cut.
        on_return: Called after each time that it came back.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self.info: dict[str, Any] = {}
        self.on_cut: list[Callable[[], None]] = []
        self.on_return: list[Callable[[], None]] = []
        self._line: Line | None = None
        self._inbox = f"_INBOX.{secrets.token_urlsafe(12)}"
        self._skip = len(self._inbox) + 1
        self._asked: dict[bytes, Asked] = {}
        self._numbers = itertools.count(1)
        self._sids = itertools.count(2)
        self._subscriptions: dict[int, tuple[str, Callable[[Msg], None]]] = {}
        self._redial: asyncio.Task[None] | None = None
        self._there = asyncio.Event()
        self._closed = True
        self._found: list[Address] = []
        self.cuts = 0

    @property
    def place(self) -> str:
        """Where it leads, for people."""
        return self._options.place

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._there.is_set()

    # --- connecting ----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect.

        Raises:
            Disconnected: No server can be reached within the URL's `connect_timeout`.
            Refused: The server does not let this program in.
        """
        self._closed = False
        self._there.clear()
        why: TransportError = Disconnected(f"{self.place} has not answered")
        try:
            async with asyncio.timeout(self._options.connect_timeout_s):
                delay_s = REDIAL_FIRST_S
                while True:
                    try:
                        await self._dial_any()
                        return
                    except Refused:
                        raise
                    except Disconnected as error:
                        why = error
                    await asyncio.sleep(delay_s)
                    delay_s = min(2 * delay_s, REDIAL_S_MAX)
        except TimeoutError:
            self._closed = True
            raise why from None
        except BaseException:
            self._closed = True
            raise

    async def close(self) -> None:
        """Hang up. What waits for an answer fails. May be called twice."""
        self._closed = True
        self._there.clear()
        if self._redial is not None:
            self._redial.cancel()
            await asyncio.wait([self._redial])
            self._redial = None
        line, self._line = self._line, None
        if line is not None:
            line.end("closed")
        self._fail(Disconnected(f"the connection to {self.place} was closed"))
        self._subscriptions.clear()

    async def ready(self, timeout_s: float) -> None:
        """Wait until there is a connection.

        Raises:
            Disconnected: There was none for so long, or this side was closed.
        """
        if self._there.is_set():
            return
        if self._closed:
            raise Disconnected(f"{self.place} is not open")
        try:
            async with asyncio.timeout(timeout_s):
                await self._there.wait()
        except TimeoutError:
            raise Disconnected(f"{self.place} has not been reached for {timeout_s:g} s") from None

    async def _dial_any(self) -> None:
        """Try each address once, and be connected, or raise why the last one was not."""
        options = self._options
        known = dict.fromkeys((*options.addresses, *self._found))
        why: TransportError = Disconnected(f"{self.place} has no address")
        for address in known:
            try:
                line = await self._dial(address)
            except TransportError as error:
                why = error
                continue
            self._line = line
            line.write(b"SUB %b.> 1\r\n" % self._inbox.encode())
            for sid, (subject, _) in self._subscriptions.items():
                line.write(b"SUB %b %d\r\n" % (subject.encode(), sid))
            self._there.set()
            return
        raise why

    async def _dial(self, address: Address) -> Line:
        lines: list[Line] = []

        def make() -> Line:
            line = Line(
                on_messages=self._hear,
                on_info=self._learn,
                on_error=self._complain,
                on_end=lambda reason: self._cut(lines[0], reason),
                heartbeat_s=self._options.heartbeat_s,
            )
            lines.append(line)
            return line

        try:
            return await dial(address, self._options, make, signed=lambda: "nonce" in self.info)
        finally:
            if lines and not lines[0].welcome:
                lines[0].end("it was not used")

    def _learn(self, info: dict[str, Any]) -> None:
        self.info = info
        for text in info.get("connect_urls") or ():
            host, _, port = str(text).rpartition(":")
            address = Address(host.strip("[]"), int(port) if port.isdigit() else 0)
            if address.port and address not in self._found and len(self._found) < 64:
                self._found.append(address)

    def _cut(self, line: Line, reason: str) -> None:
        if line is not self._line:
            return
        self._line = None
        self._there.clear()
        self.cuts += 1
        self._fail(Disconnected(f"the connection to {self.place} was cut: {reason}"))
        if self._closed:
            return
        _log.warning("%s: the connection was cut (%s); connecting again", self.place, reason)
        self._redial = asyncio.get_running_loop().create_task(self._come_back())
        for told in self.on_cut:
            told()

    async def _come_back(self) -> None:
        delay_s = REDIAL_FIRST_S
        while True:
            await asyncio.sleep(delay_s)
            try:
                await self._dial_any()
                break
            except TransportError as error:
                _log.debug("%s: %s", self.place, error)
            delay_s = min(2 * delay_s, REDIAL_S_MAX)
        _log.info("%s: connected again", self.place)
        for told in self.on_return:
            told()

    # --- hearing -------------------------------------------------------------------------------------------------

    def _hear(self, messages: list[Msg]) -> None:
        asked, subscriptions, skip = self._asked, self._subscriptions, self._skip
        for msg in messages:
            if msg.sid == 1:
                number, _, index = msg.subject[skip:].partition(b".")
                who = asked.get(number)
                if who is not None and who.answered(int(index or b"0"), msg):
                    asked.pop(number, None)
            else:
                found = subscriptions.get(msg.sid)
                if found is not None:
                    found[1](msg)

    def _complain(self, complaint: str) -> None:
        """The server refuses something that this user may not do; whoever asked it would wait forever."""
        _, quote, rest = complaint.partition('"')
        subject = rest.partition('"')[0] if quote else ""
        error = Refused(f"{self.place}: {complaint}; let this user publish and subscribe there")
        for number, who in list(self._asked.items()):
            if who.failed(error, subject or None):
                self._asked.pop(number, None)
        _log.warning("%s: %s", self.place, complaint)

    def _fail(self, error: TransportError) -> None:
        asked, self._asked = self._asked, {}
        for who in asked.values():
            who.failed(error, None)

    # --- talking -------------------------------------------------------------------------------------------------

    def subscribe(self, subject: str, heard: Callable[[Msg], None]) -> int:
        """Hear what is sent to a subject from now on, also after a cut; return the number to end it."""
        sid = next(self._sids)
        self._subscriptions[sid] = (subject, heard)
        if self._line is not None:
            self._line.write(b"SUB %b %d\r\n" % (subject.encode(), sid))
        return sid

    def unsubscribe(self, sid: int) -> None:
        """Hear no more of it."""
        if self._subscriptions.pop(sid, None) is not None and self._line is not None:
            self._line.write(b"UNSUB %d\r\n" % sid)

    def tell(self, frames: Sequence[Frame]) -> bool:
        """Send to whoever is there, without an answer; say whether it has left."""
        if self._line is None:
            return False
        self._line.write(b"".join([publication(subject, "", head, body) for subject, head, body in frames]))
        return True

    def begin(self, frames: Sequence[Frame], asked: Asked) -> bytes | None:
        """Send, in order, each frame with a place for its answer; None: there is no connection, nothing was sent.

        Returns:
            What `forget` takes.
        """
        line = self._line
        if line is None:
            return None
        number = b"%x" % next(self._numbers)
        self._asked[number] = asked
        inbox = b"%b.%b." % (self._inbox.encode(), number)
        parts = []
        for index, (subject, head, body) in enumerate(frames):
            if head:
                size = len(head)
                parts.append(
                    b"HPUB %b %b%d %d %d\r\n%b%b\r\n"
                    % (subject.encode(), inbox, index, size, size + len(body), head, body)
                )
            else:
                parts.append(b"PUB %b %b%d %d\r\n%b\r\n" % (subject.encode(), inbox, index, len(body), body))
        line.write(b"".join(parts))
        return number

    def forget(self, number: bytes) -> None:
        """Nobody waits for these answers any more."""
        self._asked.pop(number, None)

    def pull(self, subject: str, body: bytes, reply: str) -> None:
        """Ask for messages that come to a subscription."""
        if self._line is not None:
            self._line.write(publication(subject, reply, b"", body))

    async def ask(self, subject: str, body: bytes = b"", head: bytes = b"") -> Msg:
        """Ask a question that may be asked twice, and return its answer; a cut meanwhile is waited out.

        Raises:
            Disconnected: There was no answer within `API_TIMEOUT_S`.
            Refused: This user may not.
        """
        return (await self._ask(subject, body, head, many=False))[0]

    async def ask_many(self, subject: str, body: bytes = b"") -> list[Msg]:
        """As `ask`, where there are several answers, of which the last has a status."""
        return await self._ask(subject, body, b"", many=True)

    async def _ask(self, subject: str, body: bytes, head: bytes, *, many: bool) -> list[Msg]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + API_TIMEOUT_S
        why: TransportError = Disconnected(f"{self.place} has not answered")
        while (left_s := deadline - loop.time()) > 0:
            await self.ready(left_s)
            question = _Question(loop.create_future(), subject, many=many)
            number = self.begin([(subject, head, body)], question)
            if number is None:
                continue
            try:
                async with asyncio.timeout(min(API_ATTEMPT_S, left_s)):
                    return await question.future
            except TimeoutError:
                why = Disconnected(f"{self.place} has not answered for {API_ATTEMPT_S:g} s")
            except Refused:
                raise
            except Disconnected as error:
                why = error
                if self._closed:
                    raise
            finally:
                self.forget(number)
        raise why


class _Question:
    """One frame, and a future for its answer or answers."""

    __slots__ = ("_found", "_many", "_subject", "future")

    def __init__(self, future: asyncio.Future[list[Msg]], subject: str, *, many: bool) -> None:
        self.future = future
        self._found: list[Msg] = []
        self._subject = subject
        self._many = many

    def answered(self, index: int, msg: Msg) -> bool:
        """See `Asked`."""
        self._found.append(msg)
        if self._many and status_of(msg.header) not in (*_ENDS, 503, 400, 413):
            return False
        if not self.future.done():
            self.future.set_result(self._found)
        return True

    def failed(self, error: TransportError, subject: str | None) -> bool:
        """See `Asked`."""
        if subject not in (None, self._subject):
            return False
        if not self.future.done():
            self.future.set_exception(error)
        return True
