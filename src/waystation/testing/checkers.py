"""What a history must look like, whatever faults were injected: pure functions, for your own fault tests too.

A history is what processes wrote down while they were killed, stopped and restarted, and while the rest was drained at
the end. A send is *invoked*, then *accepted*, *rejected*, or neither: its process died before it knew, so that its
outcome is unknown. A timeout is never a rejection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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


def order_by_key(sent: Mapping[str, Sequence[str]], handled: Iterable[tuple[str, str]]) -> list[str]:
    """Find messages that began before an earlier one of their key had ended.

    Args:
        sent: Ids in the order in which one producer sent them, by key.
        handled: Key and id of each handling that came to its end, in the order of these ends. A message that is handled
            again, because its settlement was lost, may come late; its first end counts.

    Returns:
        A sentence for each violation.
    """
    place = {(key, id_): number for key, ids in sent.items() for number, id_ in enumerate(ids)}
    reached: dict[str, int] = {}
    done: set[tuple[str, str]] = set()
    wrong = []
    for key, id_ in handled:
        if (key, id_) not in place:
            wrong.append(f"{id_} of key {key} was never sent")
            continue
        number = place[key, id_]
        if (key, id_) not in done and number < reached.get(key, 0):
            wrong.append(f"{id_} of key {key} came after {sent[key][reached[key] - 1]}, which was sent later")
        done.add((key, id_))
        reached[key] = max(reached.get(key, 0), number + 1)
    return wrong


def effect_once(effects: Iterable[str], *, settled: Iterable[str]) -> list[str]:
    """Find messages whose effect happened twice, or, although they were settled as accepted, never.

    Args:
        effects: The id of the message behind each effect that is there.
        settled: The ids of what was accepted.

    Returns:
        A sentence for each violation.
    """
    counts = Counter(effects)
    twice = [f"{id_} took effect {count} times" for id_, count in sorted(counts.items()) if count > 1]
    return twice + [f"{id_} was accepted without effect" for id_ in sorted(set(settled) - counts.keys())]


def conservation(*, accepted: int, settled: int, dead: int, owed: int) -> str | None:
    """Say what is missing from a group's books when nothing moves; None: accepted = settled + dead + owed."""
    known = settled + dead + owed
    if accepted == known:
        return None
    missing = accepted - known
    return f"{accepted} accepted, {settled} settled, {dead} dead, {owed} owed: {abs(missing)} " + (
        "are missing" if missing > 0 else "too many"
    )
