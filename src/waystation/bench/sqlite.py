"""The figures of `sqlite://`: always between two processes, always flushed, every arrival checked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from . import limits
from .processes import Worker, scratch_folder
from .report import Figure, MeasurementFailed, percentile, summarise
from .scale import Scale

#: Flushed publishes of the fastest peers, end to end,
#: in messages per second: medians of several runs on two cores and a virtual disk, late 2026.
DURABLE_PEERS = {
    "RabbitMQ (aio-pika)": 3_900,
    "NATS (nats-py)": 4_500,
    "Redis (redis-py)": 56_000,
    "huey": 2_500,
}
P50_PEERS_MS = {"RabbitMQ (aio-pika)": 0.53, "NATS (nats-py)": 0.60, "Redis (redis-py)": 0.50, "huey": 1.05}
P99_PEERS_MS = {"RabbitMQ (aio-pika)": 0.82, "NATS (nats-py)": 1.05, "Redis (redis-py)": 0.76, "huey": 2.0}

#: The rate at which latency is measured, in publishes per second.
LATENCY_PER_S = 500.0

#: Messages of the small backlog, and of each window over which a rate is measured.
WINDOW_MESSAGES = 10_000

#: What a message of the benchmark takes on the disk at most, in bytes, the log and its WAL together.
DISK_BYTES_PER_MESSAGE = 600

_NS_PER_S = 1_000_000_000


def durable_batch(scale: Scale) -> Iterator[Figure]:
    """Give `sqlite.durable.batch`: `publish_many` to a handler call for each message, settled."""
    yield _throughput("sqlite.durable.batch", scale, scale.batch, 128, "publish-batches", size_bytes=128)


def durable_concurrent(scale: Scale) -> Iterator[Figure]:
    """Give `sqlite.durable.concurrent`: the same from 1,000 tasks that each await their own publish."""
    yield _throughput("sqlite.durable.concurrent", scale, scale.concurrent, 128, "publish-concurrently")


def durable_1k(scale: Scale) -> Iterator[Figure]:
    """Give `sqlite.durable.1k`: as the first, with bodies of 1 KiB."""
    yield _throughput("sqlite.durable.1k", scale, scale.batch_1k, 1024, "publish-batches", size_bytes=1024)


def latency(scale: Scale) -> Iterator[Figure]:
    """Give `sqlite.latency.p50_ms` and `.p99_ms`: from just before a publish to the start of its handler."""
    runs: list[Sequence[float]] = []
    raw: list[Sequence[float]] = []
    for _ in range(scale.rounds):
        with scratch_folder() as folder:
            raw.append(limits.signal_latencies_ms(folder, scale.latency, LATENCY_PER_S))
        with scratch_folder() as folder:
            runs.append(_latencies_ms(folder, scale.latency))
    for name, share, peers in (("p50_ms", 0.5, P50_PEERS_MS), ("p99_ms", 0.99, P99_PEERS_MS)):
        yield summarise(
            f"sqlite.latency.{name}",
            "ms",
            [percentile(run, share) for run in runs],
            limits=[percentile(run, share) for run in raw],
            peers=peers,
        )


def idle(scale: Scale) -> Iterator[Figure]:
    """Give `sqlite.idle.cpu`: what a consumer takes that waits for messages."""
    with scratch_folder() as folder, Worker("wait-idle", url=_url(folder), seconds=scale.idle_s) as worker:
        yield summarise("sqlite.idle.cpu", "% of a core", [worker.answer()])


def backlog(scale: Scale) -> Iterator[Figure]:
    """Give `sqlite.backlog.ratio` and `rss_mib`: consuming with a large backlog against a small one."""
    with scratch_folder() as folder:
        need = scale.backlog * DISK_BYTES_PER_MESSAGE
        if shutil.disk_usage(folder).free < need:
            raise MeasurementFailed(
                f"{scale.backlog:,} messages need {need / 1e9:.1f} GB free in {folder.parent}"
            )
        small, large = _url(folder, "small.db"), _url(folder, "large.db")
        _fill(small, WINDOW_MESSAGES)
        rss_publishing = _fill(large, scale.backlog)
        ratios, rss_handling = [], []
        for _ in range(scale.rounds):
            windows = [WINDOW_MESSAGES] * scale.windows
            low, _rss = _windows(small, windows)
            high, rss = _windows(large, [*windows, scale.stretch])
            ratios.append(median(high[: scale.windows]) / median(low))
            rss_handling.append(rss)
    waiting = f"{scale.backlog:,} waiting"
    yield summarise("sqlite.backlog.ratio", f"rate with {waiting} / with {WINDOW_MESSAGES:,}", ratios)
    yield Figure(
        name="rss_mib",
        value=max(rss_publishing, *rss_handling),
        unit=f"MiB, the larger process, {waiting}",
        runs=(rss_publishing, *rss_handling),
    )


def durable_per_s(url: str, total: int, publisher: str, **arguments: Any) -> float:
    """Return the messages per second from the first one's publishing until all are handled and settled."""
    task = {"url": url, "total": total}
    with Worker("handle-all", **task) as consumer, Worker(publisher, **task, **arguments) as producer:
        consumer.answer()
        producer.answer()
        producer.go()
        started_ns = producer.answer()
        rate: float = total * _NS_PER_S / (consumer.answer() - started_ns)
        return rate


def _throughput(
    name: str, scale: Scale, total: int, body_bytes: int, publisher: str, **arguments: Any
) -> Figure:
    runs, raw = [], []
    for _ in range(scale.rounds):
        with scratch_folder() as folder:
            raw.append(limits.log_rate(folder, total, body_bytes))
        with scratch_folder() as folder:
            runs.append(durable_per_s(_url(folder), total, publisher, **arguments))
    return summarise(name, "messages/s", runs, limits=raw, peers=DURABLE_PEERS)


def _latencies_ms(folder: Path, total: int) -> list[float]:
    task = {"url": _url(folder), "total": total}
    with (
        Worker("handle-and-time", **task) as consumer,
        Worker("publish-steadily", **task, per_s=LATENCY_PER_S) as producer,
    ):
        consumer.answer()
        producer.answer()
        producer.go()
        latencies: list[float] = consumer.answer()
        return latencies


def _fill(url: str, total: int) -> float:
    with Worker("fill", url=url, total=total) as producer:
        rss_mib: float = producer.answer()
        return rss_mib


def _windows(url: str, windows: Sequence[int]) -> tuple[list[float], float]:
    with Worker("handle-windows", url=url, windows=windows) as consumer:
        return consumer.answer(), consumer.answer()


def _url(folder: Path, name: str = "bench.db") -> str:
    return f"sqlite:///{folder / name}"
