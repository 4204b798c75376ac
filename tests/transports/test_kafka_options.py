"""What a `kafka://` URL may say, and what is said of a cluster that cannot be used: one sentence with the way out."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import trustme

from tests.brokers import Server
from tests.transports.kafka_stand import fresh, make, message, opened, prefix_of, produce
from waystation import ConfigurationError, Disconnected, Durability, SendRejected
from waystation._core.ports import Subscription, Topology
from waystation._core.url import parse_url
from waystation._servers.probing import free_ports
from waystation.transports.kafka.options import Options, read_options
from waystation.transports.kafka.settings import durability_of, protocol_for


def options(url: str) -> Options:
    return read_options(parse_url(url))


def test_a_url_says_where_and_as_whom() -> None:
    read = options(
        "kafka://ann:s%40cret@127.0.0.1:1,[::1]:2,localhost?prefix=shop.&partitions=3&replication=2"
    )
    assert read.servers == "127.0.0.1:1,[::1]:2,localhost:9092"
    assert (read.prefix, read.partitions, read.replication) == ("shop.", 3, 2)
    assert read.security == {
        "security.protocol": "sasl_plaintext",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "ann",
        "sasl.password": "s@cret",
    }


def test_tls_is_by_options(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    assert options("kafka://broker?tls=on").security == {"security.protocol": "ssl"}
    read = options(f"kafka://ann:x@broker?tls_ca={file}&sasl=plain")
    assert (read.security["security.protocol"], read.security["ssl.ca.location"]) == ("sasl_ssl", str(file))
    assert read.security["sasl.mechanism"] == "PLAIN"
    assert "ssl.endpoint.identification.algorithm" not in read.producer(), (
        "host names are verified by default"
    )


def test_secrets_are_never_shown() -> None:
    read = options("kafka://ann:secret@localhost")
    assert "secret" not in repr(read)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("kafka://localhost?prefx=a", "no option 'prefx': did you mean 'prefix'"),
        ("kafka://", "name the brokers"),
        ("kafka://localhost:x", "name the brokers"),
        ("kafka://localhost/topic", "has no path"),
        ("kafka://localhost?prefix=a/b", "prefix='a/b'"),
        ("kafka://localhost?partitions=0", "partitions='0' must be a number from 1 to 1024"),
        ("kafka://localhost?replication=x", "replication='x'"),
        ("kafka://localhost?keep=1h", "keep='1h' must be 'retention'"),
        ("kafka://localhost?protocol=new", "protocol='new'"),
        ("kafka://localhost?tls=yes", "tls='yes' must be 'on' or 'off'"),
        ("kafka://localhost?tls=off&tls_ca=x", "contradict"),
        ("kafka://localhost?tls_ca=/no/such/file", "tls_ca='/no/such/file' cannot be read"),
        ("kafka://localhost?tls_ca=/dev/null", "tls_ca='/dev/null' is not what it should be"),
        ("kafka://localhost?tls_key=/no/such/file", "tls_key= needs its certificate"),
        ("kafka://localhost?sasl=plain", "needs a user"),
        ("kafka://a:b@localhost?sasl=gssapi", "sasl='gssapi' must be one of"),
        ("kafka://a:b@broker", "a secret is not sent to another machine without TLS"),
        ("kafka://a:b@broker?insecure=1", "say insecure=yes-i-know"),
    ],
)
def test_a_url_that_does_not_fit_is_refused_in_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence.replace("?", r"\?")) as caught:
        options(url)
    assert ":b@" not in str(caught.value)


def test_defaults_of_the_driver_that_lose_messages_are_overridden() -> None:
    """One table, asserted."""
    read = options("kafka://localhost")
    producer, member = read.producer(), read.member("g", "classic")
    assert (producer["acks"], producer["enable.idempotence"]) == ("all", True)
    assert (member["enable.auto.commit"], member["enable.auto.offset.store"]) == (False, False)
    assert member["isolation.level"] == "read_committed"
    assert member["partition.assignment.strategy"] == "cooperative-sticky"


@pytest.mark.parametrize(
    ("replicas", "config", "durability"),
    [
        (1, {}, Durability.WRITTEN),
        (3, {}, Durability.WRITTEN),
        (3, {"min.insync.replicas": "1"}, Durability.WRITTEN),
        (3, {"min.insync.replicas": "2"}, Durability.REPLICATED),
        (1, {"min.insync.replicas": "2"}, Durability.WRITTEN),
        (1, {"flush.messages": "1"}, Durability.FLUSHED),
        (3, {"min.insync.replicas": "2", "flush.messages": "1"}, Durability.REPLICATED_FLUSHED),
    ],
)
def test_what_is_certain_depends_on_replicas_in_sync(
    replicas: int, config: dict[str, str], durability: Durability
) -> None:
    """`acks=all` waits for those that are in sync, and that may be one."""
    assert durability_of(replicas, config) is durability


def test_the_newer_protocol_is_taken_if_it_misses_a_dead_member_soon() -> None:
    both = {"group.coordinator.rebalance.protocols": "classic,consumer"}
    assert protocol_for({**both, "group.consumer.session.timeout.ms": "6000"}) == "consumer"
    assert protocol_for({**both, "group.consumer.session.timeout.ms": "45000"}) == "classic"
    assert protocol_for({}) == "classic"


async def test_nobody_there_is_said_by_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waystation.transports.kafka.doorstep.OPEN_S", (0.3,))
    monkeypatch.setattr("waystation.transports.kafka.doorstep.ASK_S", 1.0)
    (port,) = free_ports(1)
    transport = make(f"kafka://127.0.0.1:{port}")
    async with asyncio.timeout(10):
        with pytest.raises(Disconnected, match=f"kafka://127.0.0.1:{port} does not answer"):
            await transport.open()
    await transport.close()


async def test_what_a_cluster_cannot_make_is_refused_in_a_sentence(kafka_server: Server) -> None:
    transport = make(fresh(kafka_server, "&replication=3"))
    await transport.open()
    try:
        with pytest.raises(ConfigurationError, match="lower replication="):
            await transport.declare(Topology(topics=("orders",)))
        (outcome,) = await transport.send([message("m")])
        assert isinstance(outcome, SendRejected)
        assert "lower replication=" in str(outcome)
    finally:
        await transport.close()


async def test_a_body_that_a_topic_does_not_take_is_rejected(kafka_server: Server) -> None:
    """One that somebody else has made, with the broker's usual limit."""
    from confluent_kafka.admin import AdminClient, NewTopic

    url = fresh(kafka_server)
    name = f"{prefix_of(url)}orders"

    def make_topic() -> None:
        admin = AdminClient({"bootstrap.servers": url.removeprefix("kafka://").partition("?")[0]})
        admin.create_topics([NewTopic(name, 1)])[name].result(10)

    await asyncio.to_thread(make_topic)
    async with opened(url) as transport:
        large, small = await transport.send([message("large", os.urandom(3_000_000)), message("small")])
        assert isinstance(large, SendRejected)
        assert "max.message.bytes" in str(large)
        assert not isinstance(small, SendRejected)


async def test_names_that_are_too_long_together_are_refused(kafka_server: Server) -> None:
    transport = make(fresh(kafka_server).replace("prefix=", "prefix=" + "p" * 40))
    await transport.open()
    try:
        with pytest.raises(ConfigurationError, match="use a shorter prefix"):
            await transport.declare(Topology(topics=("a" * 200,)))
    finally:
        await transport.close()


async def test_settled_messages_stay_as_long_as_the_topic_says(kafka_server: Server) -> None:
    """Unless the URL says otherwise: others may read the topic, too."""
    async with opened(fresh(kafka_server)) as transport:
        assert not transport._options.trims
        facts = await transport.facts()
        assert facts["durability of a send"].endswith("for topics made here (probed)")
        assert facts["groups"] == "protocol consumer (probed)"


async def test_a_group_with_members_elsewhere_is_not_moved_from_here(kafka_server: Server) -> None:
    url = fresh(kafka_server)
    async with opened(url) as working, opened(url) as other:
        feed = await working.open_feed(Subscription(pattern="orders", group="billing"))
        await asyncio.to_thread(produce, url, f"{prefix_of(url)}orders", {"value": b"1"})
        async with asyncio.timeout(10):
            await feed.receive(1)
        with pytest.raises(Exception, match="is at work in other processes"):
            await other.seek("billing", "orders", "earliest")
