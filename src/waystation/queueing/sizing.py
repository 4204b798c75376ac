"""How many consumers keep a wish: the smallest number for which a mean or a percentile stays under its limit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .batches import BatchLaw
from .choice import queue
from .delays import Delay
from .erlang import SERVERS_MAX, UTILISATION_MAX
from .load import offered_load
from .phases import service_tail
from .result import Queue
from .roots import first_whole
from .steps import Step
from .trust import ModelError, Trust, above_zero, percent, zero_or_more
from .units import beside, parse_time, show_time

_WISH = re.compile(r"(?:(wait|time)\s+)?(p[0-9.]+|mean)\s*(<=?|≤)\s*(\S.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A limit for the time that messages take: `p99<200ms`, `mean<50ms`, `wait p99.9<=1s`.

    Attributes:
        limit_s: The limit, in seconds.
        percentile: Which percentile has to keep it; None for the mean.
        of: Whether the limit is for the whole time in the system, or for the wait alone.
        strictly: Whether the limit itself is too long already.
    """

    limit_s: float
    percentile: float | None
    of: Literal["time", "wait"] = "time"
    strictly: bool = False

    @classmethod
    def parse(cls, text: str) -> Wish:
        """Return the wish that a text states.

        Raises:
            ModelError: It is none; a percentile of 100; a limit that is no time above zero.
        """
        match = _WISH.fullmatch(text.strip())
        if match is None:
            raise ModelError(
                "a wish is a percentile or the mean, and its limit",
                found=f"{text!r} was given",
                instead="write 'p99<200ms', 'mean<50ms' or 'wait p99<1s', in quotes since a shell reads the <",
            )
        of, what, sign, limit = match.groups()
        try:
            percentile = None if what == "mean" else percent(float(what[1:]))
        except ValueError as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                "a percentile is a number", found=f"{what!r} was given", instead="write p99"
            ) from error
        return cls(
            limit_s=above_zero(parse_time(limit, "the limit of a wish"), "the limit of a wish", "200ms"),
            percentile=percentile,
            of="wait" if of == "wait" else "time",
            strictly=sign == "<",
        )

    def measured(self, found: Queue) -> float:
        """Return what the wish is about, in seconds, for a queue."""
        return self._of(found.wait if self.of == "wait" else found.sojourn)

    def kept(self, seconds: float) -> bool:
        """Return whether such a time keeps the limit."""
        return seconds < self.limit_s if self.strictly else seconds <= self.limit_s

    def trust(self, found: Queue) -> Trust:
        """Return how far to trust what the wish is about."""
        delay = found.wait if self.of == "wait" else found.sojourn
        return delay.trust if self.percentile is None else delay.tail_trust

    def __str__(self) -> str:
        what = "mean" if self.percentile is None else f"p{self.percentile:g}"
        return f"{'wait ' if self.of == 'wait' else ''}{what} {'<' if self.strictly else '≤'} {show_time(self.limit_s)}"

    def _of(self, delay: Delay) -> float:
        return delay.mean_s if self.percentile is None else delay.percentile_s(self.percentile)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """How many consumers a wish takes.

    Attributes:
        wish: What was wished.
        queue: The queue with as many consumers as it takes.
        reached_s: What the wish is about, with them.
        fewer: The queue with one consumer less; None if that could not keep up at all.
        fewer_s: What the wish is about, with one less: over the limit.
    """

    wish: Wish
    queue: Queue
    reached_s: float
    fewer: Queue | None
    fewer_s: float | None

    @property
    def servers(self) -> int:
        """The smallest number of consumers that keeps the wish."""
        return self.queue.servers

    @property
    def model(self) -> str:
        """Which model says so."""
        return self.queue.model

    @property
    def trust(self) -> Trust:
        """How far to trust it."""
        return self.wish.trust(self.queue)

    def steps(self) -> tuple[Step, ...]:
        """Return the calculation, for the number found and for one less."""
        return tuple(step for found in (self.fewer, self.queue) if found for step in self._each(found))

    def _each(self, found: Queue) -> tuple[Step, ...]:
        load = beside(found.load_erlangs, found.servers, 4)
        what = "mean" if self.wish.percentile is None else f"p{self.wish.percentile:g}"
        return (
            Step(
                name=f"utilisation of {found.servers:,}",
                formula="ρ = E / c",
                numbers=f"{load} / {found.servers:,}",
                value=found.utilisation,
                unit="share",
            ),
            Step(
                name=f"{what} {'wait' if self.wish.of == 'wait' else 'time in system'}",
                formula=found.model,
                numbers=str(self.wish),
                value=self.wish.measured(found),
                unit="s",
                trust=self.wish.trust(found),
            ),
        )


def servers_for(
    wish: Wish | str,
    arrivals_per_s: float,
    service_s: float,
    *,
    arrival_cv2: float = 1.0,
    service_cv2: float = 1.0,
    batch: float = 1.0,
    batch_law: BatchLaw = "fixed",
) -> Sizing:
    """Return the smallest number of consumers that keeps a wish, by the model that `queue` chooses.

    Args:
        wish: Such as `"p99<200ms"`, or a `Wish`.

    Raises:
        ModelError: As `queue`; or no number of consumers keeps the wish, since handling alone takes longer; or it
            would take more than a million.
    """
    wanted = Wish.parse(wish) if isinstance(wish, str) else wish
    load = offered_load(arrivals_per_s, service_s)

    def found(servers: int) -> Queue:
        return queue(
            load.arrivals_per_s,
            load.service_s,
            servers,
            arrival_cv2=arrival_cv2,
            service_cv2=service_cv2,
            batch=batch,
            batch_law=batch_law,
        )

    _insist_on_reachable(wanted, load.service_s, service_cv2)
    fewest = int(load.erlangs / UTILISATION_MAX) + 1
    if fewest > SERVERS_MAX:
        raise ModelError(
            f"a model takes at most {SERVERS_MAX:,} servers",
            found=f"{load.erlangs:,.6g} Erlang need more",
            instead="split the load",
        )
    servers = first_whole(lambda count: wanted.kept(wanted.measured(found(count))), fewest, SERVERS_MAX)
    if servers is None:
        raise ModelError(
            f"a model takes at most {SERVERS_MAX:,} servers",
            found=f"{wanted} takes more",
            instead="split the load, or wish for less",
        )
    enough, less = found(servers), found(servers - 1) if servers > fewest else None
    return Sizing(
        wish=wanted,
        queue=enough,
        reached_s=wanted.measured(enough),
        fewer=less,
        fewer_s=wanted.measured(less) if less else None,
    )


def _insist_on_reachable(wish: Wish, service_s: float, service_cv2: float) -> None:
    """Refuse a wish that handling alone breaks, however many handle.

    Raises:
        ModelError: It does.
    """
    if wish.of == "wait":
        return
    variation = zero_or_more(service_cv2, "service_cv2", "1 for exponential times, 0 for constant ones")
    alone = Delay(
        mean_s=service_s, trust=Trust.EXACT, tail=service_tail(service_s, variation), tail_trust=Trust.EXACT
    )
    least = service_s if wish.percentile is None else alone.percentile_s(wish.percentile)
    if not wish.kept(least):
        what = "the mean" if wish.percentile is None else f"p{wish.percentile:g}"
        raise ModelError(
            "more consumers shorten the wait, never the handling",
            found=f"{what} of the handling alone is {show_time(least)}, over {wish}",
            instead="make the handling faster or steadier, or wish for less",
        )
