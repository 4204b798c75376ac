"""The groups' places on topics: the semantics, without tasks or a clock.

A group's place on a topic's log is a position, the *cursor*: what lies before was delivered, what lies after is fresh,
but for what was taken ahead because of its priority. Each `take` is one lease over what it returns. Only a message that
must come again is *held*, with an entry of its own: it is ready, or waits for its time, or is parked.

Order by key: deliveries of a key that are in flight belong to one receiver, which handles them in order. While another
receiver has the key, or an earlier message of it must come again, its messages are parked and let out one at a time,
the earliest first. So a retried message blocks its key, and nothing else, until it is settled for good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..._core.delivery import Accept, DeadLetter, Delivery, Release, Retry, Settlement
from ..._core.inspection import GroupInfo, SeekInfo
from ..._core.limits import LEASE_S
from ..._core.message import Message, available
from ..._feeds.holding import Holding
from .placed import Entry
from .urgent import Urgent

if TYPE_CHECKING:
    from .log import Log
    from .question import Question

_AGAIN = Retry(0.0)

Bury: TypeAlias = "Callable[[Place, Message, int, DeadLetter], None]"
"""Keeps a message of a place as a dead letter, after so many attempts."""


class Receiver(Protocol):
    """Who takes from a place."""

    @property
    def wake(self) -> Callable[[], None]:
        """There may be something to take."""


@dataclass(slots=True)
class _Held:
    """A message that must come again. `stays`: it was tried before, so that a seek does not drop it."""

    offset: int
    message: Message
    attempts: int
    due: float
    stays: bool


@dataclass(slots=True, eq=False)
class Lease:
    """What one `take` returned. The lease itself is the fencing token: what was taken again has another.

    Attributes:
        deadline: By the monotonic clock, in seconds.
        first: No fresh message in it has a lower offset.
        open: The numbers not yet settled.
        lost: Those that were not settled when the lease ended.
    """

    place: Place
    owner: Receiver
    deadline: float
    first: int
    open: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)


def token(delivery: Delivery) -> tuple[Lease, int]:
    """Return a delivery's lease, and its number there."""
    assert isinstance(delivery.token, Lease), "a delivery of another transport"
    return delivery.token, delivery.index


class Place:
    """A group's place on one topic.

    Attributes:
        cursor: The offset of the first message that was neither delivered nor parked.
        leases: Those with open deliveries, in the order in which they were taken.
        questions: Those that are with a receiver and lie in no log, in the order in which they were asked.
    """

    def __init__(self, log: Log, group: str, start: int, *, ordered: bool, bury: Bury) -> None:
        self.log = log
        self.group = group
        self.cursor = start
        self.receivers: list[Receiver] = []
        self.leases: dict[Lease, None] = {}
        self.questions: dict[Question, None] = {}
        self._bury = bury
        self._holding = Holding[_Held](ordered=ordered)
        self._urgent = Urgent(start)

    # --- taking ----------------------------------------------------------------------------------------------

    def take(self, owner: Receiver, limit: int, now: float) -> list[Delivery]:
        """Lease at most `limit` messages to a receiver: what comes again first, then by priority and age."""
        deliveries: list[Delivery] = []
        if self.is_idle:
            return deliveries
        lease = Lease(self, owner, now + LEASE_S, self.cursor)
        while len(deliveries) < limit and (again := self._holding.take(owner)) is not None:
            number, held = again
            held.attempts += 1
            deliveries.append(Delivery.of(held.message, held.attempts, lease, index=number))
            lease.open.add(number)
        if self.log.has_priorities:
            room = limit - len(deliveries)
            first = self._urgent.choose(self.log.entries, self.log.base, self.cursor, room)
            self._take_fresh(lease, first, deliveries, now)
            self.cursor = self._urgent.skip(self.cursor)
        while len(deliveries) < limit and self.cursor < self.log.end:
            if not self._take_run(lease, limit - len(deliveries), deliveries):
                self._take_fresh(lease, self._next(limit - len(deliveries)), deliveries, now)
        if deliveries:
            self.leases[lease] = None
        return deliveries

    def _take_run(self, lease: Lease, count: int, deliveries: list[Delivery]) -> bool:
        """Take what is next if it is in a run, and needs no look at each message; say whether that is so."""
        run, first = self.log.entries[self.cursor - self.log.base], self.cursor
        if isinstance(run, Message) or self._urgent or (run.keys is not None and self._holding.ordered):
            return False
        past = min(first + count, run.past)
        content_type, expires_at = run.shared.content_type, run.shared.expires_at
        offsets = range(first, past)
        deliveries += [
            Delivery(run, offset, body, content_type, 1, lease, expires_at)
            for offset, body in zip(offsets, run.bodies_between(first, past), strict=True)
        ]
        lease.open.update(offsets)
        self.cursor = past
        return True

    def _next(self, count: int) -> Iterable[tuple[int, Entry]]:
        """Move the cursor over `count` messages and return those that were not taken yet, with their offsets."""
        first = self.cursor - self.log.base
        passed = self.log.entries[first : first + count]
        fresh = enumerate(passed, self.cursor)
        self.cursor += len(passed)
        if not self._urgent:
            return fresh
        left = self._urgent.left(fresh)
        self.cursor = self._urgent.skip(self.cursor)
        return left

    def _take_fresh(
        self, lease: Lease, fresh: Iterable[tuple[int, Entry]], deliveries: list[Delivery], now: float
    ) -> None:
        holding, owner = self._holding, lease.owner
        for offset, entry in fresh:
            message = entry if isinstance(entry, Message) else entry[offset]
            if message.key is not None and holding.ordered and not holding.lets_out(message.key, owner):
                holding.enter(_Held(offset, message, 0, now, stays=False), now)
                continue
            deliveries.append(
                Delivery(message, offset, message.body, message.content_type, 1, lease, message.expires_at)
            )
            lease.open.add(offset)

    # --- settling --------------------------------------------------------------------------------------------

    def settle(self, outcomes: Iterable[tuple[Delivery, Settlement]], now: float) -> int:
        """Settle deliveries of this place; return of how many the lease had ended. Twice is as good as once."""
        lost, holding = 0, self._holding
        for delivery, outcome in outcomes:
            lease, number = delivery.token, delivery.index
            assert isinstance(lease, Lease), "a delivery of another transport"
            if number not in lease.open:
                lost += number in lease.lost
                continue
            lease.open.remove(number)
            if not lease.open:
                del self.leases[lease]
            if number < 0 or type(outcome) is not Accept:
                self._close(number, delivery.message, delivery.attempt, outcome, now)
            if holding.has_keys and (key := delivery.key) is not None:  # of most topics none is in flight
                holding.leave(key, now)
        return lost

    def end(self, lease: Lease, outcome: Settlement, now: float) -> None:
        """Take back what a lease still has, as if each were settled by `outcome`; later settlements are lost."""
        lease.open, lease.lost = set(), lease.open
        del self.leases[lease]
        for number in sorted(lease.lost):
            if number >= 0:
                message, attempt = self.log.at(number), 1
            else:
                message, attempt = self._holding[number].message, self._holding[number].attempts
            self._close(number, message, attempt, outcome, now)
            if message.key is not None and self._holding.ordered:
                self._holding.leave(message.key, now)

    def put_back(self, message: Message, now: float) -> None:
        """Deliver a dead letter again, as a new first attempt, before what is fresh."""
        self._holding.enter(_Held(0, message, 0, now, stays=True), now)

    @property
    def is_idle(self) -> bool:
        """Whether nothing could be taken now."""
        return not self._holding.ready and self.cursor >= self.log.end

    def _close(self, number: int, message: Message, attempt: int, outcome: Settlement, now: float) -> None:
        if isinstance(outcome, Retry):
            self._again(number, message, attempt, now + outcome.delay_s, now)
        elif isinstance(outcome, Release):
            self._again(number, message, attempt - 1, now, now)
        elif number < 0:
            self._holding.remove(number)
        if isinstance(outcome, DeadLetter):
            self._bury(self, message, attempt, outcome)

    def _again(self, number: int, message: Message, attempts: int, due: float, now: float) -> None:
        if number >= 0:
            held = _Held(number, message, attempts, due, stays=attempts > 0)
        else:
            held = self._holding[number]
            self._holding.remove(number)
            held.attempts, held.due, held.stays = attempts, due, held.stays or attempts > 0
        self._holding.enter(held, now)

    # --- what lies in no log ---------------------------------------------------------------------------------

    def may_hand_over(self, message: Message) -> bool:
        """Whether a message may overtake the log: nothing is in it, and none of its key is under way."""
        key = message.key
        return self.is_idle and (key is None or not self._holding.has_key(key))

    def hand_over(self, question: Question) -> None:
        """Take note of a question that a receiver gets: what comes later of its key waits for it, as for any other."""
        self.questions[question] = None
        if question.message.key is not None and self._holding.ordered:
            self._holding.lets_out(question.message.key, question.owner)

    def settle_question(self, question: Question, outcome: Settlement, now: float) -> None:
        """End the first attempt at a question: it is done with, or comes again like what was in the log."""
        message = question.message
        if isinstance(outcome, DeadLetter):
            self._bury(self, message, 1, outcome)
        elif isinstance(outcome, (Retry, Release)):
            attempts, delay_s = (1, outcome.delay_s) if isinstance(outcome, Retry) else (0, 0.0)
            self._holding.enter(_Held(question.offset, message, attempts, now + delay_s, stays=True), now)
        self.end_question(question, now)

    def end_question(self, question: Question, now: float) -> None:
        """A receiver has it no more."""
        del self.questions[question]
        if question.message.key is not None and self._holding.ordered:
            self._holding.leave(question.message.key, now)

    # --- time and place --------------------------------------------------------------------------------------

    def tick(self, now: float) -> float:
        """End leases that are over, make ready what is due; return when to come again."""
        for lease in [lease for lease in self.leases if lease.deadline <= now]:
            self.end(lease, _AGAIN, now)
        self._holding.tick(now)
        first_end = min((lease.deadline for lease in self.leases), default=math.inf)
        return min(first_end, self.next_due)

    @property
    def next_due(self) -> float:
        """When the next waiting message is due, by the monotonic clock; infinity if none waits."""
        return self._holding.next_due

    def outlook(self, offset: int) -> SeekInfo:
        """Say what `seek` would do. Messages are told apart by their ids."""
        comes = {message.id for message in self.log.after(offset)}
        owed = {message.id for message in self._unsettled()}
        stay = {held.message.id for held in self._staying(comes)}
        return SeekInfo(
            group=self.group,
            topic=self.log.name,
            again=len(comes - owed),
            skipped=len(owed - comes - stay),
            taken_back=self._leased,
            lag=self.log.end - offset + len(stay),
        )

    def seek(self, offset: int, now: float) -> None:
        """Go to an offset. Leases end; what is before it and was tried stays to be tried again."""
        comes = {message.id for message in self.log.after(offset)}
        for lease in list(self.leases):
            self.end(lease, Release(), now)
        stay = self._staying(comes)
        self._holding.clear()
        for question in self.questions:  # what no log has, no seek takes back: it stays with its receiver
            if question.message.key is not None and self._holding.ordered:
                self._holding.lets_out(question.message.key, question.owner)
        self.cursor = offset
        self._urgent = Urgent(offset)
        for held in stay:
            self._holding.enter(held, now)
        self.wake()

    def _staying(self, comes: set[str]) -> list[_Held]:
        """Return what was tried, or brought back from the dead letters, and does not come from the log."""
        return [held for held in self._holding.all if held.stays and held.message.id not in comes]

    def wake(self) -> None:
        """Tell every receiver that there may be something to take."""
        for receiver in self.receivers:
            receiver.wake()

    def wake_if_ready(self) -> None:
        """The same, if something came back."""
        if self._holding.ready:
            self.wake()

    # --- looking ---------------------------------------------------------------------------------------------

    @property
    def floor(self) -> int:
        """The offset below which the group needs nothing from the log any more, or a little less.

        What is held has a copy of its own, and leases follow the cursor, so the oldest lease answers for all.
        """
        return next(iter(self.leases)).first if self.leases else self.cursor

    @property
    def in_flight(self) -> int:
        """Deliveries not yet settled."""
        return self._leased + len(self.questions)

    @property
    def _leased(self) -> int:
        return sum(len(lease.open) for lease in self.leases)

    @property
    def ready(self) -> int:
        """Messages that could be taken now."""
        return self._holding.ready + self.log.end - self.cursor - len(self._urgent)

    @property
    def waiting(self) -> int:
        """Messages that wait for their time, or behind an earlier one of their key."""
        return self._holding.waiting

    def info(self, now: float, dead: int) -> GroupInfo:
        """Return what there is to say about the group here at this Unix time, with so many dead letters."""
        oldest = self._oldest()
        return GroupInfo(
            group=self.group,
            topic=self.log.name,
            ready=self.ready,
            in_flight=self.in_flight,
            waiting=self.waiting,
            dead=dead,
            oldest_age_s=None if oldest is None else max(0.0, now - oldest),
        )

    def _oldest(self) -> float | None:
        """Return when the oldest message not yet settled could first be delivered, in Unix seconds."""
        fresh = [number for lease in self.leases for number in lease.open if number >= 0]
        if self.cursor < self.log.end:
            fresh.append(self.cursor)
        messages = [held.message for held in self._holding.all] + [self.log.at(offset) for offset in fresh]
        messages += [question.message for question in self.questions]
        return min(map(available, messages), default=None)

    def _unsettled(self) -> Iterator[Message]:
        for lease in self.leases:
            yield from [self.log.at(number) for number in lease.open if number >= 0]
        yield from [held.message for held in self._holding.all]
        fresh = enumerate(self.log.after(self.cursor), self.cursor)
        yield from [message for offset, message in fresh if offset not in self._urgent]
