"""What a model says of a queue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .delays import Delay
from .steps import Step
from .tails import Exponentials
from .trust import Trust
from .units import beside, digits, show_rate, show_time

#: Percentiles that are shown where none are asked for: the usual ones of service levels.
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue in its steady state: first come, first served; nobody leaves unserved.

    Attributes:
        model: Its name in Kendall's notation: `M/M/8`.
        trust: How far to trust the means; each `Delay` says it of its percentiles too.
        assumes: What the model takes for granted, as a sentence.
        source: Where the formula is from.
        arrivals_per_s: What comes, turned away or not.
        service_s: Mean handling time, in seconds.
        servers: Consumers that handle one message each at a time.
        places: Messages that are taken in at most, those being handled included; None for no limit.
        arrival_cv2: Squared coefficient of variation of the time between arrivals: 1 Poisson, 0 a clock.
        service_cv2: The same of the handling time: 1 for exponential, 0 for constant.
        has_to_wait: Share of the messages taken in that do not start at once.
        lost: Share of arrivals that are turned away; 0 without a limit.
        wait: From arrival to the start of handling.
        sojourn: From arrival to the end of handling.
        derivation: How what has to wait, and for how long, was found.
        wait_bound_s: A mean wait that no queue with these two coefficients exceeds, where one is known.
    """

    model: str
    trust: Trust
    assumes: str
    source: str
    arrivals_per_s: float
    service_s: float
    servers: int
    places: int | None = None
    arrival_cv2: float = 1.0
    service_cv2: float = 1.0
    has_to_wait: float
    lost: float = 0.0
    wait: Delay
    sojourn: Delay
    derivation: tuple[Step, ...] = ()
    wait_bound_s: float | None = None

    @property
    def load_erlangs(self) -> float:
        """Offered load: what comes, times what each takes."""
        return self.arrivals_per_s * self.service_s

    @property
    def throughput_per_s(self) -> float:
        """What is handled per second."""
        return self.arrivals_per_s * (1 - self.lost)

    @property
    def utilisation(self) -> float:
        """Share of its time for which a server is busy."""
        return self.throughput_per_s * self.service_s / self.servers

    @property
    def waiting(self) -> float:
        """Mean number of messages that wait, by Little's law."""
        return self.throughput_per_s * self.wait.mean_s

    @property
    def in_system(self) -> float:
        """Mean number of messages that wait or are being handled, by Little's law."""
        return self.throughput_per_s * self.sojourn.mean_s

    @property
    def settles_s(self) -> float:
        """Roughly how long after a change of load the queue has come two thirds of the way to what is said here.

        An approximation for a single server (Odoni and Roth, Operations Research 31, 1983), used for several as one
        that is as fast as all; never less than one handling time. With a limit of places, the slowest mode of M/M/1/K,
        likewise (Morse, Queues, Inventories and Maintenance, 1958).
        """
        root = math.sqrt(self.load_erlangs / self.servers)
        if self.places is None:
            each = (self.arrival_cv2 + self.service_cv2) / 2.8 / (1 - root) ** 2
        else:
            room = self.places - self.servers
            each = 1 / ((1 - root) ** 2 + 2 * root * (1 - math.cos(math.pi / (room + 1))))
        return self.service_s * max(1.0, each / self.servers)

    def steps(self, percentiles: Sequence[float] = PERCENTILES) -> tuple[Step, ...]:
        """Return the whole calculation, line by line, with these percentiles of the wait and of the time in the system.

        Raises:
            ModelError: A percentile that is not from 1 to below 100.
        """
        rate, service = show_rate(self.arrivals_per_s), show_time(self.service_s)
        load = beside(self.load_erlangs, self.servers, 4)
        handled = show_rate(self.throughput_per_s)
        busy = ("ρ = E / c", f"{load} / {self.servers:,}")
        if self.lost:
            busy = ("ρ = E·(1 − lost) / c", f"{load}·(1 − {digits(self.lost)}) / {self.servers:,}")
        wait, sojourn = self.wait, self.sojourn
        return (
            Step(
                name="offered load",
                formula="E = λ·S",
                numbers=f"{rate} · {service}",
                value=self.load_erlangs,
                unit="Erlang",
            ),
            Step(name="utilisation", formula=busy[0], numbers=busy[1], value=self.utilisation, unit="share"),
            *self.derivation,
            Step(
                name="messages waiting",
                formula="λ·W (Little)",
                numbers=f"{handled} · {show_time(wait.mean_s)}",
                value=self.waiting,
                unit="",
                trust=wait.trust,
            ),
            Step(
                name="mean time in system",
                formula="T = W + S",
                numbers=f"{show_time(wait.mean_s)} + {service}",
                value=sojourn.mean_s,
                unit="s",
                trust=sojourn.trust,
            ),
            Step(
                name="messages in system",
                formula="λ·T (Little)",
                numbers=f"{handled} · {show_time(sojourn.mean_s)}",
                value=self.in_system,
                unit="",
                trust=sojourn.trust,
            ),
            *(_percentile("wait", "W", wait, each) for each in percentiles),
            *(_percentile("time in system", "T", sojourn, each) for each in percentiles),
        )


def _percentile(name: str, symbol: str, delay: Delay, percentile: float) -> Step:
    missed = (100 - percentile) / 100
    formula, numbers = f"P({symbol} > t) = 1 − p", f"t for {digits(missed, 4)}"
    match delay.tail:
        case Exponentials(phases=((share, rate),)) if share > missed:
            formula = f"ln(P({symbol} > 0) / (1 − p)) / r"
            numbers = f"ln({digits(share)} / {digits(missed, 4)})·{show_time(1 / rate)}"
    return Step(
        name=f"p{percentile:g} {name}",
        formula=formula,
        numbers=numbers,
        value=delay.percentile_s(percentile),
        unit="s",
        trust=delay.tail_trust,
    )
