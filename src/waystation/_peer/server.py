"""`PeerServer`: serves a transport to whoever may have it: greets, keeps sessions, watches, says good-bye.

It opens no sockets: a gate makes a line for each connection with `accept`. Everything that a stranger could use up has
a limit.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from .._core.errors import RemoteProtocolError
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
from .._core.ports import Transport
from .._wire.frames import PROTOCOL, VERSIONS, Bye, Frame, GoAway, Hello, Welcome
from .._wire.states import Role
from .intake import Intake
from .line import Line
from .services import Client, Services
from .session import Session

_log = logging.getLogger("waystation.peer")

#: How often a server looks after its peers, in seconds.
_SWEEP_S = 1.0

#: How long wrong tokens are held against an address, in seconds.
_GRUDGE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Who is let in.

    Attributes:
        tokens: Of which one must be shown; none: nobody is asked.
        resume_s: How long the session of a client that was cut off is kept, in seconds.
        heartbeat_s: How often a peer says something, in seconds.
        peers_max: Connections at most.
    """

    tokens: tuple[str, ...] = ()
    resume_s: float = RESUME_S
    heartbeat_s: float = HEARTBEAT_S
    peers_max: int = PEERS_COUNT_MAX


class PeerServer:
    """Serves one transport, which is open and stays somebody else's. For one event loop.

    Args:
        name: What it says it is.
    """

    def __init__(self, transport: Transport, policy: Policy, *, name: str) -> None:
        self._transport, self._policy, self._name = transport, policy, name
        self._loop = asyncio.get_running_loop()
        self._intake = Intake(transport)
        self._services = Services(transport, self._end_process)
        self._strangers: dict[Line, float] = {}  # since when
        self._sessions: dict[bytes, Session] = {}
        self._by_line: dict[Line, Session] = {}
        self._wrong: dict[str, list[float]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._timer = self._loop.call_later(_SWEEP_S, self._sweep)

    def accept(self) -> Line:
        """Return the line for a new connection: whoever is there must say who he is, soon."""
        line = Line(Role.SERVER, self)
        self._strangers[line] = self._loop.time()
        return line

    @property
    def peers(self) -> int:
        """Connections of which it is known who they are."""
        return len(self._by_line)

    async def close(self, drain_s: float) -> None:
        """Let everybody finish what is under way, for so long; then leave. May be called twice."""
        self._leaving = True
        self._timer.cancel()
        for line in list(self._by_line):
            line.say(GoAway("the server is stopping"))
        busy = [task for each in self._sessions.values() for task in each.work]
        if busy:
            await asyncio.wait(busy, timeout=drain_s)
        for line in [*self._strangers, *self._by_line]:
            line.end(Bye("drained", "the server has stopped"))
        for session in list(self._sessions.values()):
            self._end(session)
        while self._ending:
            await asyncio.wait(self._ending)
        await self._intake.close()

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
        if line.whole_bytes and self._whole_bytes() > SERVER_WHOLES_BYTES_MAX:
            raise RemoteProtocolError("the server has too many large frames under way", code="limit")
        session.heard(frames)

    def ended(self, line: Line, reason: str) -> None:
        """Take in that a connection is gone. Its session waits for another, unless its client has said good-bye."""
        self._strangers.pop(line, None)
        session = self._by_line.pop(line, None)
        if session is None or session.line is not line:
            return
        session.cut(line)
        _log.info("process %d on %s is gone: %s", session.pid, session.host, reason)
        if self._leaving or not self._policy.resume_s or (line.parting and line.parting.code == "done"):
            self._end(session)

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
        session = self._sessions.get(frame.session) if frame.session else None
        resumed = session is not None
        if session is None:
            session = Session(
                secrets.token_bytes(16),
                self._transport,
                self._intake,
                self._services,
                host=frame.host[:255],
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

    def _welcome(self, session: Session, *, resumed: bool) -> Welcome:
        return Welcome(
            VERSIONS[1],
            self._transport.capabilities,
            session.id,
            resumed,
            session.received,
            server=self._name,
            heartbeat_s=self._policy.heartbeat_s,
            frame_bytes_max=FRAME_BYTES_MAX,
            requests_max=PEER_REQUESTS_MAX,
            bytes_max=PEER_SEND_BYTES_MAX,
        )

    def _refusal(self, line: Line, hello: Hello) -> Bye | None:
        """Say why somebody is not let in; None: he is."""
        first, last = hello.versions
        if hello.protocol != PROTOCOL or first > VERSIONS[1] or last < VERSIONS[0]:
            ours = f"{VERSIONS[0]} to {VERSIONS[1]}"
            return Bye(
                "version",
                f"this server speaks versions {ours} of the protocol, the client {first} to {last}: "
                "upgrade the older of the two",
                "Hello.versions",
            )
        if self._leaving:
            return Bye("drained", "the server is stopping")
        if len(self._by_line) >= self._policy.peers_max:
            return Bye("limit", f"this server takes {self._policy.peers_max:,} connections, and has them")
        return self._judge_token(line, hello.token)

    def _judge_token(self, line: Line, token: str) -> Bye | None:
        """Say why a token does not do. One that is wrong and one that is missing are told alike, in the same time."""
        if not self._policy.tokens:
            return None
        address = line.peer.rpartition(":")[0]
        now = self._loop.time()
        wrong = [each for each in self._wrong.get(address, ()) if each > now - _GRUDGE_S]
        if len(wrong) >= WRONG_TOKENS_COUNT_MAX:
            return Bye("access", "too many wrong tokens came from this address: wait a minute")
        shown = token.encode()
        matches = [
            hmac.compare_digest(shown, each.encode()) for each in self._policy.tokens
        ]  # all: in the same time
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
        now = self._loop.time()
        strangers = list(self._strangers.items())
        for place, (line, since) in enumerate(strangers):
            if now - since > GREETING_S or place < len(strangers) - STRANGERS_COUNT_MAX:
                line.end(Bye("silence", f"nobody said who he is within {GREETING_S:g} s"))
        for line in list(self._by_line):
            if line.full and now - line.full_since > WRITE_STALL_S:
                line.abort(f"it took nothing for {WRITE_STALL_S:g} s")
            else:
                line.beat(self._policy.heartbeat_s)
        for session in list(self._sessions.values()):
            if session.line is None and now - session.cut_at > self._policy.resume_s:
                self._end(session)
        self._wrong = {
            address: times for address, times in self._wrong.items() if times[-1] > now - _GRUDGE_S
        }
        self._timer = self._loop.call_later(_SWEEP_S, self._sweep)

    def _whole_bytes(self) -> int:
        return sum([line.whole_bytes for line in self._by_line])

    def _end(self, session: Session) -> None:
        """Give back what a client held."""
        if self._sessions.pop(session.id, None) is not None:
            task = self._loop.create_task(session.close())
            self._ending.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a client's session could not be ended in order: %s", error, exc_info=error)

    async def _end_process(self, client: Client, pid: int) -> int:
        """End the sessions of another process of a client's machine: it is dead, its supervisor says."""
        count = 0
        for session in list(self._sessions.values()):
            if (session.host, session.pid) == (client.host, pid) and session is not client:
                count += sum([bool(channel.unsettled) for channel in session.channels.values()])
                if session.line is not None:
                    session.line.abort("its process has ended")
                self._sessions.pop(session.id, None)
                await session.close()
        return count
