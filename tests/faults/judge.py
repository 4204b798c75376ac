"""Everything that the checkers say about one run, and the sum of many."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from waystation._core.limits import DEDUPE_WINDOW_S, LEASE_S
from waystation.testing.checkers import (
    Exposure,
    Verdict,
    attempts,
    conservation,
    dedupe,
    early,
    exposure,
    fencing,
    final,
    lease_exclusive,
    loss_place,
    loss_shape,
    order_by_key,
    total_queue,
    verdict,
)
from waystation.testing.history import Held, History, Sent

#: Sentences shown of each checker: the first ones tell.
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the store says when nothing moves any more.

    Attributes:
        stored: Messages that were ever published.
        owed: Messages that the group has still to settle.
        dead: Ids of its dead letters.
        kept: Ids that are anywhere in the store. Needed only if something is lost.
    """

    stored: int
    owed: int
    dead: Sequence[str]
    kept: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a run's faults excuse.

    Attributes:
        final: A confirmed settlement is never undone. Not after a power cut, unless settlements are flushed; and with
            clocks that jump, what comes again may have been taken before.
        counted: Attempts are counted right. Not after a power cut, nor with clocks that jump.
        exclusive: A lease keeps others out. Not with clocks that jump.
        timely: Nothing scheduled comes early, and a `dedupe_key` counts for its window, no longer and no shorter. Not
            with clocks that jump.
        kept: What somebody has seen stays. Not after a power cut, if its sender never had a receipt: receivers see a
            message before it is flushed.
    """

    final: bool = True
    counted: bool = True
    exclusive: bool = True
    timely: bool = True
    kept: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What is counted of a run; tallies add up."""

    kills: int = 0
    cuts: int = 0
    other_faults: int = 0
    accepted: int = 0
    lost: int = 0
    unexpected: int = 0
    recovered: int = 0
    taken_back: int = 0  # of unknown outcome, seen by a receiver, and gone after a power cut
    duplicated: int = 0
    duplicated_as_first: int = 0  # of these, with attempt 1 again
    effects_twice: int = 0
    order_violations: int = 0
    operations: int = 0
    met_by_a_fault: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of one run."""

    part: str
    seed: int
    verdict: Verdict
    problems: tuple[str, ...]
    tally: Tally
    sha256: str = ""


def judge(
    history: History, books: Books, rules: Rules, *, deaths: int, end_ns: int
) -> tuple[list[str], Tally]:
    """Hold one group's history against everything that is promised."""
    accepted = {each.stored_as for each in history.sent if each.outcome == "ok"}
    found = total_queue(
        invoked=[each.id for each in history.sent],
        accepted=accepted,
        rejected=[each.id for each in history.sent if each.outcome == "fail" or each.first is not None],
        delivered=[each.id for each in history.held],
    )
    delivered = {each.id for each in history.held}
    misordered = _order(history, found.recovered.union(accepted))
    taken = _taken(history)
    problems: list[str] = []
    if found.lost:
        problems.append(_describe_loss(history, found.lost, books))
    if found.unexpected:
        problems.append(f"{len(found.unexpected)} made up or rejected: {sorted(found.unexpected)[:_SHOWN]}")
    problems += misordered[:_SHOWN] + fencing(history.held)[:_SHOWN]
    if rules.exclusive:
        problems += lease_exclusive(history.held, lease_s=LEASE_S, taken=taken)[:_SHOWN]
    if rules.final:
        problems += final(_never_stopped(history))[:_SHOWN]
    if rules.counted:
        problems += attempts(_never_stopped(history), deaths=deaths)[:_SHOWN]
    if rules.timely:
        problems += dedupe(history.sent, window_s=DEDUPE_WINDOW_S, delivered=delivered)[:_SHOWN]
        due = {each.id: each.due for each in history.sent if each.due is not None}
        problems += early(due, [(each.id, each.wall_s) for each in history.held])[:_SHOWN]
    if len(set(books.dead)) != len(books.dead):
        problems.append("a message is a dead letter twice")
    settled = len(delivered.difference(books.dead))
    beyond = settled + len(books.dead) + books.owed - books.stored
    taken_back = 0 if rules.kept else max(0, min(beyond, len(found.recovered)))
    missing = conservation(
        accepted=books.stored, settled=settled - taken_back, dead=len(books.dead), owed=books.owed
    )
    problems += [] if missing is None else [missing]
    met = met_by_faults(history, end_ns)
    again = _again(history.held)
    tally = Tally(
        accepted=len(accepted),
        lost=len(found.lost),
        unexpected=len(found.unexpected),
        recovered=len(found.recovered),
        taken_back=taken_back,
        duplicated=len(found.duplicated),
        duplicated_as_first=sum(each.attempt == 1 for each in again),
        order_violations=len(misordered),
        operations=met.operations,
        met_by_a_fault=met.met,
    )
    return problems, tally


def conclude(part: str, seed: int, problems: Sequence[str], tally: Tally, folder: Path) -> Finding:
    """Put a verdict on a run, and a seal on its histories."""
    judged = verdict(problems, Exposure(tally.operations, tally.met_by_a_fault))
    return Finding(
        part=part, seed=seed, verdict=judged, problems=tuple(problems), tally=tally, sha256=_seal(folder)
    )


def _order(history: History, arrived: frozenset[str]) -> list[str]:
    sent: Mapping[str, list[str]] = defaultdict(list)
    for each in history.sent:
        if each.key is not None and each.id in arrived:
            sent[each.key].append(each.id)
    ends = [
        each for each in history.held if each.ending in ("accept", "dead_letter") and each.key is not None
    ]
    ends.sort(key=lambda each: each.asked_ns or 0)
    return order_by_key(sent, [(each.key or "", each.id) for each in ends])


def _taken(history: History) -> dict[str, list[int]]:
    """When everything that a process held was, or may have been, taken from it."""
    moments: dict[str, list[int]] = defaultdict(list)
    for fault in history.faults:
        if fault.victim:
            moments[fault.victim].append(fault.began_ns)
    return moments


def _never_stopped(history: History) -> list[Held]:
    """Leave out messages that a stopped process had: it may have noted their receipt after somebody else's."""
    stopped = {fault.victim for fault in history.faults if fault.what == "stop"}
    mixed_up = {each.id for each in history.held if each.proc in stopped}
    return [each for each in history.held if each.id not in mixed_up]


def _again(held: Iterable[Held]) -> list[Held]:
    """Deliveries after the first of their message, but those that follow a hand-back."""
    last: dict[str, Held] = {}
    again = []
    for each in held:
        before = last.get(each.id)
        if before is not None and before.ending != "release":
            again.append(each)
        last[each.id] = each
    return again


def met_by_faults(history: History, end_ns: int) -> Exposure:
    """Count sends and deliveries, and those that were under way during a fault.

    One without an end was under way until something happened to its process; if nothing did, only when it began. A
    delivery whose message came again had no end either, whatever its receiver intended.
    """
    taken = _taken(history)
    last = {(each.group, each.id): each for each in history.held}

    def end_of(each: Sent | Held) -> int:
        if each.ended_ns is not None:
            return each.ended_ns
        if isinstance(each, Held) and each.asked_ns is not None and last[each.group, each.id] is each:
            return each.asked_ns
        return next((when for when in taken.get(each.proc, ()) if when >= each.began_ns), each.began_ns)

    everything: list[Sent | Held] = [*history.sent, *history.held]
    operations = [(each.began_ns, end_of(each)) for each in everything]
    return exposure(operations, [(fault.began_ns, fault.ended_ns) for fault in history.faults], end=end_ns)


def _describe_loss(history: History, lost: frozenset[str], books: Books) -> str:
    by_producer: dict[str, list[str]] = defaultdict(list)
    for each in history.sent:
        if each.outcome == "ok":
            by_producer[each.proc].append(each.id)
    shapes = {
        proc: {where: len(getattr(shape, where)) for where in ("prefix", "middle", "postfix")}
        for proc, ids in by_producer.items()
        if lost.intersection(ids)
        for shape in [loss_shape(ids, lost)]
    }
    place = loss_place(lost, books.kept)
    where = f"{len(place.gone)} gone, {len(place.stranded)} stranded"
    return f"{len(lost)} lost ({where}): {sorted(lost)[:_SHOWN]}; {shapes}"


def _seal(folder: Path) -> str:
    """Hash the raw histories, by name."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.history")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
