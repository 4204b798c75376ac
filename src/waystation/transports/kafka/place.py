"""A group's place in one partition: the semantics, without tasks, threads, or a clock.

As `memory://` does it, over records that arrive from the broker. The *cursor* is the offset of the first record that
was not handed out yet. Each `take` is one lease over what it returns. Only a message that must come again is *held*:
it is ready, or waits for its time, or is parked behind an earlier one of its key.

What must outlive this process is of three kinds. The `Mark` says which offsets are settled; a message that was tried
and comes again gets a record of its own, so that the mark can pass it; a dead letter goes where dead letters are. The
`Teller` writes marks last: a crash in between can make something happen again, but loses nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from ..._core.delivery import Accept, DeadLetter, Delivery, Release, Retry, Settlement
from ..._core.message import Message, available
from ..._feeds.holding import Holding
from .lease import Held, Lease, Letter, Receiver
from .limits import (
    BUFFER_BYTES_MAX,
    BUFFER_MESSAGES_MAX,
    CLAIM_AHEAD_OFFSETS,
    HELD_MESSAGES_MAX,
    WINDOW_OFFSETS_MAX,
)
from .marks import Mark, gaps, ranges
from .names import Spot
from .records import Fetched, Record, message_of
from .suspects import Suspects

_AGAIN = Retry(0.0)


class Place:
    """A group's place in one partition of a topic.

    Args:
        topic: By our name.
        spot: Where it is, by the broker's.
        end: The end of the partition when this process came to own it; what was handed out by others is below.

    Attributes:
        shared: What its records have in common.
        cursor: The offset of the first message that was neither handed out nor held.
        fresh: Records from there on that have arrived.
        leases: Those with open deliveries, in the order in which they were taken.
        to_store: What needs a record of its own, or another one.
        to_erase: What needs its record no more.
        to_bury: What was given up.
        claimed: Up to where the broker knows that messages may be in somebody's hands.
        changed: Whether the mark that the broker has is not that of now.
        ready_to_serve: Whether what others have put off is known, and nobody else is to get the partition, so that
            something may be taken.
        is_restored: Whether what others have put off is known.
        is_leaving: Whether somebody else is to have it.
        is_dropped: Whether somebody else has it.
        is_put_down: Whether the broker knew all that happened here before.
    """

    def __init__(self, topic: str, spot: Spot, group: str, mark: Mark, *, ordered: bool, end: int) -> None:
        self.topic, self.spot, self.group = topic, spot, group
        self.shared = Message("", topic, b"")  # of which only the topic means something
        self.cursor = self.next_offset = mark.floor
        self.receivers: list[Receiver] = []
        self.leases: dict[Lease, None] = {}
        self.fresh: deque[Fetched] = deque()
        self.fresh_bytes = 0
        self.to_store: dict[Held, None] = {}
        self.to_erase: dict[Held, None] = {}
        self.to_bury: list[Letter] = []
        self.state_from, self.owner = mark.state_from, mark.owner
        self.claimed = mark.floor
        self.changed = False
        self.ready_to_serve = True
        self.is_restored = mark.state_from < 0
        self.is_leaving = self.is_dropped = self.is_put_down = False
        self._suspects = Suspects(mark, end)
        self._skip = {offset for first, past in mark.settled for offset in range(first, past)}
        self._open: set[int] = set()
        self._order: deque[int] = deque()  # what was ever open, and is not known to be settled
        self._holding = Holding[Held](ordered=ordered)

    # --- arriving --------------------------------------------------------------------------------------------

    def add(self, raw: Fetched) -> None:
        """Take in a record from the broker. What is settled already, or came before, is dropped."""
        offset = raw.offset()
        if offset < self.next_offset:
            return
        self.next_offset = offset + 1
        if offset in self._skip:
            return
        self.fresh.append(raw)
        self.fresh_bytes += len(raw.value() or b"")

    def restore(self, held: Iterable[Held], state_from: int, owner: str, now: float) -> None:
        """Take in what others have put off, which has records by an owner from an offset on. Twice is as once."""
        self.state_from, self.owner, self.changed = state_from, owner, True
        if self.is_restored:
            return
        self.is_restored = True
        for each in held:
            self._skip.add(each.offset)
            self._holding.enter(each, now)

    @property
    def is_full(self) -> bool:
        """Whether so much has arrived that the rest should stay where it is."""
        return len(self.fresh) >= BUFFER_MESSAGES_MAX or self.fresh_bytes >= BUFFER_BYTES_MAX

    @property
    def is_hungry(self) -> bool:
        """Whether more may arrive."""
        return len(self.fresh) < BUFFER_MESSAGES_MAX // 2 and self.fresh_bytes < BUFFER_BYTES_MAX // 2

    # --- taking ----------------------------------------------------------------------------------------------

    def take(self, owner: Receiver, limit: int, now: float) -> list[Delivery]:
        """Lease at most `limit` messages to a receiver: what comes again first, then by age.

        The lease has no end until somebody says when: what the broker must be told first may take a while.
        """
        deliveries: list[Delivery] = []
        if not self.has_something:
            return deliveries
        lease = Lease(self, owner, math.inf)
        while len(deliveries) < limit and (again := self._holding.take(owner)) is not None:
            number, held = again
            held.attempts += 1
            if held.stored or held.attempts > 1:
                self.to_store[held] = None  # the attempt counts from here on
            deliveries.append(Delivery.of(held.message, held.attempts, lease, index=number))
            lease.open[number] = held
        if len(deliveries) < limit:
            self._take_fresh(lease, deliveries, limit, now)
        if deliveries:
            self.leases[lease] = None
        return deliveries

    def _take_fresh(self, lease: Lease, deliveries: list[Delivery], limit: int, now: float) -> None:
        fresh, skip, holding, suspects = self.fresh, self._skip, self._holding, self._suspects
        window_end = self._floor() + WINDOW_OFFSETS_MAX
        suspected_below = suspects.below
        while fresh and len(deliveries) < limit and not suspects.alone_is_out:
            if self.cursor >= window_end or len(holding) >= HELD_MESSAGES_MAX:
                break
            record = Record(fresh.popleft(), self.shared, self.spot)
            offset, key = record.offset, record.key
            self.fresh_bytes -= len(record.body)
            self.cursor = offset + 1
            if offset in skip:  # what was put off was not known yet when it arrived
                continue
            before = suspects.begun_before(offset) if offset < suspected_below else 0
            self._open.add(offset)
            self._order.append(offset)
            if key is not None and holding.ordered and not holding.lets_out(key, lease.owner):
                holding.enter(Held(offset, record.message, before, now, stays=before > 0), now)
                continue
            if before and suspects.go_out(offset, before):
                self.claimed, self.changed = offset, True
            deliveries.append(
                Delivery(
                    record, offset, record.body, record.content_type, before + 1, lease, record.expires_at
                )
            )
            lease.open[offset] = record
        if self._is_stuck:
            self._spill()

    @property
    def must_tell(self) -> bool:
        """Whether the broker must be told of the mark before what was taken is handed out."""
        return self.claimed < self.cursor

    @property
    def must_write(self) -> bool:
        """Whether records must be written before that."""
        return bool(self.to_store)

    @property
    def should_tell(self) -> bool:
        """Whether the broker should be told soon, so that nobody has to wait for that."""
        return self.claimed - self.cursor < CLAIM_AHEAD_OFFSETS // 2 and bool(self.leases)

    # --- settling --------------------------------------------------------------------------------------------

    def settle(self, outcomes: Iterable[tuple[Delivery, Settlement]], now: float) -> list[Delivery]:
        """Settle deliveries of this place; return those whose lease had ended. Twice is as good as once."""
        lost = []
        for delivery, outcome in outcomes:
            lease, number = delivery.token, delivery.index
            assert isinstance(lease, Lease), "a delivery of another transport"
            taken = lease.open.pop(number, None)
            if taken is None:
                if number in lease.lost:
                    lost.append(delivery)
                continue
            if not lease.open:
                self.leases.pop(lease, None)
            if type(outcome) is Accept and type(taken) is Record:
                self._done(number)
            else:
                self._close(number, taken, delivery.attempt, outcome, now)
            key = taken.key if type(taken) is Record else delivery.key
            if key is not None and self._holding.ordered:
                self._holding.leave(key, now)
        return lost

    def end(self, lease: Lease, outcome: Settlement, now: float) -> None:
        """Take back what a lease still has, as if each were settled by `outcome`; later settlements are lost."""
        taken, lease.open = lease.open, {}
        lease.lost = set(taken)
        self.leases.pop(lease, None)
        for number, each in sorted(taken.items()):
            attempt = each.attempts if isinstance(each, Held) else self._suspects.attempt(number)
            self._close(number, each, attempt, outcome, now)
            key = each.message.key if isinstance(each, Held) else each.key
            if key is not None and self._holding.ordered:
                self._holding.leave(key, now)

    def drop(self) -> None:
        """The partition is somebody else's now: whatever is still said of it is lost."""
        for lease in self.leases:
            lease.lost, lease.open = set(lease.open), {}
        self.leases.clear()
        self.fresh.clear()
        self.ready_to_serve, self.is_dropped = False, True

    def _close(
        self, number: int, taken: Record | Held, attempt: int, outcome: Settlement, now: float
    ) -> None:
        held = taken if isinstance(taken, Held) else None
        offset = held.offset if held is not None else number
        if held is not None:
            self._holding.remove(number)
        if isinstance(outcome, (Retry, Release)):
            due = now + outcome.delay_s if isinstance(outcome, Retry) else now
            attempts = attempt if isinstance(outcome, Retry) else attempt - 1
            if held is None:
                held = Held(offset, taken.message, attempts, due, stays=attempts > 0)
            else:
                held.attempts, held.due, held.stays = attempts, due, held.stays or attempts > 0
            if isinstance(outcome, Retry) or held.has_record:
                self.to_store[held] = None
            self._holding.enter(held, now)
        elif held is not None:
            self.to_store.pop(held, None)
            held.gone = True
        if isinstance(outcome, DeadLetter):
            self.to_bury.append(Letter(offset, taken.message, attempt, outcome, held))
        elif isinstance(outcome, Accept):
            self._erase(offset, held)
        self._suspects.come_back(offset)

    def _erase(self, offset: int, held: Held | None) -> None:
        if held is not None and held.has_record:
            self.to_erase[held] = None
        self._done(offset)

    def _done(self, offset: int) -> None:
        self._open.discard(offset)
        self.changed = True
        if self._suspects.alone_is_out:
            self._suspects.come_back(offset)

    # --- what the broker is told -------------------------------------------------------------------------------

    def _spill(self) -> None:
        """Give what holds the floor down records of its own."""
        self.to_store.update((held, None) for held in self._holding.all if not held.has_record)

    def written(self, stored: Iterable[Held], buried: Iterable[Letter], erased: Iterable[Held]) -> None:
        """Take in that the broker has these; whoever waits for what that lets out is woken."""
        for held in stored:
            held.writing, held.stored = False, True
            self._done(held.offset)
        for letter in buried:
            self._erase(letter.offset, letter.held)
        for held in erased:
            held.stored = False
        if (stored or buried) and self.has_something:  # the window may have been full
            self.wake()

    def mark(self, *, ahead: int = CLAIM_AHEAD_OFFSETS) -> Mark:
        """Return the mark of now.

        Args:
            ahead: How many offsets above the cursor may be handed out before the next.
        """
        floor = self._floor()
        if self._skip:
            self._skip = {offset for offset in self._skip if offset >= self.cursor}
        settled = ranges(
            [
                *gaps(sorted(self._open), floor, self.cursor),
                *((each, each + 1) for each in sorted(self._skip)),
            ]
        )
        return Mark(
            floor=floor,
            settled=settled,
            claimed=max(self.cursor + ahead, self._suspects.claimed),
            suspects=self._suspects.begun_twice,
            alone=self._suspects.alone,
            state_from=self.state_from,
            owner=self.owner,
        )

    def last_mark(self) -> Mark:
        """Return the mark to leave behind: nothing is in anybody's hands but what members had that died."""
        mark = self.mark(ahead=0)
        return Mark(
            floor=mark.floor,
            settled=mark.settled,
            claimed=self._suspects.claimed,
            suspects=self._suspects.left_alone,
            alone=mark.alone,
            state_from=mark.state_from if self.has_records or not self.is_restored else -1,
            owner=mark.owner,
        )

    @property
    def has_records(self) -> bool:
        """Whether something has a record of its own."""
        return any(held.has_record for held in self._holding.all)

    @property
    def stored(self) -> list[Held]:
        """What has one."""
        return [held for held in self._holding.all if held.stored]

    def _floor(self) -> int:
        while self._order and self._order[0] not in self._open:
            self._order.popleft()
        return self._order[0] if self._order else self.cursor

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
        return math.inf if self.is_dropped else self._holding.next_due

    @property
    def has_something(self) -> bool:
        """Whether taking now would bring something, or at least get further: never twice in a row in vain."""
        if not self.ready_to_serve:
            return False
        return self._holding.ready > 0 or (
            bool(self.fresh) and not self._suspects.alone_is_out and not self._is_stuck
        )

    @property
    def _is_stuck(self) -> bool:
        """Whether nothing fresh may go out before something earlier is settled, or has a record of its own."""
        return len(self._holding) >= HELD_MESSAGES_MAX or self.cursor >= self._floor() + WINDOW_OFFSETS_MAX

    def wake(self) -> None:
        """Tell every receiver that there may be something to take."""
        for receiver in self.receivers:
            receiver.wake()

    # --- looking and seeking -----------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Deliveries not yet settled."""
        return sum(len(lease.open) for lease in self.leases)

    @property
    def ready(self) -> int:
        """Messages that came back and could be taken now."""
        return self._holding.ready

    @property
    def waiting(self) -> int:
        """Messages that wait for their time, or behind an earlier one of their key."""
        return self._holding.waiting

    def unread(self, end: int) -> int:
        """Return how many messages were never handed out, if the partition ends there."""
        return max(0, end - self.cursor - sum(offset >= self.cursor for offset in self._skip))

    def oldest(self) -> float | None:
        """Return when the oldest message not yet settled that is here could first be delivered, in Unix seconds."""
        messages = [held.message for held in self._holding.all]
        messages += [
            each.message for lease in self.leases for each in lease.open.values() if isinstance(each, Record)
        ]
        if self.fresh:
            messages.append(message_of(self.fresh[0], self.topic))
        return min(map(available, messages), default=None)

    def owed(self, end: int) -> set[int]:
        """Return the offsets of what is not settled, if the partition ends there."""
        held = {held.offset for held in self._holding.all}
        return self._open | held | {offset for offset in range(self.cursor, end) if offset not in self._skip}

    def staying(self, offset: int) -> list[Held]:
        """Return what was tried, and does not come again from the log if that is read from an offset on."""
        return [held for held in self._holding.all if held.stays and held.offset < offset]

    def seek(self, offset: int, now: float) -> None:
        """Go to an offset. Leases end; what is before it and was tried stays to be tried again."""
        for lease in list(self.leases):
            self.end(lease, Release(), now)
        stay = self.staying(offset)
        for held in self._holding.all:
            if held not in stay:
                self.to_store.pop(held, None)
                held.gone = True
                if held.has_record:
                    self.to_erase[held] = None
        self.cursor = self.next_offset = offset
        self.fresh.clear()
        self.fresh_bytes = 0
        self._holding.clear()
        self._open, self._order, self._skip = set(), deque(), set()
        self._suspects.clear()
        for held in stay:
            if not held.has_record:
                self.to_store[held] = None
            self._holding.enter(held, now)
        self.claimed, self.changed = offset, True
