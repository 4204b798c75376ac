"""What groups owe their members, in the simplest words: the reference for the engine's claims and settlements.

The model does not say which messages a claim must return. It says which it may return, with which attempt, and what is
owed afterwards; so it stays right however the engine arranges partitions and ranges.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from waystation._core.delivery import Accept, DeadLetter, Delivery, Release, Retry, Settlement
from waystation._core.message import Message
from waystation._store.leases import PendingLease


@dataclass(eq=False, repr=False)
class Hold:
    """One delivery that a member has and has not settled."""

    entry: Entry
    member: object
    delivery: Delivery
    deadline: float
    ended: bool = False

    def __repr__(self) -> str:
        return f"<{self.entry.id} at {self.delivery.attempt}>"

    def is_live(self, now: float) -> bool:
        return not self.ended and self.deadline > now


@dataclass(eq=False, repr=False)
class Entry:
    """One message as one group sees it."""

    id: str
    key: str | None
    priority: int
    number: int  # order of acceptance
    due: float = 0.0
    attempts: int = 0  # counted so far
    stage: int = 0  # of suspicion, when it was delivered last: 1 in company, 2 alone
    state: str = "owed"  # or "settled", "dead"
    hold: Hold | None = None
    revived: bool = False  # brought back from the dead, and not ended since
    exempt: set[str] = field(
        default_factory=set
    )  # were under way when this one was brought back from the dead

    def __repr__(self) -> str:
        return f"<{self.id} {self.state}>"

    @property
    def has_vanished(self) -> bool:
        """Whether whoever held it is gone; one that lives keeps it, which is checked elsewhere."""
        return self.hold is not None

    @property
    def was_in_company(self) -> bool:
        """Whether it was delivered last as a suspect among suspects: one of the others may have ended its process."""
        return (
            self.stage == 1 and self.hold is not None and isinstance(self.hold.delivery.token, PendingLease)
        )

    @property
    def is_suspect(self) -> bool:
        return self.has_vanished or self.stage > 0

    @property
    def must_be_alone(self) -> bool:
        return self.stage == 2 or (self.has_vanished and self.was_in_company)


@dataclass(eq=False)
class Ledger:
    """All that one group owes of one topic."""

    ordered: bool
    entries: dict[str, Entry] = field(default_factory=dict)

    def in_state(self, state: str) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.state == state]

    def accept(self, messages: Iterable[Message]) -> None:
        for message in messages:
            assert message.id not in self.entries, f"{message.id} was accepted twice"
            self.entries[message.id] = Entry(message.id, message.key, message.priority, len(self.entries))

    def deliver(
        self, member: object, deliveries: Sequence[Delivery], now: float, deadline: float
    ) -> list[Hold]:
        """Check what one claim returned, and remember it."""
        entries: list[Entry] = []
        for delivery in deliveries:
            entries.append(self._may_deliver(member, delivery, now, entries))
        suspects = [entry for entry in entries if entry.is_suspect]
        if suspects:
            assert len(suspects) == len(entries), "suspects were delivered beside others"
            alone = [entry for entry in entries if entry.must_be_alone]
            assert len(entries) == 1 or not alone, f"{alone} were delivered in company"
        stage = 0 if not suspects else 1 if len(entries) > 1 else 2
        holds = []
        for entry, delivery in zip(entries, deliveries, strict=True):
            counted = not (entry.has_vanished and entry.was_in_company)
            assert delivery.attempt == entry.attempts + counted, f"{entry.id}: {delivery.attempt}"
            if entry.hold is not None:
                entry.hold.ended = True
            entry.attempts, entry.stage = delivery.attempt, stage
            entry.hold = Hold(entry, member, delivery, deadline)
            holds.append(entry.hold)
        return holds

    def _may_deliver(self, member: object, delivery: Delivery, now: float, before: list[Entry]) -> Entry:
        assert delivery.message.id in self.entries, f"{delivery.message.id} was never accepted"
        entry = self.entries[delivery.message.id]
        assert entry.state == "owed", f"{entry.id} is {entry.state}, and was delivered"
        assert entry.hold is None or not entry.hold.is_live(now), f"{entry.id} was delivered twice at once"
        assert entry.due <= now, f"{entry.id} came {entry.due - now} s early"
        if self.ordered and entry.key is not None:
            for earlier in self.in_state("owed"):
                if (earlier.key, earlier.priority) != (entry.key, entry.priority):
                    continue
                if earlier.number >= entry.number or entry.id in earlier.exempt:
                    continue
                hold = earlier.hold
                in_same_hands = hold is not None and hold.member is member and hold.is_live(now)
                assert in_same_hands or earlier in before, f"{entry.id} overtook {earlier.id}"
        return entry

    def settle(self, hold: Hold, settlement: Settlement, now: float) -> None:
        """Take a settlement that the engine took."""
        entry = hold.entry
        assert entry.hold is hold, f"a lost lease of {entry.id} was settled"
        entry.hold, hold.ended = None, True
        match settlement:
            case Accept():
                entry.state = "settled"
            case DeadLetter():
                entry.state = "dead"
            case Retry(delay_s):
                entry.due, entry.stage = now + delay_s, 0
            case Release():
                entry.attempts -= 1

    def revive(self, entry: Entry) -> None:
        """Bring a dead letter back, as a new first attempt."""
        entry.state, entry.attempts, entry.stage, entry.due = "owed", 0, 0, 0.0
        entry.revived = True
        entry.exempt = {other.id for other in self.in_state("owed") if other.hold is not None}

    def seek(self, comes: set[str], stayed: set[str], now: float) -> tuple[int, int]:
        """Move the group's place: `comes` are from there on in the log, `stayed` have a row of their own before it.

        Whether what a dead member held was tried is the engine's to say; the rest is checked. Returns how many come
        again, and how many are skipped.
        """
        again = skipped = 0
        for entry in self.entries.values():
            hold, was_owed = entry.hold, entry.state == "owed"
            live = hold is not None and hold.is_live(now)
            tried = entry.attempts - live > 0 or entry.revived
            if entry.id in comes:
                again += not was_owed
                entry.state, entry.attempts, entry.stage, entry.due = "owed", 0, 0, 0.0
                entry.revived, entry.exempt = False, set()
            elif was_owed and entry.id not in stayed:
                assert hold is not None or not tried, f"{entry.id} was tried, and is skipped"
                skipped += 1
                entry.state = "settled"
            elif was_owed:
                assert tried, f"{entry.id} was never tried, and stays"
                entry.attempts -= live
                if not live:
                    continue
            if hold is not None:
                entry.hold, hold.ended = None, True
        return again, skipped

    def vanish(self, member: object) -> None:
        """End the leases of a member at once: its process died."""
        for entry in self.entries.values():
            if entry.hold is not None and entry.hold.member is member:
                entry.hold.deadline = -math.inf

    def in_flight(self, now: float) -> int:
        return sum(entry.hold is not None and entry.hold.is_live(now) for entry in self.in_state("owed"))
