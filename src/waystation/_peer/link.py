"""`Link`: a client's session with a server: it dials, greets, hears, and comes back. What was asked is in its `Ledger`.

A cut is nobody's fault and nobody's business: the link dials again, says which session it was, and says again what the
server has not had. The server says again what was not acknowledged. So an outcome that a cut made unknown becomes
known. Only if the server has forgotten the session, because it was started again or the link was away for longer than
`RESUME_S`, what had been said is of unknown outcome, and what had not been said goes on in the new session.

Whatever happens there, the link goes on trying: what an operator repairs, a certificate or a token, needs no restart of
the programs that it shut out. The first refusal is told to all who wait.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from .._core.capabilities import Capabilities
from .._core.errors import (
    Disconnected,
    ProtocolError,
    Refused,
    SendRejected,
    TransportError,
)
from .._core.limits import (
    GREETING_S,
    HEARTBEAT_S,
    RECONNECT_DELAY_S_MAX,
    RECONNECT_FIRST_DELAY_S,
    SEND_TIMEOUT_S,
    WELCOME_BACK_S,
)
from .._core.message import Message
from .._wire.failures import error_of
from .._wire.frames import (
    ASKING,
    PROTOCOL,
    VERSIONS,
    Answer,
    Answers,
    Bye,
    Cancel,
    Credit,
    Deliver,
    Ended,
    Failed,
    Frame,
    GoAway,
    Hello,
    Request,
    Result,
    Sent,
    Welcome,
)
from .._wire.states import Role
from .busy_poll import BusyPoll
from .ledger import Done, DoneAsking, Ledger, Pending, nobody
from .line import Line, Listener, printable

_log = logging.getLogger("waystation.peer")

#: `Bye`s after which trying again would be no use.
_FINAL = ("access", "version")

#: `Bye`s after which saying the same again, in the same session, would end in the same way.
_BLAMES = ("protocol", "limit", "replaced")

Dial: TypeAlias = Callable[[Callable[[], Line]], Awaitable[Line]]
"""Connects a new line, made by the function given, to a server: the next address at each call. Raises `Disconnected` in
a sentence, or `Refused` if trying again is no use."""


class Channel(Protocol):
    """Who takes what a channel delivers."""

    next: int

    def deliver(self, frame: Deliver) -> None:
        """Take deliveries in.

        Raises:
            RemoteProtocolError: They are not what was to come.
        """

    def credit(self) -> Credit | None:
        """Say how much may be delivered, again; None: nothing."""

    def end(self, error: TransportError) -> None:
        """Nothing more comes."""


class Link(Listener):
    """One session, from the client's side. For one event loop; `open` and `close` once each.

    Attributes:
        capabilities: What the server gives, once it has said so.
        server: What it says it is.
    """

    def __init__(
        self,
        dial: Dial,
        *,
        name: str,
        token: str,
        place: str,
        heartbeat_s: float = HEARTBEAT_S,
        advice: str = "",
        busy_poll: bool = True,
    ) -> None:
        self._dial, self._name, self._token, self._place = dial, name, token, place
        self._loop = asyncio.get_running_loop()
        self.capabilities: Capabilities | None = None
        self.server = ""
        self._ledger = Ledger(BusyPoll() if busy_poll else None)
        self._greeting: asyncio.Future[None] | None = None
        self._session = b""
        self._channels: dict[int, Channel] = {}
        self._channel = 0
        self._beat_s, self._advice = heartbeat_s, advice
        self._ticking: asyncio.TimerHandle | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._idle: asyncio.Future[None] | None = None
        self._trouble = ""
        self._welcomed_at = 0.0
        self._short_lived = 0  # connections in a row that did not last
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._line is not None

    @property
    def takes_questions(self) -> bool:
        """Whether the server takes questions straight to responders."""
        return self._ledger.takes_questions

    @property
    def _line(self) -> Line | None:
        return self._ledger.line

    async def open(self, timeout_s: float) -> None:
        """Connect.

        Raises:
            Disconnected: It could not be done within the time; the text says what was tried last.
            Refused: The server does not let this program in.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._connect(first=True)
        except TimeoutError:
            why = f": {self._trouble}" if self._trouble else ""
            raise Disconnected(f"{self._place} did not answer within {timeout_s:g} s{why}") from None
        self._tick()

    async def close(self, patience_s: float) -> None:
        """Wait until what was asked for is answered, for so long, and leave. May be called twice."""
        if not self._closed and self._ledger.is_waited_for:
            self._idle = self._loop.create_future()
            try:
                async with asyncio.timeout(patience_s):
                    await self._idle
            except TimeoutError:
                _log.warning("%s: left with %d requests unanswered", self._place, len(self._ledger))
        self._closed = True
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.wait([self._dialling])
        if self._ticking is not None:
            self._ticking.cancel()
        line, self._ledger.line = self._line, None
        if line is not None:
            line.end(Bye("done"))
        self._drop_all(Disconnected(f"the connection to {self._place} was closed"))

    # --- asking ------------------------------------------------------------------------------------------------

    def request(
        self,
        make: Callable[[int, int], Request],
        done: Done,
        *,
        repeatable: bool = False,
        size: int = 0,
        timeout_s: float = SEND_TIMEOUT_S,
    ) -> Pending:
        """Say a request, now or when there is a connection and room.

        Args:
            done: Is called, later and always, with the answer, or with why there is none: `SendRejected` if the request
                was never said, else `Disconnected`, and what became of it is unknown.
            repeatable: Whether it may be said again when the server has forgotten the session.
            size: Bytes that it adds to what waits.
        """
        if not self._closed:
            return self._ledger.request(make, done, repeatable=repeatable, size=size, timeout_s=timeout_s)
        self._loop.call_soon(done, SendRejected(f"the connection to {self._place} was closed"))
        return Pending(make, done, deadline=0.0)

    def question(self, question: Message, done: DoneAsking) -> None:
        """Ask a question, for a server that `takes_questions`; `done` as of `request`, or with the reply itself."""
        if self._closed:
            self._loop.call_soon(done, SendRejected(f"the connection to {self._place} was closed"))
        else:
            self._ledger.ask(question, done)

    async def ask(
        self,
        make: Callable[[int, int], Request],
        *,
        repeatable: bool = False,
        size: int = 0,
        timeout_s: float = SEND_TIMEOUT_S,
    ) -> Result | Sent | Failed:
        """Say a request and wait for its answer.

        Raises:
            SendRejected: It cannot be written, so that nothing has happened.
            TransportError: There is none; whether it happened is unknown unless the error says so. Cancelling leaves
                that unknown too.
        """
        future: asyncio.Future[Answer | TransportError] = self._loop.create_future()

        def done(answer: Answer | TransportError) -> None:
            if not future.done():
                future.set_result(answer)

        pending = self.request(make, done, repeatable=repeatable, size=size, timeout_s=timeout_s)
        try:
            answer = await future
        except asyncio.CancelledError:
            pending.done = nobody
            if pending.seq:
                self.say(Cancel(pending.seq))
            raise
        if isinstance(answer, TransportError):
            never_said = isinstance(answer, SendRejected) and answer.retryable
            raise Disconnected(str(answer)) if never_said else answer
        return answer

    def tell(self, make: Callable[[int, int], Request]) -> None:
        """Say a request of whose answer nobody wants to know."""
        self.request(make, nobody)

    def flush(self) -> None:
        """Let what was said go now, instead of at the end of this turn of the loop."""
        if self._line is not None:
            self._line.flush()

    def say(self, frame: Frame) -> None:
        """Say what needs no answer, if there is a connection."""
        if self._line is not None:
            self._line.say(frame)

    def add_channel(self, channel: Channel) -> int:
        """Give a channel its number."""
        self._channel += 1
        self._channels[self._channel] = channel
        return self._channel

    def remove_channel(self, number: int) -> None:
        """What still comes for it is dropped."""
        self._channels.pop(number, None)

    # --- hearing -----------------------------------------------------------------------------------------------

    def heard(self, line: Line, frames: Sequence[Frame]) -> None:
        """Take in what the server says."""
        for frame in frames:
            if isinstance(frame, Deliver):
                channel = self._channels.get(frame.channel)
                if channel is not None:
                    channel.deliver(frame)
            elif isinstance(frame, Answers):
                self._ledger.answers(frame)
            elif isinstance(frame, (Sent, Result, Failed)):
                self._ledger.answer(frame)
            elif isinstance(frame, Welcome):
                self._welcomed(line, frame)
            elif isinstance(frame, Ended):
                ended = self._channels.pop(frame.channel, None)
                if ended is not None:
                    error = error_of(frame)
                    ended.end(error if isinstance(error, TransportError) else Disconnected(str(error)))
            elif isinstance(frame, GoAway):
                _log.info("%s is about to leave: %s", self._place, printable(frame.text))
        self._ledger.say_more()
        if self._idle is not None:
            self._check_idle()

    def ended(self, line: Line, reason: str) -> None:
        """Take in that the connection is gone, and dial again."""
        self._trouble = reason
        greeting, bye = self._greeting, line.parting
        if greeting is not None and not greeting.done():
            greeting.set_exception(self._unwelcome(line, reason))
        if line is not self._line:
            return
        self._ledger.line = None
        if self._closed:
            return
        lasted = self._loop.time() - self._welcomed_at > RECONNECT_DELAY_S_MAX
        self._short_lived = 0 if lasted else self._short_lived + 1
        _log.warning("%s: %s; connecting again", self._place, reason)
        if line.blamed or (bye is not None and bye.code in _BLAMES):
            self._session = b""
            self._begin_anew(Disconnected(f"{self._place} ended the connection: {reason}"), repeat=False)
        self._dialling = self._loop.create_task(self._come_back())

    def _unwelcome(self, line: Line, reason: str) -> Disconnected:
        """Say why there was no welcome."""
        bye = line.parting
        if bye is not None and bye.code in _FINAL:
            return Refused(printable(bye.text))
        silent = bye is None and not line.blamed and self._advice
        return Disconnected(f"{reason}; {self._advice}" if silent else reason)

    # --- connecting --------------------------------------------------------------------------------------------

    async def _come_back(self) -> None:
        """Connect again, however long that takes; later, if that was just done."""
        refused = False
        if self._short_lived > 1:
            await asyncio.sleep(_jittered(RECONNECT_FIRST_DELAY_S * 2.0 ** min(self._short_lived - 2, 10)))
        while True:
            try:
                await self._connect(first=False)
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait for ever
                if not refused:
                    expected = isinstance(error, Refused)
                    _log.error("%s: %s", self._place, error, exc_info=None if expected else error)
                    self._session = b""  # in which numbers would be missing from here on
                    self._drop_all(error if isinstance(error, Refused) else Disconnected(str(error)))
                self._trouble, refused = str(error), True
                await asyncio.sleep(_jittered(RECONNECT_DELAY_S_MAX))
            else:
                _log.info("%s: connected again", self._place)
                return

    async def _connect(self, *, first: bool) -> None:
        """Dial until somebody welcomes this client."""
        delay_s = RECONNECT_FIRST_DELAY_S
        patience_s = GREETING_S if first else WELCOME_BACK_S
        while True:
            try:
                await self._greet(patience_s)
            except Refused:
                raise
            except (Disconnected, ProtocolError) as error:
                self._trouble = str(error)
            else:
                return
            patience_s = GREETING_S
            await asyncio.sleep(_jittered(delay_s))
            delay_s = min(delay_s * 2, RECONNECT_DELAY_S_MAX if not first else 1.0)

    async def _greet(self, patience_s: float) -> None:
        """Dial once, and be welcomed within a time."""
        greeting: asyncio.Future[None] = self._loop.create_future()
        self._greeting = greeting
        line: Line | None = None
        try:
            async with asyncio.timeout(patience_s):
                line = await self._dial(lambda: Line(Role.CLIENT, self))
                line.say(self._hello())
                await greeting
        except TimeoutError:
            if line is None or line is not self._line:  # else welcome came in the very last moment
                raise Disconnected(f"nobody said welcome within {patience_s:g} s") from None
        finally:
            self._greeting = None
            if line is not None and line is not self._line:
                line.abort("no welcome")

    def _hello(self) -> Hello:
        return Hello(
            PROTOCOL,
            VERSIONS,
            name=self._name,
            host=socket.gethostname(),
            pid=os.getpid(),
            token=self._token,
            session=self._session,
            answered=self._ledger.answered,
            channels=[(number, channel.next) for number, channel in self._channels.items()],
            heartbeat_s=self._beat_s,
            features=[ASKING],
        )

    def _welcomed(self, line: Line, welcome: Welcome) -> None:
        """Go on with the session, or begin a new one with what can be said again."""
        if self._greeting is None or self._greeting.done():
            return  # too late: another line is being dialled
        self._greeting.set_result(None)
        self._welcomed_at = self._loop.time()
        self.capabilities, self.server = welcome.capabilities, welcome.server
        if self._session and not welcome.resumed:
            lost = "does not know this session any more: it was started again, or was away for too long"
            self._begin_anew(Disconnected(f"{self._place} {lost}"))
        self._session = welcome.session
        self._ledger.welcomed(line, welcome)
        for channel in self._channels.values():
            credit = channel.credit()
            if credit is not None:
                line.say(credit)
        self._ledger.say_more()

    def _begin_anew(self, lost: Disconnected, *, repeat: bool = True) -> None:
        """The session is over: tell who waits for what was said in it, or say it again in the next."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.end(lost)
        self._ledger.begin_anew(lost, repeat=repeat)

    # --- time --------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Keep the connection alive, and give up what waits for too long. Real time: a socket knows no other."""
        self._ticking = self._loop.call_later(min(1.0, self._beat_s / 2), self._tick)
        if self._line is not None:
            self._line.beat(self._beat_s)
        why = self._trouble if self._line is None else "it takes no more"
        self._ledger.give_up(
            SendRejected(f"{self._place} cannot be reached: {why}; nothing was sent"),
            Disconnected(f"{self._place} did not answer in time"),
        )
        self._check_idle()

    def _drop_all(self, error: TransportError) -> None:
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.end(error)
        self._ledger.drop_all(error)
        self._check_idle()

    def _check_idle(self) -> None:
        idle = self._idle
        if idle is not None and not idle.done() and not self._ledger.is_waited_for:
            idle.set_result(None)


def _jittered(delay_s: float) -> float:
    """Return a delay that is not everybody's, for a server that comes back has all its clients before the door."""
    return min(delay_s, RECONNECT_DELAY_S_MAX) * random.uniform(0.5, 1.0)
