"""What JetStream answers, and what is written to it: read and made without I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..._core.errors import TransportError
from .link import Frame
from .wire import Msg, header_block, read_headers, status_of

NS = 1_000_000_000

#: JetStream's numbers for what may be wrong.
NO_STREAM = 10059
NO_MESSAGE = 10037
NO_MESSAGE_TO_DELETE = 10057
NO_CONSUMER = 10014
WRONG_LAST = 10071
STREAM_EXISTS = 10058


class ApiError(TransportError):
    """JetStream refused.

    Attributes:
        number: Its own for the reason.
    """

    def __init__(self, message: str, *, number: int) -> None:
        super().__init__(message)
        self.number = number


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class Confirmed(msgspec.Struct):
    """The answer to a message for a stream."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _Error | None = None


_confirmed = msgspec.json.Decoder(Confirmed)


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as a stream has it."""

    subject: str
    sequence: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    pending: int = 0


def confirmation(msg: Msg) -> Confirmed:
    """Read the answer to a message for a stream."""
    if not msg.body:
        return Confirmed(error=_Error(status_of(msg.header), NO_STREAM, "no stream has this subject"))
    try:
        return _confirmed.decode(msg.body)
    except msgspec.MsgspecError as error:
        return Confirmed(error=_Error(500, 0, f"the answer cannot be read: {error}"))


class Pulled:
    """Waits for the messages that a consumer was asked for."""

    def __init__(self, future: asyncio.Future[list[Msg]], count: int) -> None:
        self.future, self._count, self._found = future, count, list[Msg]()

    def heard(self, msg: Msg) -> None:
        """A message came, or that there are no more."""
        if not status_of(msg.header):
            self._found.append(msg)
            if len(self._found) < self._count:
                return
        if not self.future.done():
            self.future.set_result(self._found)


class Written:
    """Waits for the answers to some frames. See `Asked`."""

    __slots__ = ("_left", "answers", "done", "error")

    def __init__(self, count: int) -> None:
        self.answers: list[Confirmed | None] = [None] * count
        self.error: TransportError | None = None
        self.done = _nothing
        self._left = count

    def answered(self, index: int, msg: Msg) -> bool:
        """An answer came."""
        self.answers[index] = confirmation(msg)
        self._left -= 1
        if self._left:
            return False
        self.done()
        return True

    def failed(self, error: TransportError, subject: str | None) -> bool:
        """None comes any more."""
        self.error = error
        self.done()
        return True


def _nothing() -> None:
    pass


def kept(key: str, value: object, revision: int | None) -> Frame:
    """Return a key's new value on its way."""
    head = (
        b"" if revision is None else b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: %d\r\n\r\n" % revision
    )
    return key, head, msgspec.json.encode(value)


def expecting(revision: int, headers: dict[str, str]) -> bytes:
    """Return headers of a message that is stored only if the last one of its subject is this; 0: if there is none."""
    return header_block({**headers, "Nats-Expected-Last-Subject-Sequence": str(revision)})


def stored(msg: Msg) -> Stored:
    """Read what a direct question brings."""
    headers = read_headers(msg.header)
    return Stored(
        headers.get("Nats-Subject", ""),
        int(headers.get("Nats-Sequence", "0")),
        headers,
        msg.body,
        int(headers.get("Nats-Num-Pending", "0")),
    )


def place_of(reply: bytes) -> tuple[int, int, int]:
    """Return where a consumer's message stands: in the stream, in what it was sent, and how many follow."""
    words = reply.split(b".")
    if len(words) == 9:
        return int(words[5]), int(words[6]), int(words[8])
    return int(words[7]), int(words[8]), int(words[10])


def subjects_of(info: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    """Return how many messages of each subject a stream has."""
    counts: dict[str, int] = info.get("state", {}).get("subjects") or {}
    return counts.items()


def nanoseconds(stamp: str) -> int:
    """Read a time as JetStream writes it, in nanoseconds; what is none is 0."""
    whole, _, part = stamp.rstrip("Z").partition(".")
    try:
        return round(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()) * NS + int(
            f"{part:0<9}"[:9]
        )
    except ValueError:
        return 0
