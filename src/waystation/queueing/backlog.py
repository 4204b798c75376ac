"""What is stored: L = n·m in bytes, L = λ·W by Little's law, when a disk is full and when a backlog is gone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .steps import Step
from .trust import ModelError, Trust, above_zero, zero_or_more
from .units import digits, show, show_rate, show_size, show_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Messages that are kept, and the space that they take.

    Attributes:
        messages: n, or L.
        message_bytes: m, with all that is stored beside the body; None where only numbers matter.
        arrivals_per_s: λ, where the number is from Little's law.
        time_s: W, likewise.
    """

    messages: float
    message_bytes: float | None = None
    arrivals_per_s: float | None = None
    time_s: float | None = None
    trust: Trust = Trust.EXACT

    @property
    def model(self) -> str:
        """The law that it is from."""
        return "L = n·m" if self.time_s is None else "L = λ·W"

    @property
    def bytes(self) -> float | None:
        """The space that they take, n·m."""
        return None if self.message_bytes is None else self.messages * self.message_bytes

    def steps(self) -> tuple[Step, ...]:
        """Return the calculation."""
        steps = []
        if self.arrivals_per_s is not None and self.time_s is not None:
            steps.append(
                Step(
                    name="messages",
                    formula="L = λ·W (Little)",
                    numbers=f"{show_rate(self.arrivals_per_s)} · {show_time(self.time_s)}",
                    value=self.messages,
                    unit="messages",
                )
            )
        if self.message_bytes is not None:
            steps.append(
                Step(
                    name="space",
                    formula="n·m",
                    numbers=f"{digits(self.messages)} · {show_size(self.message_bytes)}",
                    value=self.messages * self.message_bytes,
                    unit="B",
                )
            )
        return tuple(steps)


def backlog(messages: float, message_bytes: float) -> Backlog:
    """Return the space that messages take: L = n·m.

    Raises:
        ModelError: A negative count, or a size that is not above zero.
    """
    return Backlog(
        messages=zero_or_more(messages, "messages", "how many there are"),
        message_bytes=above_zero(message_bytes, "message_bytes", "1024 for 1 KiB"),
    )


def little(arrivals_per_s: float, time_s: float, *, message_bytes: float | None = None) -> Backlog:
    """Return how many messages are kept, if so many come per second and each stays so long: L = λ·W (Little's law).

    Exact for whatever is in a steady state, in whatever order and however irregularly (Little, Operations Research 9,
    1961). With the time of a retention it says how large a topic becomes; with a measured wait, how long a queue is.

    Args:
        message_bytes: What one takes, to get bytes too.

    Raises:
        ModelError: A rate or a size that is not above zero, or a negative time.
    """
    rate = above_zero(arrivals_per_s, "arrivals_per_s", "how many arrive per second")
    stays = zero_or_more(time_s, "time_s", "the seconds that each stays")
    size = None if message_bytes is None else above_zero(message_bytes, "message_bytes", "1024 for 1 KiB")
    return Backlog(messages=rate * stays, message_bytes=size, arrivals_per_s=rate, time_s=stays)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """How long a backlog takes until nothing waits, at steady rates.

    The mean n / (R − λ) is exact for one consumer with Poisson arrivals and independent handling times, whatever their
    law: it is n busy periods (Kleinrock, Queueing Systems I, §5.8). For c consumers it is that of one that is c times
    as fast, which the last few messages notice.

    Attributes:
        messages: n at the beginning.
        arrivals_per_s: λ, what comes meanwhile.
        capacity_per_s: R, what all consumers together can handle.
        deviation_s: Standard deviation of the time, for Poisson arrivals and exponential handling.
    """

    messages: float
    arrivals_per_s: float
    capacity_per_s: float
    model: str = "n / (R − λ)"
    trust: Trust = Trust.EXACT

    @property
    def seconds(self) -> float:
        """Mean time until nothing is left."""
        return self.messages / (self.capacity_per_s - self.arrivals_per_s)

    @property
    def deviation_s(self) -> float:
        """Standard deviation of that time."""
        load = self.arrivals_per_s / self.capacity_per_s
        return math.sqrt(self.messages * (1 + load) / (1 - load) ** 3) / self.capacity_per_s

    def steps(self) -> tuple[Step, ...]:
        """Return the calculation."""
        spare = self.capacity_per_s - self.arrivals_per_s
        return (
            Step(
                name="spare capacity",
                formula="R − λ",
                numbers=f"{show_rate(self.capacity_per_s)} − {show_rate(self.arrivals_per_s)}",
                value=spare,
                unit="1/s",
            ),
            Step(
                name="drained after",
                formula="n / (R − λ)",
                numbers=f"{digits(self.messages)} / {show_rate(spare)}",
                value=self.seconds,
                unit="s",
            ),
            Step(
                name="give or take",
                formula="√(n·(1 + ρ) / (1 − ρ)³) / R",
                numbers=f"ρ = {digits(self.arrivals_per_s / self.capacity_per_s)}",
                value=self.deviation_s,
                unit="s",
                trust=Trust.APPROXIMATION,
            ),
        )


def drain(messages: float, arrivals_per_s: float, capacity_per_s: float) -> Drain:
    """Return how long a backlog takes until it is gone, while messages go on coming.

    Args:
        arrivals_per_s: What comes meanwhile; 0 if nothing does.
        capacity_per_s: What is handled: consumers, divided by the seconds that each takes for one.

    Raises:
        ModelError: Less is handled than comes, so that the backlog grows; or a number that is negative.
    """
    count = zero_or_more(messages, "messages", "how many wait")
    rate = zero_or_more(arrivals_per_s, "arrivals_per_s", "how many arrive per second")
    capacity = above_zero(capacity_per_s, "capacity_per_s", "how many are handled per second")
    if rate >= capacity:
        raise ModelError(
            "a backlog is drained where more is handled than comes",
            found=f"{show_rate(rate)} come and {show_rate(capacity)} are handled, so that it grows by "
            f"{show_rate(rate - capacity)}",
            instead=f"handle more than {show_rate(rate)}",
        )
    return Drain(messages=count, arrivals_per_s=rate, capacity_per_s=capacity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """When a disk is full.

    Attributes:
        free_bytes: What there is room for.
        message_bytes: What one message takes.
        growth_per_s: Messages that come and are not handled, per second.
    """

    free_bytes: float
    message_bytes: float
    growth_per_s: float
    model: str = "free / (m·(λ − R))"
    trust: Trust = Trust.EXACT

    @property
    def seconds(self) -> float:
        """Time until it is full; infinite if the backlog does not grow."""
        if self.growth_per_s <= 0:
            return math.inf
        return self.free_bytes / (self.message_bytes * self.growth_per_s)

    def steps(self) -> tuple[Step, ...]:
        """Return the calculation."""
        growth = self.growth_per_s * self.message_bytes
        return (
            Step(
                name="growth",
                formula="m·(λ − R)",
                numbers=f"{show_size(self.message_bytes)} · {show_rate(max(0.0, self.growth_per_s))}",
                value=max(0.0, growth),
                unit="B/s",
            ),
            Step(
                name="full after",
                formula="free / growth",
                numbers=f"{show_size(self.free_bytes)} / {show(max(0.0, growth), 'B/s')}",
                value=self.seconds,
                unit="s",
            ),
        )


def filling(
    free_bytes: float, message_bytes: float, arrivals_per_s: float, handled_per_s: float = 0.0
) -> Filling:
    """Return when what comes and is not handled has filled the free space of a disk, at steady rates.

    Raises:
        ModelError: A size or a rate that is negative, or no message size.
    """
    rate = zero_or_more(arrivals_per_s, "arrivals_per_s", "how many arrive per second")
    return Filling(
        free_bytes=zero_or_more(free_bytes, "free_bytes", "the bytes that are free"),
        message_bytes=above_zero(message_bytes, "message_bytes", "1024 for 1 KiB"),
        growth_per_s=rate - zero_or_more(handled_per_s, "handled_per_s", "how many are handled per second"),
    )
