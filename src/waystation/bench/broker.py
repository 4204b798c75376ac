"""The figures of brokers: between two processes, everything confirmed and settled, every arrival checked.

On the same server and in the same run: the broker's own client at its fastest, which is the limit; the bus; and other
frameworks, where their packages are installed (`make bench-peers`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from statistics import median

from waystation import ConfigurationError

from . import broker_servers
from .broker_contenders import BUS_BATCH, BUS_CONCURRENT, CLIENTS, Contender, installed, missing
from .broker_servers import BrokerServer
from .processes import Worker
from .report import Figure, summarise
from .scale import Scale

#: Messages of a run, in those of the slowest broker: enough for some seconds of each.
SIZES = {"rabbitmq": 1, "kafka": 5, "nats": 1, "redis": 5}

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run of one contender took, for each message.

    Attributes:
        per_s: Messages per second, from the first one's publishing until all are settled.
        producer_us: Time of the processor, in µs; so are the other two.
        server_us: None where the server's processes are not known.
        flushes: Of the server's disk; None where nobody counts them.
    """

    per_s: float
    producer_us: float
    consumer_us: float
    server_us: float | None
    flushes: float | None


#: What is reported of a run beside its rate: names, units, and where it stands.
COSTS: Sequence[tuple[str, str, Callable[[Run], float | None]]] = (
    ("producer.cpu_us", "µs CPU/message", lambda run: run.producer_us),
    ("consumer.cpu_us", "µs CPU/message", lambda run: run.consumer_us),
    ("server.cpu_us", "µs CPU/message", lambda run: run.server_us),
    ("server.flushes", "disk flushes/message", lambda run: run.flushes),
)


def names(broker: str) -> tuple[str, ...]:
    """Return what the figures of a broker are called."""
    measured = ("durable.concurrent", "durable.batch", *(name for name, _, _ in COSTS))
    return tuple(f"{broker}.{name}" for name in measured)


def started(broker: str, scale: Scale) -> Iterator[Figure]:
    """Give the figures of a broker, on a server that is started for them.

    Raises:
        ConfigurationError: Its client is not installed, or the machine has no such server.
    """
    yield from figures(broker, broker_servers.started(broker), scale)


def named(url: str, scale: Scale) -> Iterator[Figure]:
    """Give the figures of the server that a URL names.

    Raises:
        ConfigurationError: Nobody answers there, or the broker's client is not installed.
    """
    server = broker_servers.named(url)
    yield from figures(server.broker, nullcontext(server), scale)


def figures(broker: str, serving: AbstractContextManager[BrokerServer], scale: Scale) -> Iterator[Figure]:
    """Give the figures of a broker."""
    if missing(broker):
        raise ConfigurationError(
            f"{broker} is measured beside its own client, {CLIENTS[broker].package}: "
            f"pip install {CLIENTS[broker].install}"
        )
    total = scale.broker * SIZES[broker]
    ours = {BUS_CONCURRENT: list[Run](), BUS_BATCH: list[Run]()}
    bare: list[Run] = []
    others = {name: list[float]() for name in installed(broker)}
    with serving as server:
        for _ in range(scale.rounds):
            bare.append(measure(server, Contender(broker, "client"), total))
            for name, runs in ours.items():
                runs.append(measure(server, Contender(broker, name), total))
            for name, rates in others.items():
                rates.append(measure(server, Contender(broker, name), min(total, scale.broker_peers)).per_s)
    peers = {name: median(rates) for name, rates in others.items()}
    for name, runs in (("concurrent", ours[BUS_CONCURRENT]), ("batch", ours[BUS_BATCH])):
        yield summarise(
            f"{broker}.durable.{name}",
            "messages/s",
            [run.per_s for run in runs],
            limits=[run.per_s for run in bare],
            peers=peers,
        )
    yield from _costs(broker, ours[BUS_CONCURRENT], bare)


def measure(server: BrokerServer, contender: Contender, total: int) -> Run:
    """Measure a contender once, with so many messages.

    Raises:
        MeasurementFailed: A message was lost, doubled or altered, or an end failed. Nothing is left on the server.
    """
    with cleared(server) as run:
        url = server.url if contender.ours else server.plain_url
        with (
            contender.worker("consume", url=url, run=run, total=total) as consumer,
            contender.worker("produce", url=url, run=run, total=total) as producer,
        ):
            consumer.answer()
            producer.answer()
            cpu_us, flushes = server.cpu_us(), server.flushes()
            producer.go()
            started_ns = producer.answer()
            published, settled = producer.answer(), consumer.answer()
            cpu_after_us, flushes_after = server.cpu_us(), server.flushes()
    return Run(
        per_s=total * _NS_PER_S / (settled["at_ns"] - started_ns),
        producer_us=published["cpu_us"] / total,
        consumer_us=settled["cpu_us"] / total,
        server_us=_each(cpu_us, cpu_after_us, total),
        flushes=_each(flushes, flushes_after, total),
    )


def _costs(broker: str, ours: Sequence[Run], bare: Sequence[Run]) -> Iterator[Figure]:
    """Give what a message costs whom when each is published by itself: of the bus, beside the bare client."""
    for name, unit, cost in COSTS:
        known = [[value for run in runs if (value := cost(run)) is not None] for runs in (ours, bare)]
        if all(known):
            yield summarise(f"{broker}.{name}", unit, known[0], limits=known[1])


@contextmanager
def cleared(server: BrokerServer) -> Iterator[str]:
    """Give a name that nobody else uses, with its queue, topic or stream; remove what is called so afterwards."""
    run = f"bench{secrets.token_hex(4)}"
    where = {"broker": server.broker, "url": server.plain_url, "run": run}
    with Worker("broker-prepare", **where) as preparing:
        preparing.answer()
    try:
        yield run
    finally:
        with Worker("broker-remove", **where) as removing:
            removing.answer()


def _each(before: float | None, after: float | None, total: int) -> float | None:
    return None if before is None or after is None else (after - before) / total
