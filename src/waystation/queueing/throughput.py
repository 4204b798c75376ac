"""What gets done: R = n / t, and the most that a number of clients can get out of a number of consumers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .erlang import SERVERS_MAX
from .steps import Step
from .trust import Trust, above_zero, whole, zero_or_more
from .units import digits, show_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Requests over the time that they took: R = n / t. Exact, being a definition."""

    requests: float
    seconds: float
    model: str = "R = n / t"
    trust: Trust = Trust.EXACT

    @property
    def per_s(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    def steps(self) -> tuple[Step, ...]:
        """Return the calculation."""
        numbers = f"{digits(self.requests)} / {show_time(self.seconds)}"
        return (Step(name="throughput", formula="R = n / t", numbers=numbers, value=self.per_s, unit="1/s"),)


def throughput(requests: float, seconds: float) -> Throughput:
    """Return the throughput of requests in a time.

    Raises:
        ModelError: A negative number, or no time.
    """
    return Throughput(
        requests=zero_or_more(requests, "requests", "how many were answered"),
        seconds=above_zero(seconds, "seconds", "the time that they took"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A closed system: so many clients, each of which asks, waits for the answer, thinks, and asks again.

    X ≤ min(N / (Z + R), c / S), whatever the distributions (Denning and Buzen, Computing Surveys 10, 1978): clients
    that never had to wait for each other would get the first, consumers that were never idle would give the second.

    Attributes:
        clients: N.
        think_s: Z, between an answer and the next question.
        service_s: S, what a consumer takes.
        servers: c.
        travel_s: What an answer takes beside that: network, queues elsewhere.
    """

    clients: int
    think_s: float
    service_s: float
    servers: int
    travel_s: float = 0.0
    model: str = "X ≤ min(N / (Z + R), c / S)"
    trust: Trust = Trust.BOUND

    @property
    def response_s(self) -> float:
        """R, the time of an answer when nobody else asks."""
        return self.service_s + self.travel_s

    @property
    def by_clients_per_s(self) -> float:
        """What the clients ask for if none has to wait for another."""
        return self.clients / (self.think_s + self.response_s)

    @property
    def by_servers_per_s(self) -> float:
        """What the consumers do if they are never idle."""
        return self.servers / self.service_s

    @property
    def at_most_per_s(self) -> float:
        """The most that can get done."""
        return min(self.by_clients_per_s, self.by_servers_per_s)

    @property
    def limited_by(self) -> Literal["clients", "consumers"]:
        """Which of the two limits it."""
        return "clients" if self.by_clients_per_s < self.by_servers_per_s else "consumers"

    @property
    def knee(self) -> float:
        """Clients from which on more of them only wait longer: N* = c·(Z + R) / S."""
        return self.by_servers_per_s * (self.think_s + self.response_s)

    @property
    def answer_at_least_s(self) -> float:
        """The least that an answer takes in the mean: R, or N / X − Z once the consumers are the limit."""
        return max(self.response_s, self.clients / self.by_servers_per_s - self.think_s)

    def steps(self) -> tuple[Step, ...]:
        """Return the calculation."""
        think, response = show_time(self.think_s), show_time(self.response_s)
        return (
            Step(
                name="asked for",
                formula="N / (Z + R)",
                numbers=f"{self.clients:,} / ({think} + {response})",
                value=self.by_clients_per_s,
                unit="1/s",
                trust=Trust.BOUND,
            ),
            Step(
                name="can be done",
                formula="c / S",
                numbers=f"{self.servers:,} / {show_time(self.service_s)}",
                value=self.by_servers_per_s,
                unit="1/s",
                trust=Trust.BOUND,
            ),
            Step(
                name=f"throughput, limited by {self.limited_by}",
                formula="X ≤ min(N / (Z + R), c / S)",
                numbers="the smaller of the two",
                value=self.at_most_per_s,
                unit="1/s",
                trust=Trust.BOUND,
            ),
            Step(
                name="clients at the knee",
                formula="c·(Z + R) / S",
                numbers=f"{self.servers:,}·({think} + {response}) / {show_time(self.service_s)}",
                value=self.knee,
                unit="clients",
            ),
            Step(
                name="an answer takes",
                formula="max(R, N·S / c − Z)",
                numbers=f"max({response}, {self.clients:,}·{show_time(self.service_s)} / {self.servers:,} − {think})",
                value=self.answer_at_least_s,
                unit="s",
                trust=Trust.BOUND,
                at_least=True,
            ),
        )


def closed(
    clients: int, service_s: float, servers: int = 1, *, think_s: float = 0.0, travel_s: float = 0.0
) -> Closed:
    """Return the most that clients who wait for their answers can get out of consumers.

    Raises:
        ModelError: A number or a time that is none.
    """
    return Closed(
        clients=whole(clients, "clients", at_most=10**12),
        think_s=zero_or_more(think_s, "think_s", "the seconds between an answer and the next question"),
        service_s=above_zero(service_s, "service_s", "the seconds that one takes, such as 0.035"),
        servers=whole(servers, "servers", at_most=SERVERS_MAX),
        travel_s=zero_or_more(travel_s, "travel_s", "the seconds that an answer is on its way"),
    )
