"""The clerk: what waits for its time lies in one queue, whose one consumer publishes it when it is due.

Every process of a program offers itself; the server chooses one and, when that vanishes, another. What the clerk has
is unsettled, so it goes to its successor. What is to be done about it (listed, cancelled, moved, counted) is asked for
by a message in the same queue, which comes after everything that was put there before.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from ..._broker.attributes import text
from ..._core.delivery import Receipt, SendOutcome
from ..._core.errors import Disconnected, TransportError
from ..._core.message import Message
from ..._core.ports import Clock, Timer
from ..._core.topic import matches
from . import binding
from .channel import Arrival, Channel
from .connection import Connection
from .driver import Closed
from .holds import Holds
from .limits import HELD_S_MAX
from .names import Names
from .sender import Parcel, Sender, to_queue
from .tables import write_properties

#: Marks a message that asks something of the clerk.
ASK = "ask"


class Question(msgspec.Struct, frozen=True):
    """What the clerk is asked for. `answer`: the queue that the answer goes to.

    `list` wants what waits for a topic, `cancel` and `move` say which by its id, `count` wants how many messages wait
    for each queue. Everything that is due has been published when the answer comes.
    """

    what: Literal["list", "cancel", "move", "count"]
    answer: str
    number: int
    message_id: str = ""
    at: float = 0.0
    pattern: str = "#"
    before: float | None = None
    limit: int = 0


class Waiting(msgspec.Struct, frozen=True):
    """A message that waits."""

    due: float
    message: Message


class Answer(msgspec.Struct, frozen=True):
    """What the clerk says."""

    number: int
    done: bool = False
    waiting: list[Waiting] = []
    counts: dict[str, int] = {}
    oldest: dict[str, float] = {}


@dataclass(slots=True, eq=False)
class _Entry:
    due: float
    tag: int
    message: Message
    to: str
    attempts: int
    gone: bool = False


class Clerk:
    """A part of the link. Does nothing unless the server has chosen it."""

    def __init__(self, names: Names, clock: Clock, sender: Sender) -> None:
        self._names, self._clock, self._sender = names, clock, sender
        self._decoder = msgspec.json.Decoder(Question)
        self._numbers = itertools.count()
        self._renewing: asyncio.Task[None] | None = None
        self._reset()

    def _reset(self) -> None:
        self._holds: Holds | None = None
        self._entries: dict[int, _Entry] = {}  # by tag
        self._heap: list[tuple[float, int, _Entry]] = []
        self._under_way: set[int] = set()
        self._then: list[Callable[[], None]] = []
        self._timer: Timer | None = None
        self._timer_at = math.inf
        self._renewal: asyncio.TimerHandle | None = None

    async def up(self, connection: Connection, /) -> None:
        """Offer itself."""
        channel = await connection.channel()
        channel.on_end = connection.drop
        await self._offer(channel)

    async def _offer(self, channel: Channel) -> None:
        self._holds = Holds(channel)
        await channel.limit(0)
        await channel.consume(self._names.later, self._came)
        self._renewal = asyncio.get_running_loop().call_later(HELD_S_MAX, self._renew)

    def down(self, error: Exception, /) -> None:
        """The connection has ended: another is chosen."""
        if self._timer is not None:
            self._timer.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
        self._reset()

    async def close(self) -> None:
        """Let another be chosen."""
        if self._renewing is not None:
            await asyncio.gather(self._renewing)
        holds = self._holds
        self.down(Disconnected("closed"))
        if holds is not None:
            holds.channel.on_end = lambda _: None
            await holds.channel.close()

    def _renew(self) -> None:
        """Give back what was held for so long that the server would take offence; it comes again."""
        if self._entries and not self._under_way:
            self._renewing = asyncio.create_task(self._begin_anew(), name="waystation-amqp-clerk")
        else:
            self._renewal = asyncio.get_running_loop().call_later(_AGAIN_S, self._renew)

    async def _begin_anew(self) -> None:
        holds = self._holds
        assert holds is not None, "it is chosen"
        channel, connection = holds.channel, holds.channel.connection
        self.down(Disconnected("held for long"))
        try:
            await channel.close()
            await self.up(connection)
        except (TransportError, Closed, TimeoutError) as error:
            connection.drop(error)

    # --- arriving ----------------------------------------------------------------------------------------------

    def _came(self, arrival: Arrival) -> None:
        holds = self._holds
        if holds is None or arrival.channel is not holds.channel:
            return
        holds.add(arrival.tag)
        if binding.note(arrival) == ASK:
            holds.ack([arrival.tag])
            self._asked(arrival.body)
            return
        headers = arrival.properties.get("headers") or {}
        entry = _Entry(
            binding.instant(headers, binding.DUE),
            arrival.tag,
            binding.message_of(arrival),
            text(headers.get(binding.TO, "")),
            binding.number(headers, binding.ATTEMPTS),
        )
        self._entries[entry.tag] = entry
        self._put(entry)

    def _put(self, entry: _Entry) -> None:
        heapq.heappush(self._heap, (entry.due, next(self._numbers), entry))
        self._ring()

    def _ring(self) -> None:
        due = self._heap[0][0] if self._heap else math.inf
        if due >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._clock.call_later(max(0.0, due - self._clock.time()), self._look)

    def _look(self) -> None:
        """Publish what is due."""
        self._timer, self._timer_at = None, math.inf
        now = self._clock.time()
        due: list[_Entry] = []
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)[2]
            if not entry.gone and entry.tag not in self._under_way and entry.due <= now:
                due.append(entry)
        if due:
            self._publish(due)
        self._ring()

    def _publish(self, due: Sequence[_Entry]) -> None:
        holds = self._holds
        self._under_way.update(entry.tag for entry in due)

        def done(outcomes: Sequence[SendOutcome]) -> None:
            if self._holds is not holds or holds is None:
                return  # it has gone back to the server meanwhile
            kept = [entry for entry, found in zip(due, outcomes, strict=True) if isinstance(found, Receipt)]
            self._under_way.difference_update(entry.tag for entry in due)
            for entry in kept:
                del self._entries[entry.tag]
            holds.ack([entry.tag for entry in kept])
            for entry in due:
                if entry.tag in self._entries:  # refused, by a queue that is full: a little later
                    entry.due = self._clock.time() + _AGAIN_S
                    self._put(entry)
            self._go_on()

        self._sender.send_parcels([self._parcel(entry) for entry in due], done)

    def _go_on(self) -> None:
        """Answer what waited until everything that is due was published."""
        if not self._under_way:
            waiting, self._then = self._then, []
            for each in waiting:
                each()

    def _parcel(self, entry: _Entry) -> Parcel:
        if not entry.to:
            return self._sender.parcel(entry.message, None)
        extra = {binding.TOPIC: entry.message.topic, binding.ATTEMPTS: str(entry.attempts)}
        properties = binding.properties_of(entry.message, extra)
        return Parcel(entry.message.id, to_queue(entry.to), properties, entry.message.body)

    # --- questions ---------------------------------------------------------------------------------------------

    def _asked(self, body: bytes) -> None:
        try:
            question = self._decoder.decode(body)
        except msgspec.MsgspecError:
            return
        self._look()
        if self._under_way:
            self._then.append(lambda: self._answer(question))
        else:
            self._answer(question)

    def _answer(self, question: Question) -> None:
        match question.what:
            case "cancel":
                found = self._of(question.message_id)
                for entry in found:
                    self._drop(entry)
                self._say(question, Answer(question.number, done=bool(found)))
            case "move":
                self._move(question)
            case "count":
                self._say(question, self._count(question))
            case "list":
                self._say(question, self._list(question))

    def _say(self, question: Question, answer: Answer) -> None:
        properties = write_properties({}, content_type="application/json", message_id="", persistent=False)
        parcel = Parcel("", to_queue(question.answer), properties, msgspec.json.encode(answer), kept=False)
        self._sender.send_parcels([parcel], lambda _: None)

    def _of(self, message_id: str) -> list[_Entry]:
        return [
            entry
            for entry in self._entries.values()
            if entry.message.id == message_id and not entry.to and entry.tag not in self._under_way
        ]

    def _drop(self, entry: _Entry) -> None:
        assert self._holds is not None, "it is chosen"
        entry.gone = True
        del self._entries[entry.tag]
        self._holds.ack([entry.tag])

    def _list(self, question: Question) -> Answer:
        before = math.inf if question.before is None else question.before
        fitting = [
            entry
            for entry in self._entries.values()
            if not entry.to and entry.due < before and matches(question.pattern, entry.message.topic)
        ]
        fitting.sort(key=lambda entry: entry.due)
        waiting = [Waiting(entry.due, entry.message) for entry in fitting[: question.limit]]
        return Answer(question.number, waiting=waiting)

    def _move(self, question: Question) -> None:
        """Let a message wait for another time: published anew, so that it is known to whoever comes after."""
        found, holds = self._of(question.message_id), self._holds
        parcels = []
        for entry in found:
            message = msgspec.structs.replace(entry.message, deliver_at=question.at)
            properties = binding.properties_of(
                message, {binding.TOPIC: message.topic, binding.DUE: repr(question.at)}
            )
            parcels.append(Parcel(message.id, to_queue(self._names.later), properties, message.body))
            entry.gone = True
            self._under_way.add(entry.tag)

        def done(outcomes: Sequence[SendOutcome]) -> None:
            if self._holds is not holds or holds is None:
                return
            for entry, outcome in zip(found, outcomes, strict=True):
                self._under_way.discard(entry.tag)
                if isinstance(outcome, Receipt):
                    self._drop(entry)
                else:
                    entry.gone = False
                    self._put(entry)
            self._say(question, Answer(question.number, done=bool(found)))
            self._go_on()

        self._sender.send_parcels(parcels, done)

    def _count(self, question: Question) -> Answer:
        counts: dict[str, int] = {}
        oldest: dict[str, float] = {}
        for entry in self._entries.values():
            if entry.to:
                since = max(entry.message.time, entry.message.deliver_at or 0.0)
                counts[entry.to] = counts.get(entry.to, 0) + 1
                oldest[entry.to] = min(oldest.get(entry.to, since), since)
        return Answer(question.number, counts=counts, oldest=oldest)


#: How soon what a full queue has refused is tried again, in seconds.
_AGAIN_S = 1.0
