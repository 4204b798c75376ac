"""A group's place on one topic in this process: what is let out to whom, and what waits. Pure: no I/O, no clock.

It has the partitions that this process owns, and the semantics of `memory://`. What comes again goes first, then by
priority, then by age. Messages of one key are with one member at a time; while one of them waits for a retry, the later
ones are parked behind it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ..._core.delivery import Delivery, Release, Retry, Settlement
from ..._core.limits import LEASE_S, PRIORITY_TURNS_COUNT
from .layout import URGENT
from .lease import Lease, Receiver, token
from .part import Entry, Part

_AGAIN = Retry(0.0)


class _Key(msgspec.Struct):
    """A key with `out` messages let out or in flight, at `owner`; the others are parked, a heap of numbers."""

    owner: Receiver | None
    out: int
    parked: list[int] = []


class Place:
    """One group on one topic.

    Attributes:
        parts: The partitions that this process has.
        fresh: What has been read and not yet looked at, oldest first.
        fresh_bytes: How large that is.
        leases: Those with open deliveries, in the order in which they were taken.
        urgent_seen: Whether a message with a priority has come.
    """

    def __init__(self, topic: str, group: str, *, ordered: bool) -> None:
        self.topic, self.group = topic, group
        self.parts: dict[int, Part] = {}
        self.fresh: deque[Entry] = deque()
        self.fresh_bytes = 0
        self.leases: dict[Lease, None] = {}
        self.receivers: list[Receiver] = []
        self.urgent_seen = False
        self._ordered = ordered
        self._ready: list[int] = []  # heap of numbers
        self._waiting: list[tuple[float, int]] = []  # heap of (due, number)
        self._urgent: list[tuple[int, int]] = []  # heap of (-priority, number)
        self._keys: dict[str, _Key] = {}
        self._turns = itertools.count(1)
        self._where: dict[int, Entry] = {}  # what was looked at, in all partitions
        self._suspects_out = 0

    # --- partitions ----------------------------------------------------------------------------------------------

    def add(self, part: Part, entries: Iterable[Entry], wall: float) -> None:
        """Own a partition, with what it has unsettled."""
        self.parts[part.number] = part
        for entry in sorted(entries, key=lambda entry: entry.sequence):
            part.entries[entry.sequence] = self._where[entry.sequence] = entry
            self._enter(entry, part, wall)

    def drop(self, number: int, wall: float) -> None:
        """Own a partition no more: whatever is still said of its deliveries is too late."""
        part = self.parts.pop(number, None)
        if part is None:
            return
        for lease in list(self.leases):
            gone = [sequence for sequence, entry in lease.open.items() if entry.partition == number]
            for sequence in gone:
                entry = lease.open.pop(sequence)
                lease.lost.add(sequence)
                self._suspects_out -= entry.suspect
            if not lease.open:
                del self.leases[lease]
        for sequence in part.entries:
            self._where.pop(sequence, None)
        kept = [entry for entry in self.fresh if entry.partition != number]
        self.fresh = deque(kept)
        self.fresh_bytes = sum(len(entry.message.body) for entry in kept)
        self._urgent = [each for each in self._urgent if each[1] in self._where]
        heapq.heapify(self._urgent)
        self._forget_keys(part, wall)

    def _forget_keys(self, part: Part, wall: float) -> None:
        """All messages of a key are in one partition, but for those of plain clients."""
        touched = {entry.message.key for entry in part.entries.values() if entry.message.key is not None}
        for name in touched:
            key = self._keys.pop(name, None)
            if key is None:
                continue
            others = [self._where[number] for number in key.parked if number in self._where]
            for entry in others:
                self.parts[entry.partition].parked -= 1
                self._enter(entry, self.parts[entry.partition], wall)

    # --- what was read -------------------------------------------------------------------------------------------

    def arrive(self, entry: Entry, stamp: int = 0) -> bool:
        """Take in what was read, in the order of its lane, with when it was stored; say whether it was new."""
        part = self.parts.get(entry.partition)
        if part is None or entry.sequence <= part.read[entry.lane]:
            return False
        part.read[entry.lane] = entry.sequence
        part.stamp = max(part.stamp, stamp)
        if entry.sequence in self._where:
            return False
        if entry.lane == URGENT:
            self.urgent_seen = True
            part.tops[URGENT] = entry.sequence
            part.entries[entry.sequence] = self._where[entry.sequence] = entry
            heapq.heappush(self._urgent, (-entry.message.priority, entry.sequence))
        else:
            self.fresh.append(entry)
            self.fresh_bytes += len(entry.message.body)
        return True

    def read_up_to(self, sequence: int, lanes: Sequence[int], stamp: int = 0) -> bool:
        """Everything of some lanes up to this number has been read: what is not here is not there.

        Args:
            stamp: When the message with this number was stored, if that is known.

        Returns:
            Whether that was news.
        """
        news = False
        waiting = {(entry.partition, entry.lane) for entry in self.fresh}
        for part in self.parts.values():
            for lane in lanes:
                if part.tops[lane] < sequence and (part.number, lane) not in waiting:
                    part.tops[lane] = part.read[lane] = sequence
                    part.stamp = max(part.stamp, stamp)
                    part.changed = news = True
        return news

    # --- taking --------------------------------------------------------------------------------------------------

    def take(self, owner: Receiver, limit: int, now: float, wall: float) -> list[Delivery]:
        """Lease at most `limit` messages to a receiver."""
        taken: list[Delivery] = []
        if not (self._ready or self._urgent or self.fresh):
            return taken
        lease = Lease(self, owner, now + LEASE_S)
        self._take_ready(lease, limit, taken)
        if self._urgent:
            is_turn_of_oldest = not next(self._turns) % PRIORITY_TURNS_COUNT
            self._take_urgent(lease, limit, taken, wall, oldest=is_turn_of_oldest)
        while self.fresh and len(taken) < limit:
            entry = self.fresh.popleft()
            self.fresh_bytes -= len(entry.message.body)
            part = self.parts[entry.partition]
            part.tops[entry.lane] = entry.sequence
            part.entries[entry.sequence] = self._where[entry.sequence] = entry
            self._offer(entry, part, lease, taken, wall)
        if taken:
            self.leases[lease] = None
        return taken

    def _take_ready(self, lease: Lease, limit: int, taken: list[Delivery]) -> None:
        later: list[int] = []
        while self._ready and len(taken) < limit:
            number = heapq.heappop(self._ready)
            entry = self._where.get(number)
            if entry is None or not entry.ready:
                continue
            alone = entry.suspect and entry.attempts > 1
            if self.parts[entry.partition].leaving or (alone and self._suspects_out):
                later.append(number)
                continue
            entry.ready = False
            key = entry.message.key
            if key is not None and self._ordered:
                self._keys[key].owner = lease.owner
            self._let_go(entry, self.parts[entry.partition], lease, taken)
        for number in later:
            heapq.heappush(self._ready, number)

    def _take_urgent(
        self, lease: Lease, limit: int, taken: list[Delivery], wall: float, *, oldest: bool
    ) -> None:
        if oldest:
            first = min(self._urgent, key=lambda each: each[1])
            if self.fresh and self.fresh[0].sequence < first[1]:
                return
            self._urgent.remove(first)
            heapq.heapify(self._urgent)
            chosen = [first]
        else:
            chosen = [heapq.heappop(self._urgent) for _ in range(min(limit - len(taken), len(self._urgent)))]
        for _, number in chosen:
            entry = self._where.get(number)
            if entry is not None:
                self._offer(entry, self.parts[entry.partition], lease, taken, wall)

    def _offer(self, entry: Entry, part: Part, lease: Lease, taken: list[Delivery], wall: float) -> None:
        """Let a message go that was not tried yet, unless it stands behind another of its key."""
        name = entry.message.key
        part.changed = True
        if part.leaving:
            self._enter(entry, part, wall)
            return
        if name is not None and self._ordered:
            key = self._keys.get(name)
            if key is None:
                self._keys[name] = _Key(lease.owner, 1)
            elif key.owner is lease.owner and not key.parked:
                key.out += 1
            else:
                self._enter(entry, part, wall)
                return
        self._let_go(entry, part, lease, taken)

    def _let_go(self, entry: Entry, part: Part, lease: Lease, taken: list[Delivery]) -> None:
        entry.attempts += 1
        entry.out = True
        part.changed = True
        self._suspects_out += entry.suspect
        message = entry.message
        taken.append(
            Delivery(
                message,
                entry.sequence,
                message.body,
                message.content_type,
                entry.attempts,
                lease,
                message.expires_at,
            )
        )
        lease.open[entry.sequence] = entry

    # --- settling ------------------------------------------------------------------------------------------------

    def settle(self, outcomes: Iterable[tuple[Delivery, Settlement]], wall: float) -> int:
        """Settle deliveries of this place; return of how many the lease had ended. Twice is as good as once."""
        lost = 0
        for delivery, outcome in outcomes:
            lease = token(delivery)
            entry = lease.open.pop(delivery.index, None)
            if entry is None:
                lost += delivery.index in lease.lost
                continue
            if not lease.open:
                self.leases.pop(lease, None)
            self._close(entry, outcome, wall)
        return lost

    def end(self, lease: Lease, outcome: Settlement, wall: float) -> None:
        """Take back what a lease still has, as if each were settled by `outcome`; later settlements are lost."""
        opened, lease.open = lease.open, {}
        lease.lost |= set(opened)
        self.leases.pop(lease, None)
        for number in sorted(opened):
            self._close(opened[number], outcome, wall)

    def _close(self, entry: Entry, outcome: Settlement, wall: float) -> None:
        part = self.parts[entry.partition]
        part.changed = True
        entry.out = False
        self._suspects_out -= entry.suspect
        name = entry.message.key
        if isinstance(outcome, (Retry, Release)):
            entry.due = wall + outcome.delay_s if isinstance(outcome, Retry) else 0.0
            if isinstance(outcome, Release):
                entry.attempts -= 1
            else:
                entry.suspect = False
            self._enter(entry, part, wall)
        else:
            del part.entries[entry.sequence]
            del self._where[entry.sequence]
        if name is not None and self._ordered:
            self._leave(name, wall)

    def _enter(self, entry: Entry, part: Part, wall: float) -> None:
        name = entry.message.key
        if name is None or not self._ordered:
            self._let_out(entry, wall)
            return
        key = self._keys.setdefault(name, _Key(None, 0))
        heapq.heappush(key.parked, entry.sequence)
        part.parked += 1
        if not key.out:
            self._let_out_first(name, key, wall)

    def _leave(self, name: str, wall: float) -> None:
        """A delivery of a key has ended; after the last one in flight, its first parked message is let out."""
        key = self._keys.get(name)
        if key is None:
            return
        key.out -= 1
        if key.out <= 0:
            self._let_out_first(name, key, wall)

    def _let_out_first(self, name: str, key: _Key, wall: float) -> None:
        while key.parked:
            entry = self._where.get(heapq.heappop(key.parked))
            if entry is not None:
                key.owner, key.out = None, 1
                self.parts[entry.partition].parked -= 1
                self._let_out(entry, wall)
                return
        self._keys.pop(name, None)

    def _let_out(self, entry: Entry, wall: float) -> None:
        if entry.due > wall:
            heapq.heappush(self._waiting, (entry.due, entry.sequence))
        else:
            entry.ready = True
            heapq.heappush(self._ready, entry.sequence)

    # --- time ----------------------------------------------------------------------------------------------------

    def tick(self, now: float, wall: float) -> None:
        """End leases that are over, make ready what is due."""
        for lease in [lease for lease in self.leases if lease.deadline <= now]:
            self.end(lease, _AGAIN, wall)
        while self._waiting and self._waiting[0][0] <= wall:
            _, number = heapq.heappop(self._waiting)
            entry = self._where.get(number)
            if entry is not None and not entry.out and not entry.ready:
                entry.ready = True
                heapq.heappush(self._ready, number)

    @property
    def next_end(self) -> float:
        """When the next lease ends, by the monotonic clock; infinity if there is none."""
        return min((lease.deadline for lease in self.leases), default=math.inf)

    @property
    def next_due(self) -> float:
        """When the next waiting message is due, in Unix seconds; infinity if none waits."""
        return self._waiting[0][0] if self._waiting else math.inf

    def wake(self) -> None:
        """Tell every receiver that there may be something to take."""
        for receiver in self.receivers:
            receiver.wake()

    # --- looking -------------------------------------------------------------------------------------------------

    @property
    def has_ready(self) -> bool:
        """Whether something can be taken."""
        return bool(self._ready or self._urgent or self.fresh)

    @property
    def in_flight(self) -> int:
        """Deliveries not yet settled."""
        return sum(len(lease.open) for lease in self.leases)

    @property
    def known(self) -> int:
        """Messages that are here and not settled."""
        return len(self._where) + len(self.fresh)

    @property
    def parked(self) -> int:
        """Messages that stand behind an earlier one of their key."""
        return sum(part.parked for part in self.parts.values())

    @property
    def waiting(self) -> int:
        """Messages that wait for their time, or behind an earlier one of their key."""
        return self.parked + sum(
            number in self._where and not self._where[number].out for _, number in self._waiting
        )

    @property
    def held(self) -> int:
        """Messages that wait for a retry, in the partition that has most of them."""
        return max((len(part.entries) - part.parked for part in self.parts.values()), default=0)

    def unsettled(self) -> Iterator[Entry]:
        """Give what is here and not settled."""
        yield from self._where.values()
        yield from self.fresh
