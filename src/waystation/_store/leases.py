"""Leases: what a member of a group holds, and keeping it.

A member leases a *range* of one partition at a time: one row with owner, fencing token and deadline, whatever the
number of messages. A message that left its range (see `pending.py`) is leased by itself. Taking is in `claim.py`,
ending in `settle.py`. Every function runs inside its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import apsw

from .._core.delivery import Delivery
from .._core.message import Message

#: Whether an earlier message of its key has a row of its own too, of the row `late` of `bus_pending`.
IS_BEHIND: Final = """EXISTS (SELECT 1 FROM bus_pending WHERE group_id = late.group_id AND topic = late.topic
    AND partition = late.partition AND key = late.key AND place < late.place)"""

#: When a row `late` that is given back is due again: at once (?3), unless it was taken with the one before it (?4).
DUE_AGAIN: Final = f"iif(?4 AND {IS_BEHIND}, NULL, ?3)"


@dataclass(frozen=True, slots=True)
class Member:
    """Who claims: a member of a group, and whether it holds something already."""

    group: int
    owner: str
    ordered: bool
    busy: bool = False
    careful: bool = False  # read under the write lock, after a plain range could not be read
    oldest_first: bool = False  # whatever the priorities: it is the turn of those that wait


@dataclass(slots=True, eq=False)
class RangeLease:
    """A range of one partition that this member holds: places [next, leased_to), less those in `done`."""

    group: int
    topic: int
    partition: int
    token: int
    next: int
    leased_to: int
    done: int  # bitmap from `next` on
    bytes: int = 0
    lost: bool = False
    ticketed: bool = False  # whether some bodies are tickets
    tickets: dict[int, Message] = field(
        default_factory=dict
    )  # by place: as stored, of those whose body was read

    @property
    def ended(self) -> bool:
        """Whether nothing of the range is held any more."""
        return self.lost or self.next >= self.leased_to

    def is_settled(self, place: int) -> bool:
        """Say whether a place of this range was settled before."""
        return place < self.next or bool(self.done >> (place - self.next) & 1)


@dataclass(slots=True, eq=False)
class PendingLease:
    """A row of `pending` that this member holds."""

    id: int
    group: int
    topic: int
    partition: int
    place: int
    key: str | None
    token: int
    suspect: bool
    follows: bool = False  # whether it waited behind another, and was taken with that one
    bytes: int = 0
    ended: bool = False
    lost: bool = False
    ticketed: bool = False  # whether the body is a ticket
    ticket: Message | None = None  # what is stored, once the body was read


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """What the deliveries of one segment carry: their lease, and the place of the segment's first message.

    The place of a delivery is that plus its index.
    """

    lease: RangeLease
    first: int


def lease_of(delivery: Delivery) -> RangeLease | PendingLease:
    """Return the lease that a delivery belongs to."""
    token = delivery.token
    if isinstance(token, Stretch):
        return token.lease
    assert isinstance(token, PendingLease), "a delivery of another transport"
    return token


def bitmap_bytes(done: int) -> bytes:
    """Return a bitmap as it is stored."""
    return done.to_bytes((done.bit_length() + 7) // 8, "little")


def extend(
    connection: apsw.Connection, leases: Sequence[RangeLease | PendingLease], deadline: float
) -> list[RangeLease | PendingLease]:
    """Move the deadline of leases; return those that are over, for `lose` once that has committed."""
    over: list[RangeLease | PendingLease] = []
    for lease in leases:
        if isinstance(lease, RangeLease):
            connection.execute(
                """UPDATE bus_cursor SET deadline = ?
                   WHERE group_id = ? AND topic = ? AND partition = ? AND token = ?""",
                (deadline, lease.group, lease.topic, lease.partition, lease.token),
            )
        else:
            connection.execute(
                # One that was given back in this very transaction has a time of its own.
                "UPDATE bus_pending SET due = iif(owner IS NULL, due, ?) WHERE id = ? AND token = ?",
                (deadline, lease.id, lease.token),
            )
        if connection.changes() == 0:
            over.append(lease)
    return over


def lose(over: Sequence[RangeLease | PendingLease]) -> None:
    """Mark leases that are over as lost, but for those that a settlement has ended, perhaps in the same transaction."""
    for lease in over:
        if not lease.ended:
            lease.lost = True


def release(connection: apsw.Connection, leases: Sequence[RangeLease | PendingLease], now: float) -> None:
    """Give back what is unsettled, in its place and without counting an attempt."""
    for lease in leases:
        if isinstance(lease, RangeLease):
            connection.execute(
                "UPDATE bus_cursor SET owner = NULL WHERE group_id = ? AND topic = ? AND partition = ? AND token = ?",
                (lease.group, lease.topic, lease.partition, lease.token),
            )
        else:
            connection.execute(
                f"""UPDATE bus_pending AS late SET due = {DUE_AGAIN}, owner = NULL, attempt = attempt - 1
                    WHERE id = ?1 AND token = ?2 AND owner IS NOT NULL""",
                (lease.id, lease.token, now, lease.follows),
            )


def abandon(connection: apsw.Connection, leases: Sequence[RangeLease | PendingLease]) -> None:
    """End leases whose holder has died. What it had taken comes back as suspect."""
    for lease in leases:
        if isinstance(lease, RangeLease):
            connection.execute(
                "UPDATE bus_cursor SET deadline = 0 WHERE group_id = ? AND topic = ? AND partition = ? AND token = ?",
                (lease.group, lease.topic, lease.partition, lease.token),
            )
        else:
            connection.execute(
                "UPDATE bus_pending SET due = 0 WHERE id = ? AND token = ? AND owner IS NOT NULL",
                (lease.id, lease.token),
            )


def release_process(connection: apsw.Connection, pid: int) -> int:
    """End the leases of a dead process at once; return how many it held. What it had taken comes back as suspect."""
    pattern = f"{pid}-*"
    connection.execute("UPDATE bus_cursor SET deadline = 0 WHERE owner GLOB ?", (pattern,))
    ended = connection.changes()
    connection.execute("UPDATE bus_pending SET due = 0 WHERE owner GLOB ?", (pattern,))
    return ended + connection.changes()
