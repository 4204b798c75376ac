"""The figures of `tcp://`: two programs that talk to each other, every arrival checked, beside a bare loop and peers.

The peers are measured in the same run, where their packages are installed: `make bench-peers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

from . import peers
from .contenders import BARE, BUS, Contender, latencies_us, peer, told_per_s, trips_per_s
from .report import Figure, summarise
from .scale import Scale

#: Questions under way at the same time.
IN_FLIGHT = 100

#: Measures one contender once, with so many messages.
Measure = Callable[[Contender, int], float]


def rtt_sequential(scale: Scale) -> Iterator[Figure]:
    """Give `tcp.rtt.sequential`: the median of typed requests that are made one after another."""
    yield _beside_peers("tcp.rtt.sequential", "µs", scale, scale.tcp_in_turn, _trip_us)


def rtt_pipelined(scale: Scale) -> Iterator[Figure]:
    """Give `tcp.rtt.pipelined`: typed requests from 100 tasks that each await their answer."""
    yield _beside_peers("tcp.rtt.pipelined", "round trips/s", scale, scale.tcp_together, _trips_per_s)


def oneway_batch(scale: Scale) -> Iterator[Figure]:
    """Give `tcp.oneway.batch`: `publish_many` to a handler call for each message."""
    yield _beside_peers("tcp.oneway.batch", "messages/s", scale, scale.batch, told_per_s)


def oneway_concurrent(scale: Scale) -> Iterator[Figure]:
    """Give `tcp.oneway.concurrent`: the same from 1,000 tasks that each await their own publish."""
    runs, bare = [], []
    for _ in range(scale.rounds):
        bare.append(told_per_s(BARE, scale.concurrent))
        runs.append(told_per_s(BUS, scale.concurrent, "tell-concurrently"))
    yield summarise("tcp.oneway.concurrent", "messages/s", runs, limits=bare)


def _beside_peers(name: str, unit: str, scale: Scale, total: int, measure: Measure) -> Figure:
    others = {other: list[float]() for other in peers.installed()}
    runs, bare = [], []
    for _ in range(scale.rounds):
        bare.append(measure(BARE, total))
        runs.append(measure(BUS, total))
        for other, theirs in others.items():
            theirs.append(measure(peer(other), min(total, scale.tcp_peers)))
    medians = {other: median(theirs) for other, theirs in others.items()}
    return summarise(name, unit, runs, limits=bare, peers=medians)


def _trip_us(contender: Contender, total: int) -> float:
    return median(latencies_us(contender, total))


def _trips_per_s(contender: Contender, total: int) -> float:
    return trips_per_s(contender, total, IN_FLIGHT)
