"""`Connection`: bytes in, frames out, and the other way round; each frame held against the table of states.

It does not read, write, wait or know the time. Whoever has a socket gives it what came (`received`), and writes what it
returns (`say`). Two of them joined by bytes are the whole protocol without a network, which is how it is tested.

Blame is part of the answer. `RemoteProtocolError`: the peer said what it may not; all that can still be said is a `Bye`
that tells it so. `LocalProtocolError`: this side was about to say what it may not; nothing has happened.
"""

from __future__ import annotations

from .._core.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from .._core.limits import FRAME_BYTES_MAX, GREETING_BYTES_MAX, WHOLE_BYTES_MAX
from .frames import PROTOCOL, VERSIONS, Frame, Hello, Welcome
from .framing import Bulk, Decoder, encode
from .states import TRANSITIONS, Role, Row, State

_DEAF = (State.FAILED, State.CLOSED)


class Connection:
    """One connection as one of its peers sees it.

    Attributes:
        state: How far it has come.
        peer_frame_bytes_max: The longest payload that the peer takes; what is longer is said in parts.
    """

    __slots__ = ("_decoder", "_may_hear", "_may_say", "_role", "_whole", "peer_frame_bytes_max", "state")

    state: State
    _may_say: Row
    _may_hear: Row

    def __init__(self, role: Role) -> None:
        server = role is Role.SERVER
        self._role = role
        self._decoder = Decoder(
            frame_bytes_max=GREETING_BYTES_MAX if server else FRAME_BYTES_MAX, whole_bytes_max=0
        )
        self._whole = 0  # the number of the next whole that is said
        self.peer_frame_bytes_max = FRAME_BYTES_MAX if server else GREETING_BYTES_MAX
        self._move(State.GREETING)

    @property
    def whole_bytes(self) -> int:
        """The totals of all that the peer has begun to say in parts."""
        return self._decoder.whole_bytes

    def received(self, data: bytes) -> list[Frame]:
        """Return what the peer has said with these bytes, in order. What follows a `Bye` of either side is not heard.

        Raises:
            RemoteProtocolError: It said what it may not. The state is `FAILED`; what these bytes said before is lost.
        """
        if self.state in _DEAF:
            return []
        try:
            frames = self._decoder.feed(data)
            for count, frame in enumerate(frames, 1):
                to = self._may_hear.get(type(frame))
                if to is not self.state:
                    self._enter(frame, to, RemoteProtocolError)
                    if to is State.CLOSED:
                        return frames[:count]
        except RemoteProtocolError:
            self._move(State.FAILED)
            raise
        return frames

    def say(self, frame: Frame) -> bytes | Bulk:
        """Return a frame as bytes to be written, or as parts of which each is to be written.

        Bytes are written in the order in which they were returned; between the parts of a `Bulk` others have a turn.

        Raises:
            LocalProtocolError: It may not be said now, or cannot be written at all. Nothing has changed.
        """
        to = self._may_say.get(type(frame))
        if to is self.state:
            said = encode(frame, frame_bytes_max=self.peer_frame_bytes_max, whole=self._whole)
            if type(said) is Bulk:  # not isinstance: that asks an abstract base class, at every frame
                self._whole = (self._whole + 1) % 2**32
            return said
        said = encode(frame, frame_bytes_max=self.peer_frame_bytes_max)
        if isinstance(said, Bulk):  # what changes the state is never so long that it must travel in parts
            raise LocalProtocolError(
                f"{type(frame).__name__} has {said.total_bytes:,} bytes; "
                f"at most {self.peer_frame_bytes_max:,} are taken",
                code="limit",
            )
        self._enter(frame, to, LocalProtocolError)
        return said

    def _enter(self, frame: Frame, to: State | None, error: type[ProtocolError]) -> None:
        """Go where a frame leads.

        Raises:
            ProtocolError: It may not be said; the class is `error`. Nothing has changed.
        """
        if to is None:
            ours = error is LocalProtocolError
            who = self._role if ours else self._role.peer
            raise error(
                f"a {who.value} may not say {type(frame).__name__} while the connection is {self.state.value}"
            )
        if isinstance(frame, Hello):
            common_version(frame, error)
        elif isinstance(frame, Welcome):
            if not VERSIONS[0] <= frame.version <= VERSIONS[1]:
                raise error(
                    f"version {frame.version} of the protocol was not asked for; {_spoken(VERSIONS)}",
                    code="version",
                    field="Welcome.version",
                )
            server = self._role is Role.SERVER
            self._decoder.allow(
                frame_bytes_max=frame.frame_bytes_max if server else FRAME_BYTES_MAX,
                whole_bytes_max=WHOLE_BYTES_MAX,
            )
            self.peer_frame_bytes_max = (
                FRAME_BYTES_MAX if server else min(frame.frame_bytes_max, FRAME_BYTES_MAX)
            )
        self._move(to)

    def _move(self, to: State) -> None:
        self.state = to
        self._may_say = TRANSITIONS[self._role][to]
        self._may_hear = TRANSITIONS[self._role.peer][to]
        if to in _DEAF:
            self._decoder.forget()


def common_version(hello: Hello, error: type[ProtocolError] = RemoteProtocolError) -> int:
    """Return the highest version that both peers speak.

    Raises:
        ProtocolError: There is none, or it is another protocol; the class is `error`.
    """
    if hello.protocol != PROTOCOL:
        raise error(
            f"the peer does not speak Waystation's protocol but {hello.protocol!r}", field="Hello.protocol"
        )
    first, last = max(hello.versions[0], VERSIONS[0]), min(hello.versions[1], VERSIONS[1])
    if first > last:
        raise error(
            f"the client speaks {_spoken(hello.versions)} of the protocol, the server {_spoken(VERSIONS)}: "
            "update the older of the two",
            code="version",
            field="Hello.versions",
        )
    return last


def _spoken(versions: tuple[int, int]) -> str:
    first, last = versions
    return f"version {first}" if first == last else f"versions {first} to {last}"
