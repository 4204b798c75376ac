"""Offered load, and what retries make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .roots import first_true
from .steps import Step
from .trust import ModelError, Trust, above_zero, share, whole
from .units import digits, show, show_rate, show_time

#: Attempts that a message has at most in a model; a policy that means "for ever" is near enough to it.
ATTEMPTS_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much work comes: E = λ·S, in Erlangs, which is the number of consumers that it keeps busy.

    Little's law for the consumers (Little, Operations Research 9, 1961): exact, whatever arrives how, as long as no
    work is refused.

    Attributes:
        arrivals_per_s: What comes, first attempts and retries.
        service_s: Mean handling time.
        erlangs: Their product.
        servers_min: Fewest consumers that can keep up in the long run; how long messages wait is another matter.
    """

    arrivals_per_s: float
    service_s: float
    model: str = "E = λ·S"
    trust: Trust = Trust.EXACT

    @property
    def erlangs(self) -> float:
        """Offered load: what comes per second, times the seconds that each takes."""
        return self.arrivals_per_s * self.service_s

    @property
    def servers_min(self) -> int:
        """The fewest consumers whose utilisation is below one."""
        return int(self.erlangs) + 1

    def utilisation(self, servers: int) -> float:
        """Return the share of its time for which each of so many consumers is busy; one or more: they fall behind."""
        return self.erlangs / whole(servers, "servers", at_most=10**9)

    def steps(self, servers: int | None = None) -> tuple[Step, ...]:
        """Return the calculation, for so many consumers if their number is given."""
        steps = [
            Step(
                name="offered load",
                formula="E = λ·S",
                numbers=f"{show_rate(self.arrivals_per_s)} · {show_time(self.service_s)}",
                value=self.erlangs,
                unit="Erlang",
            ),
            Step(
                name="consumers, at least",
                formula="⌊E⌋ + 1",
                numbers=f"⌊{digits(self.erlangs, 4)}⌋ + 1",
                value=self.servers_min,
                unit="",
            ),
        ]
        if servers is not None:
            steps.append(
                Step(
                    name="utilisation",
                    formula="ρ = E / c",
                    numbers=f"{digits(self.erlangs, 4)} / {servers:,}",
                    value=self.utilisation(servers),
                    unit="share",
                )
            )
        return tuple(steps)


def offered_load(arrivals_per_s: float, service_s: float) -> Load:
    """Return the offered load of events that come at a rate and take a time each.

    Raises:
        ModelError: A rate or a time that is not above zero.
    """
    return Load(
        arrivals_per_s=above_zero(arrivals_per_s, "arrivals_per_s", "how many arrive per second"),
        service_s=above_zero(service_s, "service_s", "the seconds that one takes, such as 0.035"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """What retries make of a load, if each attempt fails independently with one probability.

    Attempts per message are 1 + f + f² + … + f^(n−1) = (1 − fⁿ) / (1 − f). Exact under that assumption, which failures
    that have a common cause (a database that is down) break: then all attempts fail together.

    Attributes:
        arrivals_per_s: Messages that come.
        fails: Share of attempts that fail, f.
        attempts_max: Attempts that a message has, n.
    """

    arrivals_per_s: float
    fails: float
    attempts_max: int
    model: str = "geometric retries"
    trust: Trust = Trust.EXACT

    @property
    def amplification(self) -> float:
        """Mean attempts per message: the factor by which the load grows."""
        if self.fails == 1:
            return float(self.attempts_max)
        return (1 - self.fails**self.attempts_max) / (1 - self.fails)

    @property
    def attempts_per_s(self) -> float:
        """What the consumers really get to do."""
        return self.arrivals_per_s * self.amplification

    @property
    def dead_per_s(self) -> float:
        """Messages whose last attempt fails: dead letters."""
        return self.arrivals_per_s * self.fails**self.attempts_max

    def steps(self) -> tuple[Step, ...]:
        """Return the calculation."""
        fails, attempts = digits(self.fails), self.attempts_max
        rate = show_rate(self.arrivals_per_s)
        return (
            Step(
                name="attempts per message",
                formula="A = (1 − fⁿ) / (1 − f)" if self.fails < 1 else "A = n",
                numbers=f"(1 − {fails}^{attempts}) / (1 − {fails})" if self.fails < 1 else f"{attempts}",
                value=self.amplification,
                unit="",
            ),
            Step(
                name="attempts",
                formula="λ·A",
                numbers=f"{rate} · {digits(self.amplification, 4)}",
                value=self.attempts_per_s,
                unit="1/s",
            ),
            Step(
                name="dead letters",
                formula="λ·fⁿ",
                numbers=f"{rate} · {fails}^{attempts}",
                value=self.dead_per_s,
                unit="1/s",
            ),
        )


def retried(arrivals_per_s: float, *, fails: float, attempts_max: int) -> Retries:
    """Return what retries make of a rate of messages.

    Args:
        fails: Share of attempts that fail, from 0 to 1.
        attempts_max: Attempts that each message has, the first included.

    Raises:
        ModelError: A rate that is not above zero, a share that is none, or no attempt.
    """
    return Retries(
        arrivals_per_s=above_zero(arrivals_per_s, "arrivals_per_s", "how many arrive per second"),
        fails=share(fails, "fails"),
        attempts_max=whole(attempts_max, "attempts_max", at_most=ATTEMPTS_MAX),
    )


def failures_survived(arrivals_per_s: float, service_s: float, servers: int, *, attempts_max: int) -> float:
    """Return the share of attempts that may fail before retries alone overload the consumers; 1 if none can.

    Where λ·S·(1 − fⁿ) / (1 − f) reaches c. What fails more often than that, and is retried that often, is the usual
    way in which a small fault becomes an outage.

    Raises:
        ModelError: As `retried`; or the consumers cannot keep up even if nothing fails.
    """
    load = offered_load(arrivals_per_s, service_s)
    count = whole(servers, "servers", at_most=10**9)
    if load.erlangs >= count:
        raise ModelError(
            "consumers keep up while nothing fails",
            found=f"{show(load.erlangs, 'Erlang')} come for {count:,}",
            instead=f"give at least {load.servers_min:,}",
        )
    attempts = whole(attempts_max, "attempts_max", at_most=ATTEMPTS_MAX)
    if load.erlangs * attempts <= count:
        return 1.0

    def overloaded(fails: float) -> bool:
        if fails >= 1:
            return True
        each = Retries(arrivals_per_s=load.arrivals_per_s, fails=fails, attempts_max=attempts)
        return load.erlangs * each.amplification >= count

    return first_true(overloaded, 0.5)
