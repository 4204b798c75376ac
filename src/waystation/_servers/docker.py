"""Servers in containers, for a machine that has Docker and nothing else of them: one node, its data in a volume.

`docker run` stays in the foreground and hands the signals that it gets to the container, so a container is started and
ended like any other process.
"""

from __future__ import annotations

from .._core.errors import ConfigurationError
from .machine import Machine, docker_answers
from .plan import HOST, Kind, KindName, Means, Plan, Process, Request

_BY = "Docker"

_URLS: dict[KindName, str] = {
    "nats": "nats://{}",
    "redis": "redis://{}/0",
    "rabbitmq": "amqp://guest:guest@{}/",
    "kafka": "kafka://{}",
}

#: The image of each kind, the port inside, where its data lie, and what stands behind the image's name.
_IMAGES: dict[KindName, tuple[str, int, str, tuple[str, ...]]] = {
    "nats": ("nats:2", 4222, "/data", ("--jetstream", "--store_dir", "/data")),
    "redis": ("redis:7", 6379, "/data", ("--appendonly", "yes", "--maxmemory-policy", "noeviction")),
    "rabbitmq": ("rabbitmq:4", 5672, "/var/lib/rabbitmq", ()),
    "kafka": ("apache/kafka:4.1.1", 9092, "/var/lib/kafka/data", ()),
}


#: What Kafka's image is told, which has no configuration file of ours; `{}` is where clients connect.
_SETTINGS: dict[KindName, dict[str, str]] = {
    "kafka": {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://{}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_LOG_DIRS": "/var/lib/kafka/data",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }
}


def find(machine: Machine) -> Means | None:
    """Return what there is: the program, and a Docker behind it that can be used."""
    program = machine.programs.get("docker")
    return Means(by=_BY, program=program) if program and docker_answers(program) else None


def is_docker(means: Means) -> bool:
    """Say whether a server is to be made of a container."""
    return means.by == _BY


def plan(kind: Kind, means: Means, request: Request) -> Plan:
    """Return one container.

    Raises:
        ConfigurationError: More were asked for.
    """
    if request.nodes > 1:
        raise ConfigurationError(
            f"{kind.title} runs with one node in Docker: for {request.nodes}, install it on this machine"
        )
    image, inside, data, arguments = _IMAGES[kind.name]
    here = f"{HOST}:{request.ports[0]}"
    name = f"waystation-{kind.name}-{request.ports[0]}"
    settings = [f"{key}={value.format(here)}" for key, value in _SETTINGS.get(kind.name, {}).items()]
    flush = ("--appendfsync", "always") if kind.name == "redis" and request.flush else ()
    return Plan(
        url=_URLS[kind.name].format(here),
        once=(Process(name="pull", argv=(means.program, "pull", image)),),
        processes=(
            Process(
                name="node1",
                argv=(
                    *(means.program, "run", "--rm", "--name", name),
                    *("--publish", f"{here}:{inside}", "--volume", f"{name}:{data}"),
                    *(part for setting in settings for part in ("--env", setting)),
                    *(image, *arguments, *flush),
                ),
                port=request.ports[0],
            ),
        ),
    )
