"""A group's place on a topic or pattern, as far as this process has it: the semantics, without I/O.

What the server has delivered is *held* here until it is settled: it is fresh, or waits for its time, or is parked
behind an earlier message of its key. Each `take` is one lease over what it returns.

Order by key: deliveries of a key that are in flight belong to one receiver, which handles them in order. While another
receiver has the key, or an earlier message of it must come again, its messages are parked and let out one at a time,
the earliest first. All messages of a key are in the hands of one process, which owns the key's partition.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ..._core.delivery import Accept, DeadLetter, Delivery, Release, Retry, Settlement
from ..._core.limits import LEASE_S
from ..._core.message import Message, available
from .lines import Source
from .suspicion import ALONE


class Receiver(Protocol):
    """Who takes from a place."""

    @property
    def wake(self) -> Callable[[], None]:
        """There may be something to take."""


@dataclass(slots=True, eq=False)
class Held:
    """A message in the hands of this process.

    Attributes:
        source: Where it came from, and is settled.
        tag: How it is called there.
        attempts: How many were begun before it was delivered from here last.
        level: How it must be handed out; see `suspicion`.
        doubted: Whether it must be published anew before.
        position: Its place among those of its key; lower comes first.
        due: When it may be delivered, by the wall clock.
        sequence: In what it must keep its order; None: in nothing.
        taken: Whether it is with a receiver.
        out: Whether it is one of those of its key that are let out or in flight.
    """

    message: Message
    source: Source
    tag: int
    attempts: int
    position: int
    due: float
    sequence: tuple[str, str] | None
    level: int = 0
    doubted: bool = False
    number: int = 0
    taken: bool = False
    out: bool = False


@dataclass(slots=True)
class _Sequence:
    """Messages of one key: `out` of them let out or in flight, at `owner`; the others parked, by position."""

    owner: Receiver | None
    out: int
    parked: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Lease:
    """What one `take` returned. The lease itself is the fencing token.

    Attributes:
        deadline: By the monotonic clock, in seconds.
        open: What is not settled, by number.
        lost: The numbers of what was not settled when the lease ended.
    """

    place: Place
    owner: Receiver
    deadline: float
    open: dict[int, Held] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Ended:
    """A delivery that was settled so that the server must be told."""

    held: Held
    attempt: int
    outcome: Accept | Retry | DeadLetter


class Place:
    """Everything that this process holds for one subscription."""

    def __init__(self) -> None:
        self.receivers: list[Receiver] = []
        self.leases: dict[Lease, None] = {}
        self.held: dict[int, Held] = {}
        self.doubted: deque[Held] = deque()  # let out, and to be published anew before they are handed out
        self._barred: dict[str, Held | None] = {}
        self.cleared: set[str] = set()  # copies of suspects that may be handed out, and are on their way here
        self.solitary: Held | None = None  # with a receiver, which gets nothing else meanwhile
        self._numbers = itertools.count(1)
        self._fresh: deque[Held] = deque()
        self._ready: list[tuple[int, int]] = []  # heap of (position, number)
        self._waiting: list[tuple[float, int]] = []  # heap of (due, number)
        self._sequences: dict[tuple[str, str], _Sequence] = {}
        self._expected: dict[
            str, tuple[str, str]
        ] = {}  # copies of this process on their way back, and their key

    # --- arriving ----------------------------------------------------------------------------------------------

    def arrive(self, held: Held, now: float, *, again: bool = False, copy: str = "") -> None:
        """Take in what the server has delivered.

        Args:
            now: By the wall clock.
            again: Whether it was tried, or taken, before: then it goes before what is fresh.
            copy: Which copy it is.
        """
        if copy in self._barred:
            self._barred[copy] = held
            return
        self.cleared.discard(copy)
        held.number = next(self._numbers)
        if held.sequence is None:
            held.position = held.number
        self.held[held.number] = held
        if not again and held.due <= now:
            self._fresh.append(held)
            return
        self._enter(held, now)
        expected = self._expected.pop(copy, None) if copy else None
        if expected is not None:
            self._leave(expected, now)

    def expect(self, copy: str, sequence: tuple[str, str]) -> None:
        """Let what was retried hold its key back until its copy has come back."""
        self._expected[copy] = sequence

    def forget(self, chosen: Callable[[tuple[str, str]], bool], now: float) -> None:
        """Expect no copies of some keys any more: they come to another process."""
        for copy, sequence in list(self._expected.items()):
            if chosen(sequence):
                del self._expected[copy]
                self._leave(sequence, now)

    def bar(self, copies: Iterable[str]) -> None:
        """Let copies that come wait at the door: what they are copies of must be settled first.

        Else a message that kills its process would be two after each death.
        """
        self._barred.update(dict.fromkeys(copies))

    def unbar(self, copies: Iterable[str], now: float) -> None:
        """Let copies in that have come."""
        for copy in copies:
            held = self._barred.pop(copy, None)
            if held is not None:
                self.arrive(held, now, again=True, copy=copy)

    # --- taking ------------------------------------------------------------------------------------------------

    def take(self, owner: Receiver, limit: int, now: float) -> list[Delivery]:
        """Lease at most `limit` messages to a receiver: what comes again first. `now` is by the monotonic clock."""
        deliveries: list[Delivery] = []
        if (not self._ready and not self._fresh) or self.solitary is not None:
            return deliveries
        lease = Lease(self, owner, now + LEASE_S)
        while self._ready and len(deliveries) < limit:
            held = self.held.get(self._ready[0][1])
            if held is not None and held.level >= ALONE and not held.doubted and (deliveries or self.leases):
                return self._leased(lease, deliveries)  # it waits until nothing else is in hand
            heapq.heappop(self._ready)
            if held is None:
                continue  # withdrawn
            if held.doubted:
                self.doubted.append(held)
                continue
            if held.sequence is not None:
                self._sequences[held.sequence].owner = owner
            self._hand_out(lease, held, deliveries)
            if held.level >= ALONE:
                self.solitary = held
                return self._leased(lease, deliveries)
        fresh = self._fresh
        while fresh and len(deliveries) < limit:
            held = fresh.popleft()
            if held.number in self.held and self._may_go(held, owner):
                self._hand_out(lease, held, deliveries)
        return self._leased(lease, deliveries)

    def _leased(self, lease: Lease, deliveries: list[Delivery]) -> list[Delivery]:
        if deliveries:
            self.leases[lease] = None
        return deliveries

    def company(self, size_max: int) -> list[Held]:
        """Take suspects out of the hand that may be handed out next: one that must be alone, or some in company.

        Nothing, while others that were taken out before are here and may be handed out; what is parked behind a suspect
        of its key may not.
        """
        self.doubted = deque(held for held in self.doubted if held.number in self.held)
        if self.cleared or any(
            held.level and not held.doubted and (held.out or held.sequence is None)
            for held in self.held.values()
        ):
            return []
        solitary = [held for held in self.doubted if held.level >= ALONE][:1]
        chosen = [held for held in self.doubted if held.level < ALONE][:size_max] or solitary
        for held in chosen:
            del self.held[held.number]
            self.doubted.remove(held)
        return chosen

    def _may_go(self, held: Held, owner: Receiver) -> bool:
        """Say whether a fresh message may go to a receiver now; else it is parked."""
        sequence = held.sequence
        if sequence is None:
            return True
        found = self._sequences.get(sequence)
        if found is None:
            found = self._sequences[sequence] = _Sequence(owner, 0)
        if found.owner is owner and not found.parked:
            found.out += 1
            held.out = True
            return True
        self._enter(held, held.due)
        return False

    def _hand_out(self, lease: Lease, held: Held, deliveries: list[Delivery]) -> None:
        held.taken = True
        lease.open[held.number] = held
        message = held.message
        deliveries.append(
            Delivery(
                message, held.number, message.body, message.content_type, held.attempts + 1, lease,
                message.expires_at,
            )
        )  # fmt: skip

    # --- settling ----------------------------------------------------------------------------------------------

    def settle(
        self, outcomes: Iterable[tuple[Delivery, Settlement]], now: float
    ) -> tuple[list[Ended], list[Delivery]]:
        """Settle deliveries; return what the server must be told, and those whose lease had ended.

        A key stays held back by what is retried until its copy, which is to be expected, has come.
        """
        ended: list[Ended] = []
        lost: list[Delivery] = []
        for delivery, outcome in outcomes:
            lease = delivery.token
            assert isinstance(lease, Lease), "a delivery of another transport"
            held = lease.open.pop(delivery.index, None)
            if held is None:
                if delivery.index in lease.lost:
                    lost.append(delivery)
                continue
            if not lease.open:
                self.leases.pop(lease, None)
            held.taken = False
            if held is self.solitary:
                self.solitary = None
            if isinstance(outcome, Release):
                self._back(held, now)
                continue
            del self.held[held.number]
            ended.append(Ended(held, delivery.attempt, outcome))
            if held.sequence is None:
                continue
            if isinstance(outcome, Retry):
                self._sequences[
                    held.sequence
                ].owner = None  # what is fresh stays behind it, until its copy comes
            else:
                self._leave(held.sequence, now)
        return ended, lost

    def put_back(self, held: Held, copy: str, now: float) -> None:
        """What could not be published anew stays here after all."""
        self.held[held.number] = held
        if held.sequence is not None and self._expected.pop(copy, None) is None:
            held.out = False
            self._enter(held, now)
        else:
            self._back(held, now)

    def end(self, lease: Lease, now: float, *, counts: bool) -> None:
        """Take back what a lease still has; later settlements are lost."""
        self.leases.pop(lease, None)
        still, lease.open = lease.open, {}
        lease.lost = set(still)
        for number in sorted(still):
            held = still[number]
            held.taken = False
            if held is self.solitary:
                self.solitary = None
            held.attempts += counts
            self._back(held, now)

    def lose_all(self) -> None:
        """Everything went back to the server: the connection has ended."""
        for lease in self.leases:
            lease.lost, lease.open = set(lease.open), {}
        self.leases.clear()
        self.held.clear()
        self.doubted.clear()
        self.cleared.clear()
        self._barred.clear()
        self.solitary = None
        self._fresh.clear()
        self._ready.clear()
        self._waiting.clear()
        self._sequences.clear()
        self._expected.clear()

    def withdraw(self, chosen: Callable[[Held], bool], now: float) -> list[Held]:
        """Give out of the hand what is with no receiver; in order."""
        found = [held for held in self.held.values() if not held.taken and chosen(held)]
        gone = {held.number for held in found}
        for number in gone:
            del self.held[number]
        self._fresh = deque(held for held in self._fresh if held.number not in gone)
        for held in found:
            known = self._sequences.get(held.sequence) if held.sequence is not None else None
            if known is not None:
                known.out -= held.out
                known.parked = [entry for entry in known.parked if entry[1] not in gone]
                heapq.heapify(known.parked)
        for sequence, known in list(self._sequences.items()):
            if not known.out:
                self._let_out_first(sequence, known, now)
        return sorted(found, key=lambda held: (held.position, held.number))

    def _back(self, held: Held, now: float) -> None:
        held.out = False
        self._enter(held, now)
        if held.sequence is not None:
            self._leave(held.sequence, now)

    def _enter(self, held: Held, now: float) -> None:
        sequence = held.sequence
        if sequence is None:
            self._let_out(held, now)
            return
        found = self._sequences.setdefault(sequence, _Sequence(None, 0))
        heapq.heappush(found.parked, (held.position, held.number))
        if not found.out:
            self._let_out_first(sequence, found, now)

    def _leave(self, sequence: tuple[str, str], now: float) -> None:
        found = self._sequences[sequence]
        found.out -= 1
        if not found.out:
            self._let_out_first(sequence, found, now)

    def _let_out_first(self, sequence: tuple[str, str], found: _Sequence, now: float) -> None:
        if not found.parked:
            del self._sequences[sequence]
            return
        _, number = heapq.heappop(found.parked)
        found.owner, found.out = None, 1
        self._let_out(self.held[number], now)

    def _let_out(self, held: Held, now: float) -> None:
        held.out = held.sequence is not None
        if held.due > now:
            heapq.heappush(self._waiting, (held.due, held.number))
        else:
            heapq.heappush(self._ready, (held.position, held.number))

    # --- time and looking --------------------------------------------------------------------------------------

    def tick(self, now: float, wall: float) -> None:
        """End leases that are over, make ready what is due."""
        for lease in [lease for lease in self.leases if lease.deadline <= now]:
            self.end(lease, wall, counts=True)
        while self._waiting and self._waiting[0][0] <= wall:
            _, number = heapq.heappop(self._waiting)
            if number in self.held:
                heapq.heappush(self._ready, (self.held[number].position, number))

    @property
    def next_end(self) -> float:
        """When the next lease ends, by the monotonic clock; infinity: there is none."""
        return min((lease.deadline for lease in self.leases), default=math.inf)

    @property
    def next_due(self) -> float:
        """When the next waiting message is due, in Unix seconds; infinity: none waits."""
        return self._waiting[0][0] if self._waiting else math.inf

    @property
    def has_ready(self) -> bool:
        """Whether there is something to take."""
        return bool(self._ready or self._fresh)

    def wake(self) -> None:
        """Tell every receiver that there may be something to take."""
        for receiver in self.receivers:
            receiver.wake()

    @property
    def in_flight(self) -> int:
        """Deliveries not yet settled."""
        return sum(len(lease.open) for lease in self.leases)

    @property
    def ready(self) -> int:
        """Messages here that could be delivered now."""
        return len(self.held) - self.in_flight - (self.waiting - self.expected)

    @property
    def waiting(self) -> int:
        """Messages that wait for their time, or behind an earlier one of their key."""
        late = sum(1 for _, number in self._waiting if number in self.held)
        return late + sum(len(found.parked) for found in self._sequences.values()) + len(self._expected)

    @property
    def expected(self) -> int:
        """Copies that are on their way back."""
        return len(self._expected)

    @property
    def untried(self) -> int:
        """Messages here at which no attempt was ever begun that counts."""
        return sum(1 for held in self.held.values() if not held.attempts)

    def oldest(self) -> float | None:
        """Return when the oldest message here could first be delivered, in Unix seconds."""
        return min((available(held.message) for held in self.held.values()), default=None)
