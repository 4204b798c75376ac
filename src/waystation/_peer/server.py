"""`PeerServer`: serves a transport to whoever may have it: greets, keeps sessions, watches, says good-bye.

It opens no sockets: a gate makes a line for each connection with `accept`. Everything that a stranger could use up has
a limit.

Who somebody is, his *principal*, follows from what he has shown: a token, a certificate, or nothing. A session belongs
to the principal that began it: its name alone does not open it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from .._core.limits import (
    FRAME_BYTES_MAX,
    GREETING_S,
    HEARTBEAT_S,
    PEER_REQUESTS_MAX,
    PEER_SEND_BYTES_MAX,
    PEERS_COUNT_MAX,
    RESUME_S,
    SERVER_WHOLES_BYTES_MAX,
    STRANGERS_COUNT_MAX,
    WRITE_STALL_S,
    WRONG_TOKENS_COUNT_MAX,
)
from .._core.ports import Asking, Transport
from .._wire.frames import ASKING, VERSIONS, Bye, Frame, GoAway, Hello, Welcome
from .._wire.states import Role
from .busy_poll import BusyPoll
from .intake import Intake
from .line import Line, printable
from .services import Client, Services
from .session import Session
from .wholes import Wholes

_log = logging.getLogger("waystation.peer")

#: How often a server looks after its peers at least, in seconds.
_SWEEP_S_MAX = 1.0

#: How long wrong tokens are held against an address, in seconds.
_GRUDGE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Who is let in.

    Attributes:
        tokens: Of which one must be shown; none: nobody is asked.
        resume_s: How long the session of a client that was cut off is kept, in seconds.
        heartbeat_s: How often a peer says something, in seconds.
        greeting_s: How soon it must have said who it is, in seconds.
        stall_s: How long what is large may be under way without moving, in seconds.
        peers_max: Clients at most, those among them that may come back.
        strangers_max: Connections at most of which nobody knows yet who they are; then the oldest has to go.
        wholes_bytes_max: What peers may have under way in large frames, in bytes; more is not read for now.
        busy_poll: Whether to look for the next question for a moment before going to sleep.
    """

    tokens: tuple[str, ...] = ()
    resume_s: float = RESUME_S
    heartbeat_s: float = HEARTBEAT_S
    greeting_s: float = GREETING_S
    stall_s: float = WRITE_STALL_S
    peers_max: int = PEERS_COUNT_MAX
    strangers_max: int = STRANGERS_COUNT_MAX
    wholes_bytes_max: int = SERVER_WHOLES_BYTES_MAX
    busy_poll: bool = False


class PeerServer:
    """Serves one transport, which is open and stays somebody else's. For one event loop.

    Args:
        name: What it says it is.
        facts: What there is to say of its gate, for `doctor`.
    """

    def __init__(
        self,
        transport: Transport,
        policy: Policy,
        *,
        name: str,
        facts: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._transport, self._policy, self._name = transport, policy, name
        self._loop = asyncio.get_running_loop()
        self._intake = Intake(transport)
        self._poll = BusyPoll() if policy.busy_poll else None  # one for all, so that many cost no more
        self._services = Services(transport, self._end_process, facts)
        self._strangers: dict[Line, float] = {}  # since when
        self._sessions: dict[bytes, Session] = {}
        self._by_line: dict[Line, Session] = {}
        self._wrong: dict[str, list[float]] = {}
        self._wholes = Wholes(policy.wholes_bytes_max, policy.stall_s)
        self._ending: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._settled = asyncio.Event()  # something was, while leaving
        times = (
            policy.heartbeat_s / 2,
            policy.greeting_s / 2,
            policy.stall_s / 2,
            policy.resume_s or _SWEEP_S_MAX,
        )
        self._sweep_s = min(_SWEEP_S_MAX, *times)
        self._timer = self._loop.call_later(self._sweep_s, self._sweep)

    def accept(self) -> Line:
        """Return the line for a new connection: whoever is there must say who he is, soon.

        Who has waited for longest makes room: an honest client says it at once, and is not kept out by a crowd.
        """
        line = Line(Role.SERVER, self)
        line.on_whole = self._wholes.weigh
        self._strangers[line] = self._loop.time()
        if len(self._strangers) > self._policy.strangers_max:
            next(iter(self._strangers)).abort("too many connect at once")
        return line

    @property
    def peers(self) -> int:
        """Connections of which it is known who they are."""
        return len(self._by_line)

    async def close(self, drain_s: float) -> None:
        """Let everybody finish what is under way, for so long; then leave. May be called twice.

        Nothing more is delivered to groups. Clients settle what they have, and get answers to what they have asked.
        """
        self._leaving = True
        self._timer.cancel()
        for line in list(self._by_line):
            line.say(GoAway("the server is stopping"))
        storing = self._loop.create_task(self._intake.close())
        end = self._loop.time() + drain_s
        await self._let_settle(end)
        busy = [task for each in self._sessions.values() for task in each.work]
        await asyncio.wait([*busy, storing], timeout=max(0.0, end - self._loop.time()))
        for line in [*self._strangers, *self._by_line]:
            line.end(Bye("drained", "the server has stopped"))
        for session in list(self._sessions.values()):
            self._end(session, died=False)
        while self._ending:
            await asyncio.wait(self._ending)
        await storing

    async def _let_settle(self, end: float) -> None:
        """Wait until no client has anything that it has not settled."""
        for session in self._sessions.values():
            session.stop(self._settled.set)
        try:
            async with asyncio.timeout_at(end):
                while any(session.holds for session in self._sessions.values()):
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            _log.warning("some clients have not settled what they have; it comes again")

    # --- what lines call ---------------------------------------------------------------------------------------

    def heard(self, line: Line, frames: Sequence[Frame]) -> None:
        """Take in what somebody says.

        Raises:
            RemoteProtocolError: He may not say that.
        """
        session = self._by_line.get(line)
        if session is None:
            session = self._greet(line, frames[0])
            if session is None:
                return
            frames = frames[1:]
        session.heard(frames)

    def ended(self, line: Line, reason: str) -> None:
        """Take in that a connection is gone. Its session waits for another, unless its client has said good-bye."""
        self._strangers.pop(line, None)
        self._wholes.forget(line)
        session = self._by_line.pop(line, None)
        if session is None or session.line is not line:
            return
        session.cut(line)
        self._settled.set()
        _log.info("process %d on %s is gone: %s", session.pid, session.host, reason)
        done = line.parting is not None and line.parting.code == "done"
        if self._leaving or done or not self._policy.resume_s:
            self._end(session, died=not (self._leaving or done))

    # --- greeting ----------------------------------------------------------------------------------------------

    def _greet(self, line: Line, frame: Frame) -> Session | None:
        """Let somebody in, or tell him why not."""
        assert isinstance(frame, Hello), "the table of states allows nothing else"
        refusal = self._refusal(line, frame)
        if refusal is not None:
            _log.warning("%s was turned away: %s", line.peer, refusal.text)
            line.end(refusal)
            return None
        self._strangers.pop(line, None)
        principal = _principal(line, frame.token)
        session = self._own(frame.session, principal)
        resumed = session is not None
        if session is None:
            session = Session(
                secrets.token_bytes(16),
                self._transport,
                self._intake,
                self._services,
                poll=self._poll,
                principal=principal,
                address=_address(line),
                host=printable(frame.host),
                pid=frame.pid,
            )
            self._sessions[session.id] = session
        elif session.line is not None:
            before, session.line = session.line, None
            self._by_line.pop(before, None)
            before.end(Bye("replaced"))
        self._by_line[line] = session
        session.join(line, again=resumed)
        line.say(self._welcome(session, resumed=resumed))
        if resumed:
            session.resume(frame.answered, frame.channels)
        return session

    def _own(self, name: bytes, principal: bytes) -> Session | None:
        """Return the session of this name, if there is one and whoever names it is the one who began it."""
        session = self._sessions.get(name) if name else None
        return session if session and hmac.compare_digest(session.principal, principal) else None

    def _welcome(self, session: Session, *, resumed: bool) -> Welcome:
        return Welcome(
            VERSIONS[1],
            replace(self._transport.capabilities, multi_process=True),  # that is what serving is
            session.id,
            resumed,
            session.received,
            features=[ASKING] if isinstance(self._transport, Asking) else [],
            server=self._name,
            heartbeat_s=self._policy.heartbeat_s,
            frame_bytes_max=FRAME_BYTES_MAX,
            requests_max=PEER_REQUESTS_MAX,
            bytes_max=PEER_SEND_BYTES_MAX,
        )

    def _refusal(self, line: Line, hello: Hello) -> Bye | None:
        """Say why somebody is not let in; None: he is. That there is a common version, the line has seen to."""
        if self._leaving:
            return Bye("drained", "the server is stopping")
        comes_back = self._own(hello.session, _principal(line, hello.token)) is not None
        refusal = self._judge_token(line, hello.token, is_known=comes_back)
        if refusal is None and not comes_back and len(self._sessions) >= self._policy.peers_max:
            return Bye("limit", f"this server takes {self._policy.peers_max:,} clients, and has them")
        return refusal

    def _judge_token(self, line: Line, token: str, *, is_known: bool) -> Bye | None:
        """Say why a token does not do. One that is wrong and one that is missing are told alike, in the same time."""
        if not self._policy.tokens:
            return None
        address = _address(line)
        now = self._loop.time()
        wrong = [each for each in self._wrong.get(address, ()) if each > now - _GRUDGE_S]
        if len(wrong) >= WRONG_TOKENS_COUNT_MAX and not is_known:
            # A limit and no refusal: it may hit a neighbour of whoever guesses, and he is to come back.
            return Bye("limit", "too many wrong tokens came from this address: wait a minute")
        shown = _digest(token)
        matches = [hmac.compare_digest(shown, _digest(each)) for each in self._policy.tokens]  # all of them
        if any(matches):
            return None
        self._wrong[address] = [*wrong, now]
        return Bye(
            "access",
            "the token is missing or wrong: put the server's into the client's URL (?token=… or ?token_file=…)",
            "Hello.token",
        )

    # --- watching ----------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Look after everybody: who says nothing, takes nothing, or does not come back."""
        self._timer = self._loop.call_later(self._sweep_s, self._sweep)
        policy, now = self._policy, self._loop.time()
        for line, since in list(self._strangers.items()):
            if now - since <= policy.greeting_s:
                break  # in the order in which they came
            line.end(Bye("silence", f"nobody said who he is within {policy.greeting_s:g} s"))
        for line in list(self._by_line):
            if line.is_stuck(policy.stall_s):
                line.abort(f"it took next to nothing for {policy.stall_s:g} s")
            else:
                line.beat(policy.heartbeat_s)
        for line in self._wholes.stalled():
            line.end(Bye("limit", f"of a large frame next to nothing came for {policy.stall_s:g} s"))
        for session in list(self._sessions.values()):
            if session.line is None and now - session.cut_at > policy.resume_s:
                self._end(session, died=True)
        self._wrong = {
            address: times for address, times in self._wrong.items() if times[-1] > now - _GRUDGE_S
        }

    def _end(self, session: Session, *, died: bool) -> None:
        """Give back what a client held."""
        if self._sessions.pop(session.id, None) is not None:
            task = self._loop.create_task(session.close(died=died))
            self._ending.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a client's session could not be ended in order: %s", error, exc_info=error)

    async def _end_process(self, client: Client, pid: int) -> int:
        """End the sessions of another process of a client's machine: it is dead, its supervisor says.

        What a machine calls itself is no proof: only sessions of the same principal and address are ended.
        """
        count = 0
        for session in list(self._sessions.values()):
            if _same_machine(session, client) and session.pid == pid and session is not client:
                count += sum([bool(channel.unsettled) for channel in session.channels.values()])
                if session.line is not None:
                    session.line.abort("its process has ended")
                self._sessions.pop(session.id, None)
                await session.close(died=True)
        return count


def _principal(line: Line, token: str) -> bytes:
    """Return who somebody is, by what he has shown."""
    tls = line.info("ssl_object")
    certificate = (
        tls.getpeercert(binary_form=True) if isinstance(tls, (ssl.SSLObject, ssl.SSLSocket)) else None
    )
    key = line.info("peer_key")  # as a gate without certificates calls what it has checked
    shown = certificate or (key if isinstance(key, bytes) else b"")
    return _digest(token) + hashlib.sha256(shown).digest()


def _digest(token: str) -> bytes:
    """Return what stands for a token: of one length, so that comparing two takes the same time whatever they are."""
    return hashlib.sha256(token.encode()).digest()


def _address(line: Line) -> str:
    """Return where somebody is, without the port; of IPv6 his network, of which he has all addresses."""
    name = line.info("peername")
    if not isinstance(name, tuple) or not name:
        return ""
    try:
        found = ipaddress.ip_address(str(name[0]).partition("%")[0])
    except ValueError:
        return str(name[0])
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)


def _same_machine(one: Client, other: Client) -> bool:
    return (one.principal, one.address, one.host) == (other.principal, other.address, other.host)
