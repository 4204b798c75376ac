"""Kafka in KRaft mode: one broker, or three that replicate, from the jars of Maven Central and Java."""

from __future__ import annotations

from pathlib import Path

from .machine import Machine
from .plan import HOST, Kind, Means, Plan, Process, Recipe, Request, addresses
from .recipes import jars

#: The broker's release, and of what writes its log.
VERSION = "4.1.1"
LOG4J_VERSION = "2.24.3"
ARTIFACTS = (
    f"org.apache.kafka:kafka_2.13:{VERSION}",
    f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J_VERSION}",
)

#: The oldest Java that runs this release's broker.
JAVA_MIN = 17

#: A cluster has a name that is never told to anybody: 16 bytes, base64.
_CLUSTER = "d2F5c3RhdGlvbi1kZXYtMQ"

#: Memory of one broker: its default is a gigabyte, which three on a laptop need not have.
_MEMORY = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

_LOG = """\
status = warn
appenders = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRefs = out
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


def library(machine: Machine) -> Path:
    """Return where the jars are, once they have been fetched."""
    return machine.cache / f"kafka-{VERSION}"


def find(machine: Machine) -> Means | None:
    """Return what there is: the jars, and a Java that is new enough."""
    folder = library(machine)
    if machine.java < JAVA_MIN or not any(folder.glob("kafka_2.13-*.jar")):
        return None
    return Means(by=f"jars with Java {machine.java}", program=machine.programs["java"], library=folder)


def plan(means: Means, request: Request) -> Plan:
    """Return one process for each node, which is broker and controller."""
    folders = [request.folder / f"node{number}" for number in range(1, request.nodes + 1)]
    java = (means.program, "-cp", f"{means.library}/*")
    return Plan(
        url=f"kafka://{addresses(request.ports)}",
        folders=tuple(folders),
        files={
            folder / "server.properties": _settings(folder, number, request)
            for number, folder in enumerate(folders)
        }
        | {request.folder / "log4j2.properties": _LOG},
        once=tuple(
            Process(
                name=f"{folder.name}-format",
                argv=(
                    *(*java, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"),
                    *("--ignore-formatted", "-t", _CLUSTER, "-c", str(folder / "server.properties")),
                ),
            )
            for folder in folders
        ),
        processes=tuple(
            Process(
                name=folder.name,
                argv=(
                    *(*java, *_MEMORY),
                    f"-Dlog4j2.configurationFile={request.folder / 'log4j2.properties'}",
                    *("kafka.Kafka", str(folder / "server.properties")),
                ),
                port=request.ports[number],
            )
            for number, folder in enumerate(folders)
        ),
    )


def install(machine: Machine) -> Recipe:
    """Return how to get it."""
    return jars(machine, ARTIFACTS, library(machine), java=machine.java >= JAVA_MIN)


def _settings(folder: Path, number: int, request: Request) -> str:
    voters = ",".join(f"{each + 1}@{HOST}:{port}" for each, port in enumerate(request.inner))
    here = f"PLAINTEXT://{HOST}:{request.ports[number]}"
    replicas, least = request.nodes, max(request.nodes - 1, 1)
    settings = {
        "process.roles": "broker,controller",
        "node.id": number + 1,
        "controller.quorum.voters": voters,
        "listeners": f"{here},CONTROLLER://{HOST}:{request.inner[number]}",
        "advertised.listeners": here,
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": folder / "data",
        "default.replication.factor": replicas,
        "min.insync.replicas": least,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": least,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": least,
        # A laptop's share of what a cluster of fifty machines needs.
        "num.partitions": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.num.partitions": 4,
        "log.cleaner.dedupe.buffer.size": 2 * 1024 * 1024,
        # Who was killed and comes back is let in when his old session has ended.
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 250,
        # A mistyped name is no topic.
        "auto.create.topics.enable": "false",
        # One developer's consumers do not come in crowds.
        "group.initial.rebalance.delay.ms": 0,
        "group.consumer.min.heartbeat.interval.ms": 500,
        "group.consumer.heartbeat.interval.ms": 1000,
        "group.consumer.min.session.timeout.ms": 3000,
        # A consumer that was killed is missed soon, not after three quarters of a minute.
        "group.consumer.session.timeout.ms": 6000,
    }
    if request.flush:
        settings["log.flush.interval.messages"] = 1
    return "".join(f"{name}={value}\n" for name, value in settings.items())


KIND = Kind(
    name="kafka",
    title="Kafka",
    port=9092,
    programs=("java", "mvn"),
    nodes=(1, 3),
    inner_ports=lambda nodes: nodes,
    find=find,
    plan=plan,
    install=install,
    start_s=90.0,
    stop_s=30.0,
)
