"""Sending. What is posted while a call is on its way goes with the next one: the server flushes each call once.

A batch that is too large for one call goes in pieces, one behind the other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from ..._core.delivery import SendOutcome, receipts
from ..._core.errors import ConfigurationError, SendRejected, SendUnconfirmed, TransportError
from ..._core.limits import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, SEND_TIMEOUT_S
from ..._core.message import Message
from ..._core.run import bytes_of, ids_of
from ..._core.topic import check_name, is_reply_address
from .failures import send_failure
from .forms import Form, Written, write
from .limits import CALLS_COUNT_MAX, JOIN_MESSAGES_COUNT, REPLY_KEPT_S
from .line import Lost
from .link import Link

_pack = msgspec.msgpack.Encoder().encode

Done: TypeAlias = Callable[[Sequence[SendOutcome]], None]

#: Of a message that is not simply appended: priority, when it is due, its dedupe key, its id. What it has not is False,
#: since Lua's lists have no holes.
Special: TypeAlias = tuple[int, float | bool, str | bool, str]


class Part:
    """The messages of a call that go to one topic.

    Attributes:
        at: Their places in the call.
        bodies: Their bodies. They travel apart: what a script reads as a list holds text only.
        stretches: Of consecutive messages of one form: how many, the form, and what belongs into its gaps.
    """

    __slots__ = ("at", "bodies", "specials", "stretches", "topic")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.at: list[int] = []
        self.bodies: list[bytes] = []
        self.specials: dict[int, Special] = {}
        self.stretches: list[tuple[list[int], Form, list[str]]] = []

    def add(self, index: int, message: Message, written: Written) -> None:
        """Add a message that stands in the call at this index."""
        form, values = written
        self.at.append(index)
        self.bodies.append(message.body)
        if self.stretches and self.stretches[-1][1] is form:
            count, _, others = self.stretches[-1]
            count[0] += 1
            others += values
        else:
            self.stretches.append(([1], form, list(values)))
        if message.priority or message.deliver_at is not None or message.dedupe_key is not None:
            self.specials[len(self.at)] = special(message)

    def packed(self) -> list[Any]:
        """Return what the script reads."""
        stretches = [(*count, *form, values) for count, form, values in self.stretches]
        return [self.topic, stretches, [len(body) for body in self.bodies], self.specials or False]


def special(message: Message) -> Special:
    """Return what a script must know of a message that is not simply appended."""
    due = False if message.deliver_at is None else message.deliver_at
    key = False if message.dedupe_key is None else message.dedupe_key
    return min(max(message.priority, 0), 9), due, key, message.id


def sorted_out(batches: Sequence[Sequence[Message]]) -> list[Part]:
    """Return the parts of a call, by topic."""
    parts: dict[str, Part] = {}
    index = 0
    for messages in batches:
        for message, written in zip(messages, write(messages), strict=True):
            part = parts.get(message.topic)
            if part is None:
                part = parts[message.topic] = Part(message.topic)
            part.add(index, message, written)
            index += 1
    return list(parts.values())


class _Post:
    """One piece of a batch that waits to leave, or for its outcome."""

    __slots__ = ("done", "messages")

    def __init__(self, messages: Sequence[Message], done: Done) -> None:
        self.messages, self.done = messages, done


class Sender:
    """Sends over a link, with a deadline."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Post] = deque()
        self._waiting_count = 0
        self._calls = 0
        self._idle: asyncio.Future[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._window = repr(link.options.dedupe_window_s).encode()
        self._kept = b"%d" % REPLY_KEPT_S
        self._known: set[str] = set()
        link.on_back.append(self._leave)

    async def send(self, messages: Sequence[Message]) -> Sequence[SendOutcome]:
        """Send a batch; one outcome per message, in order. Cancelling leaves the outcome unknown.

        Raises:
            ConfigurationError: A topic's name is not legal; nothing was sent.
            Disconnected: The transport was closed; nothing was sent.
        """
        self._check_names(messages)
        if self._link.is_closed:
            raise self._link.down()
        if not messages:
            return []
        future: asyncio.Future[Sequence[SendOutcome]] = self._loop.create_future()
        self._add(messages, lambda outcomes: None if future.done() else future.set_result(outcomes))
        return await future

    def post(self, messages: Sequence[Message], done: Done) -> None:
        """See `Posting`."""
        try:
            self._check_names(messages)
        except ConfigurationError as error:
            done([SendRejected(str(error))] * len(messages))
            return
        self._add(messages, done)

    async def finish(self, patience_s: float) -> None:
        """Wait until what was sent is answered; after this long, say that it is not."""
        if self._calls or self._waiting:
            self._idle = self._loop.create_future()
            await asyncio.wait([self._idle], timeout=patience_s)
        self._reject("the bus was closed")

    def _check_names(self, messages: Sequence[Message]) -> None:
        for topic in {message.topic for message in messages} - self._known:
            if not is_reply_address(topic):
                self._known.add(check_name(topic))

    def _add(self, messages: Sequence[Message], done: Done) -> None:
        pieces = list(_pieces(messages))
        if len(pieces) == 1:
            self._waiting.append(_Post(messages, done))
        else:
            outcomes: list[SendOutcome] = []

            def collect(some: Sequence[SendOutcome]) -> None:
                outcomes.extend(some)
                if len(outcomes) == len(messages):
                    done(outcomes)

            self._waiting.extend([_Post(piece, collect) for piece in pieces])
        self._waiting_count += len(messages)
        self._leave()

    def _leave(self) -> None:
        """Send what waits, unless it should gather for a while."""
        if not self._link.is_up:
            if self._deadline is None and self._waiting:
                self._deadline = self._loop.call_later(SEND_TIMEOUT_S, self._give_up)
            return
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        while self._waiting and (
            not self._calls or (self._calls < CALLS_COUNT_MAX and self._waiting_count >= JOIN_MESSAGES_COUNT)
        ):
            self._call(self._joined())

    def _joined(self) -> list[_Post]:
        posts: list[_Post] = []
        count = size = 0
        while self._waiting:
            messages = self._waiting[0].messages
            count, size = count + len(messages), size + bytes_of(messages)
            if posts and (count > BATCH_MESSAGES_MAX or size > BATCH_BYTES_MAX):
                break
            posts.append(self._waiting.popleft())
            self._waiting_count -= len(messages)
        return posts

    def _call(self, posts: list[_Post]) -> None:
        parts = sorted_out([post.messages for post in posts])
        batch = _pack([part.packed() for part in parts])
        bodies = b"".join([body for part in parts for body in part.bodies])
        self._calls += 1

        def told(reply: Any) -> None:
            self._calls -= 1
            self._leave()
            self._tell(posts, parts, reply)
            if self._idle is not None and not (self._calls or self._waiting or self._idle.done()):
                self._idle.set_result(None)

        self._link.begin("send", (batch, bodies, self._window, self._kept), told)

    def _tell(self, posts: list[_Post], parts: list[Part], reply: Any) -> None:
        """Tell what became of a call."""
        if isinstance(reply, Exception):
            for post in posts:
                post.done([self._failure(reply, each) for each in ids_of(post.messages)])
            return
        assert self._link.server is not None, "it has answered"
        durability = self._link.server.durability
        firsts = {parts[part - 1].at[index - 1]: first.decode() for part, index, first in reply}
        if len(posts) == 1 or not firsts:
            for post in posts:
                post.done(receipts(ids_of(post.messages), durability, firsts))
            return
        outcomes = receipts([each for post in posts for each in ids_of(post.messages)], durability, firsts)
        at = 0
        for post in posts:
            post.done(outcomes[at : at + len(post.messages)])
            at += len(post.messages)

    def _failure(self, error: Exception, message_id: str) -> TransportError:
        place = self._link.options.place
        if isinstance(error, Lost):
            said = f"{place}: the connection ended before the answer: {error}"
            return SendUnconfirmed(said, message_id=message_id)
        return send_failure(place, error, message_id)

    def _give_up(self) -> None:
        self._deadline = None
        self._reject(str(self._link.down()))

    def _reject(self, why: str) -> None:
        """Tell what has not left that it never will."""
        waiting, self._waiting, self._waiting_count = self._waiting, deque(), 0
        for post in waiting:
            post.done([SendRejected(f"{why}; nothing was sent") for _ in post.messages])


def _pieces(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Return a batch in pieces that one call takes. Usually there is one."""
    if len(messages) <= BATCH_MESSAGES_MAX and bytes_of(messages) <= BATCH_BYTES_MAX:
        yield messages
        return
    first = size = 0
    for index, message in enumerate(messages):
        large = size + len(message.body) > BATCH_BYTES_MAX
        if index > first and (index - first >= BATCH_MESSAGES_MAX or large):
            yield messages[first:index]
            first, size = index, 0
        size += len(message.body)
    yield messages[first:]
