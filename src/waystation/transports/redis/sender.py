"""Sending: a batch is one script call, and the server flushes it once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from ..._core.delivery import SendOutcome, receipts
from ..._core.errors import Disconnected, SendRejected, SendUnconfirmed
from ..._core.limits import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, SEND_TIMEOUT_S
from ..._core.message import Message
from ..._core.run import ids_of
from ..._core.topic import check_name, is_reply_address
from .entries import Fields, fields_of
from .failures import send_failure
from .limits import REPLY_KEPT_S
from .line import Lost
from .link import Link

_pack = msgspec.msgpack.Encoder().encode

#: Of a message that is not simply appended: priority, when it is due, its dedupe key, its id. What it has not is False,
#: since Lua's lists have no holes.
Special: TypeAlias = tuple[int, float | bool, str | bool, str]


class Part:
    """The messages of a batch that go to one topic.

    Attributes:
        at: Their places in the batch.
        bodies: Their bodies. They travel apart: what a script reads as a list holds text only.
    """

    __slots__ = ("at", "bodies", "entries", "specials", "topic")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.bodies: list[bytes] = []
        self.entries: list[Fields] = []
        self.specials: dict[int, Special] = {}
        self.at: list[int] = []

    def add(self, index: int, message: Message, fields: Fields) -> None:
        """Add a message that stands in the batch at this index."""
        self.at.append(index)
        self.entries.append(fields)
        self.bodies.append(message.body)
        if message.priority or message.deliver_at is not None or message.dedupe_key is not None:
            self.specials[len(self.entries)] = special(message)

    def packed(self) -> list[Any]:
        """Return what the script reads."""
        return [self.topic, self.entries, [len(body) for body in self.bodies], self.specials or False]


def special(message: Message) -> Special:
    """Return what a script must know of a message that is not simply appended."""
    due = False if message.deliver_at is None else message.deliver_at
    key = False if message.dedupe_key is None else message.dedupe_key
    return min(max(message.priority, 0), 9), due, key, message.id


def sorted_out(messages: Sequence[Message]) -> list[Part]:
    """Return the parts of a batch, by topic.

    Raises:
        ConfigurationError: A topic's name is not legal.
    """
    parts: dict[str, Part] = {}
    for index, (message, fields) in enumerate(zip(messages, fields_of(messages), strict=True)):
        part = parts.get(message.topic)
        if part is None:
            if not is_reply_address(message.topic):
                check_name(message.topic)
            part = parts[message.topic] = Part(message.topic)
        part.add(index, message, fields)
    return list(parts.values())


class Sender:
    """Sends over a link, with a deadline."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._on_their_way: set[asyncio.Future[Any]] = set()
        self._window = repr(link.options.dedupe_window_s).encode()
        self._kept = b"%d" % REPLY_KEPT_S

    async def send(self, messages: Sequence[Message]) -> Sequence[SendOutcome]:
        """Send a batch; one outcome per message, in order. Cancelling leaves the outcome unknown."""
        try:
            await self._link.wait(SEND_TIMEOUT_S)
        except Disconnected as error:
            if not self._link.is_closed:
                return [SendRejected(f"{error}; nothing was sent") for _ in messages]
            raise
        on_their_way = [(piece, self._begin(piece)) for piece in _pieces(messages)]
        outcomes: list[SendOutcome] = []
        for (batch, parts), future in on_their_way:
            outcomes += self._outcomes(batch, parts, await future)
        return outcomes

    async def finish(self, patience_s: float) -> None:
        """Wait until what was sent is answered, but not for longer than this."""
        if self._on_their_way:
            await asyncio.wait(self._on_their_way, timeout=patience_s)

    def _begin(self, piece: tuple[Sequence[Message], list[Part]]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._on_their_way.add(future)

        def told(reply: Any) -> None:
            self._on_their_way.discard(future)
            if not future.done():
                future.set_result(reply)

        batch = _pack([part.packed() for part in piece[1]])
        bodies = b"".join([body for part in piece[1] for body in part.bodies])
        self._link.begin("send", (batch, bodies, self._window, self._kept), told)
        return future

    def _outcomes(self, messages: Sequence[Message], parts: list[Part], reply: Any) -> list[SendOutcome]:
        place = self._link.options.place
        if isinstance(reply, Lost):
            return [
                SendUnconfirmed(f"{place}: the connection ended before the answer: {reply}", message_id=each)
                for each in ids_of(messages)
            ]
        if isinstance(reply, Exception):
            return [send_failure(place, reply) for _ in messages]
        assert self._link.server is not None, "it has answered"
        firsts = {parts[part - 1].at[index - 1]: first.decode() for part, index, first in reply}
        return receipts(ids_of(messages), self._link.server.durability, firsts)


def _pieces(messages: Sequence[Message]) -> Iterator[tuple[Sequence[Message], list[Part]]]:
    """Return a batch in pieces that one call takes. Usually there is one."""
    first = size = 0
    for index, message in enumerate(messages):
        if index > first and (
            index - first >= BATCH_MESSAGES_MAX or size + len(message.body) > BATCH_BYTES_MAX
        ):
            yield messages[first:index], sorted_out(messages[first:index])
            first, size = index, 0
        size += len(message.body)
    if first < len(messages):
        yield messages[first:], sorted_out(messages[first:])
