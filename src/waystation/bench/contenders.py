"""Who is measured against whom over a connection: each with two ends, and each end a process.

The bare loop, the bus and every peer have the same roles: `answer` and `take` say the port at which they listen; then
`ask-in-turn` and `ask-together`, or `tell`, connect to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from .peers import PEERS
from .peers.broker import nothing_between
from .processes import Worker

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who can be measured.

    Attributes:
        role: What the names of its roles begin with.
        arguments: What each of its roles is given.
        broker: Runs what stands between its ends, and gives the port, or 0.
    """

    role: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    broker: Callable[[], AbstractContextManager[int]] = nothing_between

    def worker(self, part: str, **arguments: Any) -> Worker:
        """Return the process that plays a part; not yet started."""
        return Worker(f"{self.role}-{part}", **self.arguments, **arguments)


BARE = Contender("bare")
BUS = Contender("bus")


def peer(name: str) -> Contender:
    """Return another library, by its name in `PEERS`."""
    return Contender("peer", {"peer": name}, PEERS[name].broker)


def latencies_us(contender: Contender, total: int) -> list[float]:
    """Return what each of `total` round trips took that were made one after another, in µs."""
    latencies: list[float] = _asked(contender, "ask-in-turn", total=total)
    return latencies


def trips_per_s(contender: Contender, total: int, in_flight: int) -> float:
    """Return the round trips per second with so many in flight."""
    rate: float = _asked(contender, "ask-together", total=total, in_flight=in_flight)
    return rate


def told_per_s(contender: Contender, total: int, part: str = "tell") -> float:
    """Return the messages per second that go one way, from the first one's start to the last one's handling."""
    with contender.broker() as port, contender.worker("take", port=port, total=total) as taker:
        own = taker.answer()
        with contender.worker(part, port=own, total=total) as teller:
            teller.answer()
            teller.go()
            started_ns = teller.answer()
            rate: float = total * _NS_PER_S / (taker.answer() - started_ns)
            return rate


def ask(contender: Contender, part: str, port: int, **arguments: Any) -> Any:
    """Play a part that asks against an end that answers at `port`; return what it says."""
    with contender.worker(part, port=port, **arguments) as asker:
        asker.answer()
        asker.go()
        return asker.answer()


def _asked(contender: Contender, part: str, **arguments: Any) -> Any:
    with contender.broker() as port, contender.worker("answer", port=port) as answerer:
        said = ask(contender, part, answerer.answer(), **arguments)
        answerer.go()
        return said
