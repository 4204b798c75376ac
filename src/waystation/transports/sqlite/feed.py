"""Receiving from the embedded engine: a member of a group."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from ..._core.admission import comes_again, sequence_of
from ..._core.delivery import RELEASE, Delivery, Settlement
from ..._core.errors import Disconnected, SettlementLost
from ..._core.limits import BATCH_MESSAGES_MAX, IDLE_POLL_S, LEASE_S, PRIORITY_TURNS_COUNT
from ..._core.ports import Clock, Subscription
from ..._core.topic import is_pattern
from ..._store import leases
from ..._store.claim import Claim, claim, next_due, read_plain, topics_with_work
from ..._store.fresh import claim_fresh
from ..._store.groups import topics_matching
from ..._store.grow import Growth, grow
from ..._store.leases import Member, PendingLease, RangeLease, lease_of
from ..._store.log import NEW_TOPIC, OTHERS, Fresh
from ..._store.settle import Grouped, Settled, by_lease, settle
from .luggage import bring, keep_tickets
from .waiting import Waiting

if TYPE_CHECKING:
    from .desk import Desk

#: Bodies that one member holds unsettled, in bytes, beyond which it takes no more: credit in memory, not in messages.
_CREDIT_BYTES_MAX: Final = 32 * 1024 * 1024

#: How soon a member that holds something looks again for what is due, in seconds. Settling wakes it earlier.
_BUSY_POLL_S: Final = 0.02

#: With more topics than this a member asks the file which have work, instead of each topic.
_FEW_TOPICS: Final = 8

#: Fresh segments that a member remembers. With more, it looks at their topics instead.
FRESH_COUNT_MAX: Final = 16

Ring = Callable[[set[int]], None]


@dataclass(slots=True)
class _Look:
    """One look for work: where, and what it found."""

    look_in: set[int]
    stale: bool  # whether the topics must be read anew
    promote: bool  # whether scheduled messages may be due
    fresh: list[Fresh]  # segments that have just come
    whole: bool  # whether to look at more than these
    topics: set[int] | None = None
    promoted: set[int] = field(default_factory=set)  # topics that scheduled messages were moved into
    found: Claim = field(default_factory=Claim)
    grown: list[Growth] = field(default_factory=list)


class GroupFeed:
    """A member of a group. What a claim found stays in `_ready` until it is returned, so cancelling loses nothing."""

    def __init__(
        self,
        desk: Desk,
        subscription: Subscription,
        member: Member,
        *,
        clock: Clock,
        now: Callable[[], float],
        ring: Ring,
        flush: bool,
    ) -> None:
        self._desk, self._subscription, self._member, self._flush = desk, subscription, member, flush
        self._now, self._ring_others = now, ring
        self._waiting = Waiting(clock)
        self._topics: set[int] = set()
        self._look_in: set[int] = set()  # topics that may have work
        self._fresh: list[Fresh] = []  # segments that came after all that was free had been taken
        self._whole_again = 0.0  # when to look at more than these in any case
        self._stale = True  # whether _topics must be read anew
        self._ask = False  # whether what is due may have changed
        self._ready: list[Delivery] = []
        self._leases: list[RangeLease | PendingLease] = []
        self._unread: list[RangeLease] = []
        self._going_back: list[Delivery] = []
        self._careful = False
        self._turns = itertools.count(1)
        self._due: float | None = None  # when something is due, as far as is known
        self._due_known = False
        self._closed = False

    def wake(self, topics: set[int] | None, fresh: Sequence[Fresh] = ()) -> None:
        """Look for work: in these topics, or everywhere; at these segments."""
        mine = [each for each in fresh if each.topic in self._topics]
        self._fresh += mine
        if len(self._fresh) > FRESH_COUNT_MAX:
            self._look_in |= {each.topic for each in self._fresh}
            self._fresh = []
        if topics is None or NEW_TOPIC in topics:
            self._stale = True
        elif not mine and not topics & self._topics and OTHERS not in topics:
            return  # somebody else's
        else:
            self._look_in |= topics & self._topics
            self._ask |= OTHERS in topics
        self._waiting.ring()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for at least one delivery and return at most `limit`.

        Bodies that lie in files are read last, and no more of them than credit allows.
        """
        while True:
            await self._find(limit)
            if any(lease.ticketed for lease in self._leases):
                taken = await self._bring(limit)
                if not taken:
                    continue
            else:
                taken = self._ready[:limit]
            self._ready = self._ready[len(taken) :]
            return taken

    async def _find(self, limit: int) -> None:
        """Wait until something is ready."""
        while not self._ready:
            if self._closed:
                raise Disconnected("this feed is closed")
            if self._going_back:
                back, self._going_back = self._going_back, []
                with suppress(SettlementLost):
                    await self.settle([(delivery, RELEASE) for delivery in back])
            self._leases = [lease for lease in self._leases if not (lease.ended or lease.lost)]
            if self._should_look():
                await self._look(limit)
            if self._unread:
                await self._read()
            if not self._ready:
                await self._wait()

    async def _bring(self, limit: int) -> list[Delivery]:
        """Return what is ready, with bodies; nothing, if it has to be looked again."""
        self._ready = [delivery for delivery in self._ready if not lease_of(delivery).lost]
        stored = self._ready
        given = await bring(self._desk.bodies, stored, self._leases, limit)
        if self._ready is not stored:
            return []  # closed meanwhile
        keep_tickets(given, stored)
        if stored and not given:
            await self._waiting.wait(_BUSY_POLL_S)  # for credit: settling rings
        return given

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Move the deadlines of the leases that these deliveries belong to."""
        held_back = self._ready  # for want of credit, when bodies are large
        wanted = {lease for lease in map(lease_of, (*deliveries, *held_back)) if not lease.ended}

        def work() -> list[RangeLease | PendingLease]:
            held = [lease for lease in wanted if not lease.ended]  # some may have been settled meanwhile
            return leases.extend(self._desk.connection, held, self._now() + LEASE_S)

        await self._desk.write(work, then=leases.lose)
        lost = [delivery for delivery in deliveries if lease_of(delivery).lost]
        if lost:
            raise SettlementLost(
                f"the leases of {len(lost)} of {len(deliveries)} deliveries had ended: they are, or will be, delivered "
                "again",
                deliveries=lost,
            )

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]]) -> None:
        """Settle in one transaction, however many messages and ranges."""
        settled = await self._desk.write(
            partial(self._settle, by_lease(outcomes)),
            then=lambda settled: self._put_off(settled, outcomes),
            flush=self._flush,
        )
        check_lost(settled)

    def _settle(self, grouped: Grouped) -> Settled:
        return settle(self._desk.connection, grouped, self._now())

    def _put_off(self, settled: Settled, outcomes: Sequence[tuple[Delivery, Settlement]]) -> None:
        """What was claimed before, and has overtaken a message that comes again, goes back: that one is first.

        It was added to a range that was held; a claim of its own would have seen that its key waits.
        """
        if self._ready and self._member.ordered:
            behind = {sequence_of(delivery) for delivery, settlement in outcomes if comes_again(settlement)}
            behind.discard(None)
            if behind:
                self._going_back += [each for each in self._ready if sequence_of(each) in behind]
                self._ready = [each for each in self._ready if sequence_of(each) not in behind]
        self.settled(settled)

    def settled(self, settled: Settled) -> None:
        """Bring leases and credit up to what was committed, here or in a transaction."""
        settled.apply()
        if settled.woken:
            self._ring_others(settled.woken)
        self._look_in |= settled.woken & self._topics
        self._waiting.ring()

    @property
    def closed(self) -> bool:
        """Whether it takes no more."""
        return self._closed

    async def close(self) -> None:
        """Give everything unsettled back at once. May be called twice."""
        await self._end(lambda held: leases.release(self._desk.connection, held, self._now()))

    async def abandon(self) -> None:
        """See `AbandonableFeed`."""
        await self._end(lambda held: leases.abandon(self._desk.connection, held))

    async def _end(self, give_back: Callable[[Sequence[RangeLease | PendingLease]], None]) -> None:
        if self._closed:
            return
        self._closed = True
        self._ready = []
        self._waiting.ring()
        held = [lease for lease in self._leases if not lease.ended]
        if held:
            await self._desk.write(lambda: give_back(held))
            self._ring_others({lease.topic for lease in held})

    async def _wait(self) -> None:
        """Wait until there may be something."""
        if not self._due_known:
            topics = tuple(self._topics) if len(self._topics) <= _FEW_TOPICS else ()
            connection, group = self._desk.connection, self._member.group
            self._due = await self._desk.read(lambda: next_due(connection, group, topics))
            self._due_known = True
        if not await self._waiting.wait(self._patience()):
            self._look_in |= self._topics
            self._ask = True
            self._stale = self._stale or is_pattern(self._subscription.pattern)

    async def _read(self) -> None:
        """Read what was claimed as plain ranges, outside the write lock."""
        log = self._desk.log
        found = await self._desk.read(lambda: [(lease, read_plain(log, lease)) for lease in self._unread])
        self._unread.clear()
        if self._closed:
            return  # closing has given them back
        wrong = [lease for lease, deliveries in found if deliveries is None]
        for _, deliveries in found:
            self._ready.extend(deliveries or ())
        if wrong:
            self._careful = True
            self._look_in |= {lease.topic for lease in wrong}
            self._leases = [lease for lease in self._leases if lease not in wrong]
            await self._desk.write(partial(leases.release, self._desk.connection, wrong, self._now()))

    async def _look(self, limit: int) -> None:
        """Look for work. What cuts it short leaves it to be done."""
        promote = self._stale or self._ask or self._may_be_due()
        whole = promote or bool(self._look_in) or self._now() >= self._whole_again
        look = _Look(set(self._look_in), self._stale, promote, self._fresh, whole)
        wanted, self._look_in = self._look_in | {each.topic for each in self._fresh}, set()
        self._fresh = []
        self._stale = self._ask = False
        try:
            await self._desk.write(partial(self._claim, look, limit), then=self._take)
        except BaseException:
            self._look_in |= wanted
            self._stale, self._ask = True, True
            raise

    def _claim(self, look: _Look, limit: int) -> _Look:
        """Claim what there is. It may be undone, so it changes nothing but `look`."""
        if self._closed:
            return look  # closing gives back what is held now
        connection, log, now = self._desk.connection, self._desk.log, self._now()
        self._claim_fresh(look, limit, now)
        if not look.whole:
            return look
        if look.promote:
            look.promoted = log.promote_due(now, BATCH_MESSAGES_MAX)
        if look.stale or NEW_TOPIC in look.promoted:
            look.topics = {topic for topic, _ in topics_matching(connection, self._subscription.pattern)}
            look.look_in = set(look.topics)
        look.look_in |= look.promoted & self._topics
        if len(look.look_in) > _FEW_TOPICS:
            look.look_in &= topics_with_work(connection, self._member.group, now)
        member = replace(
            self._member,
            busy=bool(self._leases),
            careful=self._careful,
            oldest_first=next(self._turns) % PRIORITY_TURNS_COUNT == 0,
        )
        for topic in tuple(look.look_in):
            room = limit - look.found.count
            claimed = claim(log, connection, member, topic, room, now, now + LEASE_S)
            look.found.leases.extend(claimed.leases)
            look.found.deliveries.extend(claimed.deliveries)
            look.found.unread.extend(claimed.unread)
            look.found.count += claimed.count
            if claimed.count < room and not claimed.more:
                look.look_in.discard(topic)  # all that is free; what a lease holds back is told when it ends
            if claimed.leases:
                member = replace(member, busy=True)
            if look.found.count >= limit or _is_suspect(claimed.leases):
                break
            self._grow(look, member, topic, limit, now)
        return look

    def _claim_fresh(self, look: _Look, limit: int, now: float) -> None:
        """Claim what has just come; where that is not simple, its topic has to be looked at."""
        for each in look.fresh:
            claimed = None
            if not look.whole:
                room = limit - look.found.count
                claimed = claim_fresh(self._desk.connection, self._member, each, room, now, now + LEASE_S)
            if claimed is None:
                look.whole = True
                look.look_in.add(each.topic)
            else:
                look.found.leases += claimed.leases
                look.found.deliveries += claimed.deliveries
                look.found.count += claimed.count

    def _grow(self, look: _Look, member: Member, topic: int, limit: int, now: float) -> None:
        """Take what has arrived behind ranges that are held, if there is room for more than what is free."""
        held = [
            lease
            for lease in self._leases
            if isinstance(lease, RangeLease) and not (lease.ended or lease.lost or lease in self._unread)
        ]
        desk, room = self._desk, limit - look.found.count
        for growth in grow(desk.log, desk.connection, member, topic, held, room, now):
            look.grown.append(growth)
            look.found.deliveries += growth.deliveries
            look.found.count += len(growth.deliveries)

    def _take(self, look: _Look) -> None:
        """Make a committed claim this feed's own."""
        if look.topics is not None:
            self._topics = look.topics
        self._look_in |= look.look_in
        if look.whole:
            self._due_known = False
            self._whole_again = self._now() + IDLE_POLL_S
        elif look.found.leases:
            self._due = min(math.inf if self._due is None else self._due, self._now() + LEASE_S)
        self._leases.extend(look.found.leases)
        for growth in look.grown:
            growth.apply()
            if growth.lease not in self._leases:  # all that it had held was settled a moment ago
                self._leases.append(growth.lease)
        self._ready.extend(look.found.deliveries)
        self._unread.extend(look.found.unread)
        self._careful = False
        if look.promoted:
            self._ring_others(look.promoted)

    def _should_look(self) -> bool:
        held = sum([lease.bytes for lease in self._leases])
        if held >= _CREDIT_BYTES_MAX or _is_suspect(self._leases):
            return False
        due = self._due_known and self._may_be_due()
        return bool(self._look_in or self._fresh) or self._stale or self._ask or due

    def _may_be_due(self) -> bool:
        return not self._due_known or (self._due is not None and self._due <= self._now())

    def _patience(self) -> float:
        # With something held, a suspect may be due for which this member is too busy; settling wakes it.
        least = _BUSY_POLL_S if self._leases else 0.0
        if self._look_in or self._fresh:
            return least
        if self._due is None:
            return IDLE_POLL_S
        return min(IDLE_POLL_S, max(least, self._due - self._now()))


def check_lost(settled: Settled) -> None:
    """Raise `SettlementLost` if a settlement found a lease that had ended."""
    if settled.lost:
        raise SettlementLost(
            f"{len(settled.lost)} leases had ended before they were settled: their messages come again"
        )


def _is_suspect(held: Sequence[RangeLease | PendingLease]) -> bool:
    return any(isinstance(lease, PendingLease) and lease.suspect for lease in held)
