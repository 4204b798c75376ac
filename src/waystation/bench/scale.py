"""How much is measured: enough for steady medians, or little enough for a minute."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes of the measurements; all counts but `rounds` and `windows` are messages.

    Attributes:
        rounds: Runs of each measurement, alternating with those of its limit.
        backlog: The large backlog.
        windows: Rates measured in each round of the backlog.
        stretch: Messages handled at a stretch in front of the large backlog, for the memory that it takes.
        tcp_in_turn: Round trips made one after another.
        tcp_together: Round trips of which many are under way.
        tcp_peers: Messages or round trips of a peer at most; some are slow.
        tcp_idle: Connections that say nothing, where the system allows a process so many.
        broker: Messages through the slowest of the brokers.
        broker_peers: Messages of a framework on a broker at most; some are slow.
    """

    rounds: int
    batch: int
    concurrent: int
    batch_1k: int
    latency: int
    idle_s: float
    backlog: int
    windows: int
    stretch: int
    memory_batch: int
    memory_single: int
    tcp_in_turn: int
    tcp_together: int
    tcp_peers: int
    tcp_idle: int
    broker: int
    broker_peers: int


FULL = Scale(
    rounds=5,
    batch=600_000,
    concurrent=200_000,
    batch_1k=200_000,
    latency=3_000,
    idle_s=10.0,
    backlog=10_000_000,
    windows=10,
    stretch=300_000,
    memory_batch=200_000,
    memory_single=100_000,
    tcp_in_turn=5_000,
    tcp_together=200_000,
    tcp_peers=30_000,
    tcp_idle=5_000,
    broker=20_000,
    broker_peers=5_000,
)

#: At most a minute for each group of figures on two cores, with no peers installed.
QUICK = Scale(
    rounds=2,
    batch=120_000,
    concurrent=30_000,
    batch_1k=40_000,
    latency=600,
    idle_s=5.0,
    backlog=100_000,
    windows=5,
    stretch=50_000,
    memory_batch=60_000,
    memory_single=20_000,
    tcp_in_turn=1_000,
    tcp_together=30_000,
    tcp_peers=5_000,
    tcp_idle=1_000,
    broker=4_000,
    broker_peers=1_000,
)
