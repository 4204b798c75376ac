"""Who is measured against whom on a broker, and the roles of the processes that play them.

A contender is a module with an object that has two ends (`ends.Ends`), by the broker's name: `ENDS["redis"]`. It is
imported in the processes that play it and nowhere else, so that nothing of it needs to be installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import cast

from .ends import Client, Ends
from .processes import Channel, Worker

BROKERS = ("rabbitmq", "kafka", "nats", "redis")


@dataclass(frozen=True, slots=True)
class OwnClient:
    """The client that is a broker's limit.

    Attributes:
        module: Where its `CLIENT` is.
        package: What must be importable.
        install: What pip must be told for that.
    """

    module: str
    package: str
    install: str


CLIENTS: Mapping[str, OwnClient] = {
    "rabbitmq": OwnClient("waystation.bench.bare.amqp", "aiormq", "aio-pika"),
    "kafka": OwnClient("waystation.bench.bare.kafka", "confluent_kafka", "confluent-kafka"),
    "nats": OwnClient("waystation.bench.bare.nats", "nats", "nats-py"),
    "redis": OwnClient("waystation.bench.bare.redis", "redis", "'redis[hiredis]'"),
}


@dataclass(frozen=True, slots=True)
class Framework:
    """Another framework.

    Attributes:
        module: Where its `ENDS` are, by broker.
        package: What must be importable.
        brokers: What it can use of these.
    """

    module: str
    package: str
    brokers: Sequence[str] = BROKERS


#: Every framework, by the name that stands in the report.
FRAMEWORKS: Mapping[str, Framework] = {
    "FastStream": Framework("waystation.bench.peers.faststream", "faststream"),
    "Celery": Framework("waystation.bench.peers.celery", "celery", ("rabbitmq", "redis")),
}

#: What a bus is, publishing each message by itself or many together.
BUS_CONCURRENT, BUS_BATCH = "waystation-concurrent", "waystation-batch"


def installed(broker: str) -> Sequence[str]:
    """Return the names of the frameworks that can be measured here on a broker."""
    return [
        name
        for name, framework in FRAMEWORKS.items()
        if broker in framework.brokers and find_spec(framework.package) is not None
    ]


def missing(broker: str) -> bool:
    """Say whether a broker's own client is not installed."""
    return find_spec(CLIENTS[broker].package) is None


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who can be measured on one broker.

    Attributes:
        name: `client`, `waystation-concurrent`, `waystation-batch`, or a framework's name.
    """

    broker: str
    name: str

    @property
    def ours(self) -> bool:
        """Whether it is a bus, which is told more in a URL than others are."""
        return self.name in (BUS_CONCURRENT, BUS_BATCH)

    def worker(self, part: str, *, url: str, run: str, total: int) -> Worker:
        """Return the process of one end, `consume` or `produce`; not yet started."""
        return Worker(
            f"broker-{part}", broker=self.broker, contender=self.name, url=url, run=run, total=total
        )


# --- roles: what the processes do ----------------------------------------------------------------------------


def prepare(channel: Channel, broker: str, url: str, run: str) -> None:
    """Make the queue, topic or stream of a run; says when that is done."""
    _client(broker).prepare(url, run)
    channel.say("there")


def remove(channel: Channel, broker: str, url: str, run: str) -> None:
    """Remove everything that a run has made, whoever it was; says when that is done."""
    _client(broker).remove(url, run)
    channel.say("gone")


def consume(channel: Channel, broker: str, contender: str, url: str, run: str, total: int) -> None:
    """Handle all orders."""
    _ends(broker, contender).consume(channel, url, run, total)


def produce(channel: Channel, broker: str, contender: str, url: str, run: str, total: int) -> None:
    """Publish all orders."""
    _ends(broker, contender).produce(channel, url, run, total)


def _client(broker: str) -> Client:
    return cast("Client", import_module(CLIENTS[broker].module).CLIENT)


def _ends(broker: str, contender: str) -> Ends:
    if contender == "client":
        return _client(broker)
    if contender in FRAMEWORKS:
        return cast("Ends", import_module(FRAMEWORKS[contender].module).ENDS[broker])
    return cast("Ends", import_module("waystation.bench.broker_bus").ENDS[contender])
