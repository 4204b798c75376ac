"""Who may hold what, and what its settlement counts for.

Moments are when a process *noted* something, which is after it had a delivery and before it asks for a settlement. The
rules are chosen so that this never accuses wrongly: what they find was wrong.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from ..history import Held

_Held = Mapping[tuple[str, str], list[Held]]


def lease_exclusive(
    held: Iterable[Held],
    *,
    lease_s: float,
    taken: Mapping[str, Sequence[int]] | None = None,
    skew_s: float = 0.0,
) -> list[str]:
    """Find messages that two held at once.

    A delivery is held until its receiver asks for its settlement, for `lease_s` at most.

    Args:
        taken: Moments (monotonic, in ns) at which everything that a process held was taken from it: when it died, was
            stopped for longer than a lease, or was declared dead.
        skew_s: For how long two may, because of clocks that differ, or of renewals that were not noted.
    """
    wrong = []
    for deliveries in _by_message(held).values():
        for earlier, later in pairwise(deliveries):
            ends = [earlier.began_ns + round(lease_s * 1e9)]
            ends += [] if earlier.asked_ns is None else [earlier.asked_ns]
            ends += [when for when in (taken or {}).get(earlier.proc, ()) if when >= earlier.began_ns]
            overlap_s = (min(ends) - later.began_ns) / 1e9
            if overlap_s > skew_s:
                wrong.append(
                    f"{later.id} was held by {earlier.proc} and {later.proc} at once, for {overlap_s:.3f} s"
                )
    return wrong


def fencing(held: Iterable[Held]) -> list[str]:
    """Find settlements that counted although they were asked for when the message was somebody else's already."""
    wrong = []
    for deliveries in _by_message(held).values():
        for number, delivery in enumerate(deliveries):
            if delivery.outcome != "ok" or delivery.asked_ns is None:
                continue
            for later in deliveries[number + 1 :]:
                # A receiver that is not scheduled may note an earlier attempt later: only a later one accuses.
                if later.attempt > delivery.attempt and later.began_ns < delivery.asked_ns:
                    wrong.append(
                        f"{delivery.proc} settled attempt {delivery.attempt} of {delivery.id} after {later.proc} had "
                        f"begun attempt {later.attempt}"
                    )
                    break
    return wrong


def final(held: Iterable[Held]) -> list[str]:
    """Find messages that came again after they had been settled for good, and that was confirmed."""
    wrong = []
    for deliveries in _by_message(held).values():
        for earlier, later in pairwise(deliveries):
            settled = earlier.ending in ("accept", "dead_letter") and earlier.outcome == "ok"
            if settled and earlier.ended_ns is not None and later.began_ns > earlier.ended_ns:
                wrong.append(
                    f"{later.id} came to {later.proc} after {earlier.proc} had settled it ({earlier.ending})"
                )
    return wrong


def attempts(held: Iterable[Held], *, deaths: int) -> list[str]:
    """Find attempt numbers that fell, came too often, or ran ahead.

    One number may come twice when a process died: what it had held comes once in company and, should that end badly
    too, once alone. A delivery that was handed back (`release`) is no attempt, so that its number comes again.

    Args:
        deaths: How many processes died: each may have begun an attempt that it had no time to note.
    """
    wrong = []
    for (_, id_), deliveries in _by_message(held).items():
        numbers = [delivery.attempt for delivery in deliveries]
        shown = f"{id_}: attempts {numbers}"
        if numbers != sorted(numbers):
            wrong.append(f"{shown} fell")
        counted = Counter(delivery.attempt for delivery in deliveries if delivery.ending != "release")
        if any(count > (1 if number == 1 or not deaths else 2) for number, count in counted.items()):
            wrong.append(f"{shown}: one came too often")
        if numbers[-1] > len(counted) + deaths + (deliveries[-1].ending == "release"):
            wrong.append(f"{shown} ran ahead of what was begun")
    return wrong


def _by_message(held: Iterable[Held]) -> _Held:
    found: dict[tuple[str, str], list[Held]] = defaultdict(list)
    for delivery in sorted(held, key=lambda each: each.began_ns):
        found[delivery.group, delivery.id].append(delivery)
    return found
