"""How far the replay is: a value per look, and what two looks say of the speed between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._core.inspection import GroupInfo
from .effects import Counts

#: The groups whose places are looked at: who reads the flights, and who takes the commands.
GROUPS = ("delays", "alerts", "flights.alert")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One look.

    Attributes:
        elapsed_s: Seconds since the demo began.
        total: Flights to come.
        published: Flights that the store has.
        handled: Flights, or commands, that each group is done with.
        lag: What each group has still before it. A group that nobody has declared yet is missing.
        dead: Dead letters.
        workers: Process ids of the workers of group `delays`, in the order of their start.
        answers: Requests answered.
        answer_ms: Median time to an answer; None before the first.
    """

    elapsed_s: float
    total: int
    published: int
    handled: dict[str, int]
    lag: dict[str, int]
    dead: int
    workers: tuple[int, ...]
    answers: int
    answer_ms: float | None

    @property
    def ready(self) -> bool:
        """Whether every group exists."""
        return self.lag.keys() >= set(GROUPS)

    @property
    def idle(self) -> bool:
        """Whether no group has anything before it, and nothing is in the hands of a worker either.

        A broker does not tell what another process holds, so it is the tables that count.
        """
        return self.ready and not any(self.lag.values()) and self.published >= self.total

    @property
    def deliveries(self) -> int:
        """Messages that handlers are done with."""
        return sum(self.handled.values()) + self.answers

    def differs(self, before: Progress) -> bool:
        """Say whether anything moved; answers alone do not count."""
        return (self.published, self.handled, self.workers) != (
            before.published,
            before.handled,
            before.workers,
        )


def look(
    counts: Counts,
    groups: Sequence[GroupInfo],
    *,
    elapsed_s: float,
    total: int,
    answers: int = 0,
    answer_ms: float | None = None,
) -> Progress:
    """Put together what the tables and the store say.

    The tables are read first, so `published` may be a little too high, never too low.
    """
    lag = {info.group: info.lag for info in groups if info.group in GROUPS}
    published = min(total, counts.flights + lag.get("delays", 0))
    handled = {
        "delays": counts.flights,
        "alerts": max(0, published - lag["alerts"]) if "alerts" in lag else 0,
        "flights.alert": counts.alerts,
    }
    return Progress(
        elapsed_s=elapsed_s,
        total=total,
        published=published,
        handled=handled,
        lag=lag,
        dead=sum(info.dead for info in groups),
        workers=counts.workers,
        answers=answers,
        answer_ms=answer_ms,
    )


def per_second(before: Progress | None, now: Progress) -> dict[str, float]:
    """Return the rates between two looks: of publishing under "published", of each group under its name."""
    seconds = now.elapsed_s - before.elapsed_s if before else 0.0
    if before is None or seconds <= 0:
        return dict.fromkeys(("published", *GROUPS), 0.0)
    rates = {group: (now.handled[group] - before.handled[group]) / seconds for group in GROUPS}
    rates["published"] = (now.published - before.published) / seconds
    return {name: max(0.0, rate) for name, rate in rates.items()}
