"""Whether things happened when they should. Moments are seconds of one clock, whichever the caller chose."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise

from ..history import Sent


def early(
    due: Mapping[str, float], delivered: Iterable[tuple[str, float]], *, skew_s: float = 0.0
) -> list[str]:
    """Find messages that were delivered before they were due.

    Args:
        due: When each was due, by id.
        delivered: Id and moment of each delivery, on the clock of `due`.
        skew_s: How much the clocks of two processes may differ.
    """
    return [
        f"{id_} came {due[id_] - at:.3f} s early"
        for id_, at in delivered
        if id_ in due and at < due[id_] - skew_s
    ]


def late(due: Mapping[str, float], delivered: Iterable[tuple[str, float]], *, limit_s: float) -> list[str]:
    """Find messages whose first delivery came more than `limit_s` after they were due, or never."""
    first: dict[str, float] = {}
    for id_, at in delivered:
        first[id_] = min(at, first.get(id_, at))
    never = [f"{id_} was due and never came" for id_ in due if id_ not in first]
    return never + [
        f"{id_} came {first[id_] - when:.3f} s late"
        for id_, when in due.items()
        if id_ in first and first[id_] > when + limit_s
    ]


def ttl(
    expires: Mapping[str, float], begun: Iterable[tuple[str, float]], *, skew_s: float = 0.0
) -> list[str]:
    """Find messages whose handling began after they had expired."""
    return [
        f"{id_} was begun {at - expires[id_]:.3f} s after it had expired"
        for id_, at in begun
        if id_ in expires and at > expires[id_] + skew_s
    ]


def dedupe(sent: Iterable[Sent], *, window_s: float, delivered: Collection[str] = ()) -> list[str]:
    """Find keys that were stored twice within a window, or refused although the window was over.

    When exactly a message was stored lies between the beginning and the end of its publish; only what is wrong for
    every such moment is reported. Publishes of unknown outcome may have been stored.

    Args:
        delivered: Ids that somebody received: they were stored, whatever their sender knows.
    """
    window_ns = round(window_s * 1e9)
    by_key: dict[str, list[Sent]] = {}
    for one in sorted(sent, key=lambda each: each.began_ns):
        if one.dedupe_key is not None and one.outcome != "fail":
            by_key.setdefault(one.dedupe_key, []).append(one)
    wrong = []
    for key, publishes in by_key.items():
        stored = [
            one for one in publishes if one.first is None and (one.outcome == "ok" or one.id in delivered)
        ]
        for first, second in pairwise(stored):
            if second.ended_ns is not None and second.ended_ns - first.began_ns < window_ns:
                wrong.append(f"{second.id} was stored, although {first.id} had the same key {key!r}")
        wrong += [
            f"{refused.id} was refused, although nothing with the key {key!r} was in the window"
            for refused in publishes
            if refused.first is not None
            and not any(_may_refuse(one, refused, window_ns) for one in publishes)
        ]
    return wrong


def _may_refuse(earlier: Sent, refused: Sent, window_ns: int) -> bool:
    if (
        earlier is refused
        or earlier.first is not None
        or (refused.ended_ns is not None and earlier.began_ns > refused.ended_ns)
    ):
        return False
    return earlier.ended_ns is None or refused.began_ns - earlier.ended_ns < window_ns


def liveness(*, healed_s: float, settled_s: float | None, owed: int, limit_s: float = 30.0) -> str | None:
    """Say what is wrong if not everything was settled soon after the last fault.

    Args:
        healed_s: When the last fault ended.
        settled_s: When the last message was settled; None if nothing was left to settle.
        owed: Messages that are not settled even now.
    """
    if owed:
        return f"{owed} messages were never settled"
    if settled_s is not None and settled_s - healed_s > limit_s:
        took_s = settled_s - healed_s
        return f"the last message was settled {took_s:.1f} s after the last fault, not within {limit_s:g} s"
    return None
