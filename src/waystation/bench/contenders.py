"""Who is measured against whom over a connection: each with two ends, and each end a process.

The bare loop, the bus and every peer have the same roles: `answer` and `take` say the port at which they listen; then
`ask-in-turn` and `ask-together`, or `tell`, connect to it.
"""

from __future__ import annotations

import os
import sys
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
    with contender.broker() as port, contender.worker("answer", port=port) as answerer:
        latencies = ask_in_turn(contender, answerer, answerer.answer(), total)
        answerer.go()
        return latencies


def trips_per_s(contender: Contender, total: int, in_flight: int) -> float:
    """Return the round trips per second with so many in flight."""
    with contender.broker() as port, contender.worker("answer", port=port) as answerer:
        own = answerer.answer()
        with contender.worker("ask-together", port=own, total=total, in_flight=in_flight) as asker:
            asker.answer()
            asker.go()
            rate: float = asker.answer()
        answerer.go()
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
        taker.go()
        return rate


def ask_in_turn(contender: Contender, answerer: Worker, port: int, total: int) -> list[float]:
    """Ask an end that answers at `port`, one question after another; return what each took, in µs."""
    with contender.worker("ask-in-turn", port=port, total=total) as asker:
        asker.answer()
        _keep_apart(answerer, asker)
        asker.go()
        latencies: list[float] = asker.answer()
        return latencies


def _keep_apart(*workers: Worker) -> None:
    """Give each a processor of its own, where the system has as many and lets us say so.

    Two ends that take turns share a processor, or do not, as the scheduler likes; a trip on one is shorter by two
    wake-ups, and is not what two machines would see.
    """
    if sys.platform == "linux":
        processors = sorted(os.sched_getaffinity(0))
        if len(processors) >= len(workers):
            for worker, processor in zip(workers, processors, strict=False):
                os.sched_setaffinity(worker.pid, {processor})
