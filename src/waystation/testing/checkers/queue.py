"""What went in against what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TotalQueue:
    """What went in against what came out. The classes are those of Jepsen's checker of the same name.

    Attributes:
        lost: Accepted, and never delivered.
        unexpected: Delivered, though never sent, or though rejected.
        duplicated: Delivered more than once: allowed, reported.
        recovered: Of unknown outcome, and delivered: allowed, reported.
    """

    lost: frozenset[str]
    unexpected: frozenset[str]
    duplicated: frozenset[str]
    recovered: frozenset[str]

    @property
    def is_valid(self) -> bool:
        """Whether nothing was lost and nothing was made up."""
        return not self.lost and not self.unexpected


def total_queue(
    *,
    invoked: Iterable[str],
    accepted: Iterable[str],
    delivered: Iterable[str],
    rejected: Iterable[str] = (),
) -> TotalQueue:
    """Compare the ids that one group was sent with those that it was delivered, after a full drain.

    Raises:
        ValueError: The history contradicts itself, so it says nothing: something was accepted without having been
            invoked, or both accepted and rejected.
    """
    tried, taken, refused = set(invoked), set(accepted), set(rejected)
    counts = Counter(delivered)
    if not taken <= tried:
        raise ValueError(f"accepted, but never invoked: {sorted(taken - tried)[:5]}")
    if taken & refused:
        raise ValueError(f"accepted and rejected: {sorted(taken & refused)[:5]}")
    return TotalQueue(
        lost=frozenset(taken - counts.keys()),
        unexpected=frozenset(counts.keys() - (tried - refused)),
        duplicated=frozenset(id_ for id_, count in counts.items() if count > 1),
        recovered=frozenset(counts.keys() & tried - taken - refused),
    )


@dataclass(frozen=True, slots=True)
class LossShape:
    """Where in one producer's sequence messages are missing, which says why.

    Attributes:
        prefix: Before the first that is there: an old part was deleted, or a file forgotten.
        middle: Between some that are there: damage, or a skipped message.
        postfix: After the last that is there: the end was not flushed.
    """

    prefix: tuple[str, ...]
    middle: tuple[str, ...]
    postfix: tuple[str, ...]


def loss_shape(accepted: Sequence[str], lost: Collection[str]) -> LossShape:
    """Say where in what one producer had accepted, in its order, the lost ones were. If all are lost: a postfix."""
    there = [place for place, id_ in enumerate(accepted) if id_ not in lost]
    first, last = (there[0], there[-1]) if there else (0, -1)
    missing = [(place, id_) for place, id_ in enumerate(accepted) if id_ in lost]
    return LossShape(
        tuple(id_ for place, id_ in missing if place < first),
        tuple(id_ for place, id_ in missing if first < place < last),
        tuple(id_ for place, id_ in missing if place > last),
    )


@dataclass(frozen=True, slots=True)
class LossPlace:
    """Whether what never came is gone, or only forgotten.

    Attributes:
        gone: Not in the store any more.
        stranded: Still in the store, and never delivered.
    """

    gone: frozenset[str]
    stranded: frozenset[str]


def loss_place(lost: Iterable[str], stored: Iterable[str]) -> LossPlace:
    """Look for lost ids among those that the store has, as log, retry, schedule or dead letter."""
    missing, there = frozenset(lost), frozenset(stored)
    return LossPlace(missing - there, missing & there)


def conservation(*, accepted: int, settled: int, dead: int, owed: int, expired: int = 0) -> str | None:
    """Say what is missing from a group's books when nothing moves; None: accepted = settled + dead + expired + owed."""
    known = settled + dead + expired + owed
    if accepted == known:
        return None
    missing = accepted - known
    return (
        f"{accepted} accepted, {settled} settled, {dead} dead, {expired} expired, {owed} owed: {abs(missing)} "
        + ("are missing" if missing > 0 else "too many")
    )
