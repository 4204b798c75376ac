"""Receiving from `memory://`: the feeds that the transport hands out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

from ..._core.delivery import RELEASE, Delivery, Release, Retry, Settlement
from ..._core.errors import Disconnected, SettlementLost
from ..._core.limits import LEASE_S
from ..._core.ports import Clock
from ..._core.question import Reply
from ..._feeds.bell import Bell
from ..._feeds.mailbox import Mailbox as _Mailbox
from .place import Place, token
from .question import Question, Questions

_Outcome: TypeAlias = tuple[Delivery, Settlement]


class Keeper(Protocol):
    """What a feed needs of its transport."""

    clock: Clock

    def ring_at(self, instant: float) -> None:
        """Look at all places again at this instant of the monotonic clock, or earlier."""

    def forget(self, feed: GroupFeed | Mailbox) -> None:
        """The feed was closed."""


class GroupFeed:
    """One member of a group: takes from the group's place on every topic that its pattern fits."""

    def __init__(self, keeper: Keeper, group: str, pattern: str) -> None:
        self.group = group
        self.pattern = pattern
        self._keeper = keeper
        self._places: deque[Place] = deque()
        self._bell = Bell()
        #: There may be something to take.
        self.wake = self._bell.ring
        self.questions = Questions(self)
        self._closed = False

    def join(self, place: Place) -> None:
        """Take from this place too."""
        self._places.append(place)
        place.receivers.append(self)
        self.wake()

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery.

        Raises:
            Disconnected: The feed was closed, before or meanwhile.
        """
        while not (deliveries := self.take(limit)):
            await self._bell.rung()
        return deliveries

    def listen(self, ready: Callable[[], None], /) -> None:
        """See `PromptFeed`."""
        self.wake = ready

    def take(self, limit: int, /) -> Sequence[Delivery]:
        """Return at most so many deliveries of what is there.

        Raises:
            Disconnected: The feed was closed.
        """
        if self._closed:
            raise Disconnected(f"the feed of group {self.group!r} on {self.pattern!r} was closed")
        now = self._keeper.clock.monotonic()
        taken: list[Delivery] = []
        for _ in range(len(self._places)):
            place = self._places[0]
            self._places.rotate(-1)  # the next call begins with the next topic, so that none is starved
            taken += place.take(self, limit - len(taken), now)
            if len(taken) >= limit:
                break
        if taken:
            self._keeper.ring_at(now + LEASE_S)
        return taken

    def offer(self, take: Callable[[Delivery], bool], /) -> None:
        """See `AnsweringFeed`."""
        self.questions.offer(take)

    def answer(self, delivery: Delivery, reply: Reply, /) -> bool:
        """See `AnsweringFeed`."""
        question = delivery.token
        if not isinstance(question, Question) or question.done is None:
            return False
        place = question.place
        if question not in place.questions:
            return False
        if question.message.key is None:
            del place.questions[question]
        else:  # others of its key may wait for it
            place.end_question(question, self._keeper.clock.monotonic())
            self._after(place)
        question.tell(reply)
        return True

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        """Keep leases. A lease is over what one `receive` returned, and is kept as a whole.

        Raises:
            SettlementLost: One of them has ended; the others are kept all the same.
        """
        deadline = self._keeper.clock.monotonic() + LEASE_S
        lost = []
        for delivery in deliveries:
            if isinstance(delivery.token, Question):
                if delivery.token.given_back:
                    lost.append(delivery)
                continue
            lease, number = token(delivery)
            if number in lease.open:
                lease.deadline = deadline
            elif number in lease.lost:
                lost.append(delivery)
        if lost:
            raise SettlementLost(_lost(len(lost), len(deliveries)), deliveries=lost)

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]], /) -> None:
        """Settle deliveries.

        Raises:
            SettlementLost: Some lease had ended. The others are settled.
        """
        now = self._keeper.clock.monotonic()
        lost, logged = 0, outcomes
        if self.questions.offered:
            lost, logged = self._settle_questions(outcomes, now)
        for place, some in self._by_place(logged):
            lost += place.settle(some, now)
            self._after(place)
        if lost:
            raise SettlementLost(_lost(lost, len(outcomes)))

    def _settle_questions(self, outcomes: Sequence[_Outcome], now: float) -> tuple[int, Sequence[_Outcome]]:
        """Settle what lies in no log; return how many of that had been given back, and the others."""
        lost, others = 0, []
        for delivery, settlement in outcomes:
            question = delivery.token
            if isinstance(question, Question):
                lost += not self.questions.settle(question, settlement, now)
                self._after(question.place)
            else:
                others.append((delivery, settlement))
        return lost, others

    def _by_place(self, outcomes: Sequence[_Outcome]) -> Iterable[tuple[Place, Sequence[_Outcome]]]:
        if len(self._places) == 1:
            return [(self._places[0], outcomes)]
        grouped: dict[Place, list[_Outcome]] = {}
        for outcome in outcomes:
            grouped.setdefault(token(outcome[0])[0].place, []).append(outcome)
        return grouped.items()

    async def close(self) -> None:
        """Give back what is not settled. May be called twice, also while `receive` waits: it raises then."""
        self.end()

    async def abandon(self) -> None:
        """See `AbandonableFeed`."""
        self.end(Retry(0.0))

    def end(self, how: Release | Retry = RELEASE) -> None:
        """Give back what is not settled, in this way."""
        if self._closed:
            return
        self._closed = True
        now = self._keeper.clock.monotonic()
        self.questions.end(self._places, how, now)
        for place in self._places:
            place.receivers.remove(self)
            for lease in [lease for lease in place.leases if lease.owner is self]:
                place.end(lease, how, now)
            self._after(place)
        self._keeper.forget(self)
        self.wake()

    def _after(self, place: Place) -> None:
        place.log.trim()
        place.wake_if_ready()
        self._keeper.ring_at(place.next_due)


class Mailbox(_Mailbox):
    """A reply address in this process."""

    def __init__(self, keeper: Keeper, address: str) -> None:
        super().__init__(address)
        self._keeper = keeper

    def make_room(self, count: int) -> bool:
        """There is always room, as in a log that has no bound."""
        return True

    async def left(self) -> None:
        """Let what arrives later be dropped."""
        self._keeper.forget(self)


def _lost(lost: int, of: int) -> str:
    return f"the lease of {lost} of {of} deliveries had ended; they come again"
