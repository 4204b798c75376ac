"""`waystation bench redis` and its like: each contender does its work on a real server, and leaves nothing there."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from confluent_kafka.admin import AdminClient

from tests.brokers import lacking
from waystation import ConfigurationError
from waystation._servers.desk import Server
from waystation._servers.probing import free_ports
from waystation.bench import GROUPS, USUAL, broker, broker_contenders, broker_servers, main, select
from waystation.bench.bare.kafka import address
from waystation.bench.bare.nats import connected
from waystation.bench.broker_bus import with_prefix
from waystation.bench.broker_contenders import BROKERS, BUS_BATCH, BUS_CONCURRENT, FRAMEWORKS, Contender
from waystation.bench.broker_servers import BrokerServer, broker_of, named
from waystation.bench.report import MeasurementFailed
from waystation.bench.scale import QUICK

TINY = replace(QUICK, rounds=1, broker=400, broker_peers=20)
CONTENDERS = ["client", BUS_CONCURRENT, BUS_BATCH, *FRAMEWORKS]


def all_of_it_is_done(server: Server, name: str) -> None:
    """Let a contender do its work, and look at the server afterwards."""
    kind = server.state.kind
    if name in FRAMEWORKS and name not in broker_contenders.installed(kind):
        pytest.skip(f"{name} is not installed: make bench-peers")
    run = broker.measure(measured(server), Contender(kind, name), 60)
    assert run.per_s > 0
    assert run.producer_us > 0
    assert run.consumer_us > 0
    assert left_on(server) == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", CONTENDERS)
def test_all_messages_arrive_over_rabbitmq(rabbitmq_server: Server, name: str) -> None:
    all_of_it_is_done(rabbitmq_server, name)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", [name for name in CONTENDERS if name != "Celery"])
def test_all_messages_arrive_over_kafka(kafka_server: Server, name: str) -> None:
    all_of_it_is_done(kafka_server, name)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", [name for name in CONTENDERS if name != "Celery"])
def test_all_messages_arrive_over_nats(nats_server: Server, name: str) -> None:
    all_of_it_is_done(nats_server, name)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", CONTENDERS)
def test_all_messages_arrive_over_redis(redis_server: Server, name: str) -> None:
    all_of_it_is_done(redis_server, name)


@pytest.mark.timeout(60)
def test_the_figures_stand_beside_the_broker_s_own_client(
    redis_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_contenders, "FRAMEWORKS", {})
    serving = nullcontext(measured(redis_server))
    figures = {figure.name: figure for figure in broker.figures("redis", serving, TINY)}
    assert list(figures) == [name for name in broker.names("redis") if name in figures]
    assert {"redis.durable.concurrent", "redis.durable.batch", "redis.producer.cpu_us"} <= set(figures)
    for figure in figures.values():
        assert figure.limit is not None
        if figure.limit:
            assert figure.ratio == pytest.approx(figure.value / figure.limit)


@pytest.mark.timeout(60)
def test_a_server_is_started_and_ended_with_what_it_has_written() -> None:
    try:
        with broker_servers.started("nats") as there:
            assert named(there.url).broker == "nats"
            assert broker.measure(there, Contender("nats", "client"), 10).per_s > 0
    except ConfigurationError as error:
        lacking(error)
    with pytest.raises(ConfigurationError, match="nobody answers"):
        named(there.url)
    for pid in there.pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_message_that_does_not_arrive_fails_the_measurement(
    redis_server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    there = measured(redis_server)
    contender = Contender("redis", "client")

    def run_with_a_double() -> None:
        with (
            broker.cleared(there) as run,
            contender.worker("consume", url=there.url, run=run, total=10) as taker,
        ):
            taker.answer()
            for _ in range(2):
                with contender.worker("produce", url=there.url, run=run, total=5) as giver:
                    giver.answer()
                    giver.go()
                    giver.answer()
                    giver.answer()
            taker.answer()

    with pytest.raises(MeasurementFailed, match="'broker-consume' ended early"):
        run_with_a_double()
    assert "10 orders were sent; 10 arrived, with checksum 20" in capfd.readouterr().err
    assert left_on(redis_server) == []


@pytest.mark.parametrize(
    ("url", "broker_name"),
    [
        ("amqp://guest:guest@here/", "rabbitmq"),
        ("kafka://here:9092", "kafka"),
        ("nats://a,b", "nats"),
        ("redis://here/0", "redis"),
    ],
)
def test_a_url_names_a_broker(url: str, broker_name: str) -> None:
    assert broker_of(url) == broker_name
    (measurement,) = select(url, None)
    assert measurement.names == broker.names(broker_name)


@pytest.mark.parametrize("url", ["sqlite:///shop.db", "tcp://127.0.0.1:7400", "rediss://here/0"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is no broker that is measured by its URL"):
        main(group=url, only=None, quick=True, json_path=None)


def test_a_server_that_is_not_there_is_told_in_one_sentence() -> None:
    (port,) = free_ports(1)
    with pytest.raises(
        ConfigurationError, match=r"nobody answers at redis://127.0.0.1:.* starts one by itself"
    ):
        main(group=f"redis://127.0.0.1:{port}/0", only=None, quick=True, json_path=None)


def test_a_client_that_is_not_installed_is_told_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        broker_contenders.CLIENTS, "redis", broker_contenders.OwnClient("nowhere", "no_such_package", "redis")
    )
    with pytest.raises(ConfigurationError, match="pip install redis"):
        main(group="redis", only=None, quick=True, json_path=None)


def test_frameworks_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = broker_contenders.Framework("nowhere", "no_such_package")
    monkeypatch.setattr(broker_contenders, "FRAMEWORKS", {"none": nowhere})
    assert broker_contenders.installed("redis") == []


def test_brokers_are_measured_when_they_are_asked_for() -> None:
    assert set(GROUPS) == {*USUAL, *BROKERS}
    assert [measurement.names for measurement in select("kafka", None)] == [broker.names("kafka")]
    assert select(None, "nats.durable.batch") == select("nats", None)
    assert not any(
        name in measurement.names for measurement in select(None, None) for name in broker.names("nats")
    )


def test_a_run_has_a_prefix_of_its_own_whatever_the_url_says() -> None:
    assert (
        with_prefix("nats://here?sync=always&prefix=shop", "bench1")
        == "nats://here?sync=always&prefix=bench1"
    )
    assert with_prefix("redis://here/0", "bench1") == "redis://here/0?prefix=bench1"


def test_no_client_of_a_broker_is_imported_by_the_benchmarks() -> None:
    packages = {client.package for client in broker_contenders.CLIENTS.values()}
    packages |= {framework.package for framework in FRAMEWORKS.values()}
    program = f"import sys, waystation.bench.worker; sys.exit(bool({packages!r} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True)


def measured(server: Server) -> BrokerServer:
    """The server of the tests, as the benchmarks see one."""
    return BrokerServer(
        broker=server.state.kind, url=server.url, pids=[node.pid for node in server.state.processes]
    )


def left_on(server: Server) -> list[str]:
    """What of the benchmarks is still on a server."""
    look: Mapping[str, Callable[[Server], list[str]]] = {
        "rabbitmq": queues_and_exchanges,
        "kafka": topics_and_groups,
        "nats": streams,
        "redis": keys,
    }
    return [name for name in look[server.state.kind](server) if "bench" in name]


def queues_and_exchanges(server: Server) -> list[str]:
    """By RabbitMQ's own tool: its protocol has no list."""
    tool = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")  # Debian's one on the PATH becomes another user
    command = [str(tool) if tool.exists() else "rabbitmqctl", "--quiet"]
    command += ["--node", f"waystation{server.nodes[0].port}@localhost"]
    env = {**os.environ, "HOME": str(server.folder / "home"), "ERL_EPMD_PORT": str(server.state.inner[0])}
    return [
        name
        for what in ("list_queues", "list_exchanges")
        for name in subprocess.check_output([*command, what, "name"], env=env, text=True).split()
    ]


def topics_and_groups(server: Server) -> list[str]:
    admin = AdminClient(address(server.url))
    groups = [group.group_id for group in admin.list_consumer_groups().result(10).valid]
    return [*admin.list_topics(timeout=10).topics, *groups]


def streams(server: Server) -> list[str]:
    async def look() -> list[str]:
        async with connected(server.url) as client:
            return [info.config.name for info in await client.jetstream().streams_info()]

    return asyncio.run(look())


def keys(server: Server) -> list[str]:
    with redis.Redis.from_url(server.url) as client:
        return [key.decode() for key in client.scan_iter()]
