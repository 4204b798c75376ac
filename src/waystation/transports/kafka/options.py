"""What a `kafka://` URL says: brokers, who is asking, and how topics are made. Read strictly; secrets never shown."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from ..._core.errors import ConfigurationError
from ..._core.limits import BATCH_MESSAGES_MAX, SEND_TIMEOUT_S
from ..._core.url import TransportURL
from ..._secrecy import check_secret_is_covered, client_context, is_loopback, tls_wish
from .limits import (
    FETCH_AGAIN_MS,
    FETCH_BYTES_MAX,
    FETCH_WAIT_MS,
    FETCHED_BYTES_MAX,
    HEARTBEAT_MS,
    PARTITIONS_COUNT,
    PARTITIONS_COUNT_MAX,
    PRODUCER_MESSAGES_MAX,
    RECONNECT_MS,
    RECORD_BYTES_MAX,
    REQUESTS_IN_FLIGHT,
    SESSION_MS,
)

_NAMES: Final = (
    "insecure", "keep", "min_insync", "partitions", "prefix", "protocol", "replication", "sasl", "tls", "tls_ca",
    "tls_cert", "tls_key",
)  # fmt: skip

_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.-]{0,60}")
_PORT: Final = 9092

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """How this program comes to a broker.

    Attributes:
        tls: By this; None: in plain text.
        has_paper: Whether it shows a certificate.
        has_password: Whether it says who it is.
    """

    tls: ssl.SSLContext | None
    has_paper: bool
    has_password: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a URL says.

    Attributes:
        servers: As the driver wants them: `host:port,host:port`.
        addresses: The same, in parts.
        security: The driver's settings for TLS and SASL; secrets are in it.
        caller: The same without secrets.
        prefix: What the names of our topics and groups begin with on the broker.
        partitions: Of the topics that are made.
        replication: How many brokers keep each; -1: as the broker's default says.
        min_insync: How many must have a message before it is confirmed; None: as the broker's default says.
        protocol: Of groups: `consumer` (KIP-848) or `classic`; None: the first if the broker has it.
        trims: Whether what every group has settled is deleted.
    """

    servers: str
    addresses: tuple[tuple[str, int], ...]
    security: Config = field(repr=False)
    caller: Caller
    prefix: str = ""
    partitions: int = PARTITIONS_COUNT
    replication: int = -1
    min_insync: int | None = None
    protocol: str | None = None
    trims: bool = False

    def client(self) -> Config:
        """Return what every client of the driver is told."""
        return {
            "bootstrap.servers": self.servers,
            "client.id": "waystation",
            "socket.keepalive.enable": True,
            "reconnect.backoff.ms": RECONNECT_MS,
            "reconnect.backoff.max.ms": 2000,
            "log_level": 0,  # what is worth saying is said by the gate, once
            **self.security,
        }

    def producer(self, linger_ms: float = 0.0) -> Config:
        """Return what a producer is told: a confirmed message is in the log of all replicas in sync, once.

        Args:
            linger_ms: How long a record waits for company, unless a batch is full before.
        """
        return {
            **self.client(),
            "acks": "all",
            "compression.type": "lz4",  # most of a small message is headers, which are much the same
            "enable.idempotence": True,
            "linger.ms": linger_ms,
            "batch.num.messages": BATCH_MESSAGES_MAX,
            "max.in.flight.requests.per.connection": REQUESTS_IN_FLIGHT,
            "message.timeout.ms": round(SEND_TIMEOUT_S * 1000) - 1500,
            "message.max.bytes": RECORD_BYTES_MAX,
            "queue.buffering.max.messages": PRODUCER_MESSAGES_MAX,
            "queue.buffering.max.kbytes": 512 * 1024,
            "partitioner": "murmur2_random",  # as Java's clients place keys
            "topic.metadata.propagation.max.ms": 5000,
        }

    def consumer(self, group: str) -> Config:
        """Return what a consumer is told, in a group or not: nothing is committed that the gate has not committed."""
        return {
            **self.client(),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": FETCH_WAIT_MS,
            "fetch.max.bytes": 2 * RECORD_BYTES_MAX,
            "message.max.bytes": RECORD_BYTES_MAX,
            "fetch.message.max.bytes": FETCH_BYTES_MAX,
            "queued.max.messages.kbytes": FETCHED_BYTES_MAX // 1024,
            "queued.min.messages": 10_000,
            "fetch.queue.backoff.ms": FETCH_AGAIN_MS,
            "fetch.error.backoff.ms": 100,
            "allow.auto.create.topics": False,
        }

    def member(self, group: str, protocol: str) -> Config:
        """Return what a member of a group is told."""
        config = self.consumer(group) | {
            "group.protocol": protocol,
            "topic.metadata.refresh.interval.ms": 5000,
        }
        if protocol == "classic":
            config |= {
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": SESSION_MS,
                "heartbeat.interval.ms": HEARTBEAT_MS,
            }
        return config


def read_options(url: TransportURL) -> Options:
    """Read a URL.

    Raises:
        ConfigurationError: It names no broker, something that does not fit, or would show a password to everybody.
    """
    url.check_options(_NAMES)
    if url.path:
        raise ConfigurationError(f"{url}: a kafka:// URL has no path; topics are named where they are used")
    place = url.parts.netloc.rpartition("@")[2]
    servers = [_server(url, each) for each in place.split(",")]
    prefix = url.options.get("prefix", "")
    if _PREFIX.fullmatch(prefix) is None:
        raise ConfigurationError(f"prefix={prefix!r} must be at most 60 letters, digits, '.', '_' and '-'")
    keep = url.options.get("keep", "retention")
    if keep not in ("retention", "unsettled"):
        raise ConfigurationError(
            f"keep={keep!r} must be 'retention' (the default: as the topic says) or 'unsettled'"
        )
    protocol = url.options.get("protocol")
    if protocol not in (None, "consumer", "classic"):
        raise ConfigurationError(f"protocol={protocol!r} must be 'consumer' or 'classic'")
    tls = client_context(url) if tls_wish(url) else None
    security = _security(url, tls, local=all(is_loopback(host) for host, _ in servers))
    return Options(
        servers=",".join(f"{host}:{port}" for host, port in servers),
        addresses=tuple(servers),
        security=security,
        caller=Caller(tls, "tls_cert" in url.options, "sasl.username" in security),
        prefix=prefix,
        partitions=_count(url, "partitions", PARTITIONS_COUNT, PARTITIONS_COUNT_MAX),
        replication=_count(url, "replication", -1, 32),
        min_insync=_count(url, "min_insync", 0, 32) or None,
        protocol=protocol,
        trims=keep == "unsettled",
    )


def _server(url: TransportURL, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, str(_PORT)
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigurationError(f"{url}: name the brokers, as in kafka://host:9092,other:9092")
    return host, int(port)


def _count(url: TransportURL, name: str, default: int, most: int) -> int:
    text = url.options.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= most):
        raise ConfigurationError(f"{name}={text!r} must be a number from 1 to {most}")
    return int(text)


def _security(url: TransportURL, tls: ssl.SSLContext | None, *, local: bool) -> Config:
    """Return the driver's settings for TLS and SASL. With TLS, chain and host are always verified.

    The files were read for `tls` once: what is wrong with them was said.
    """
    options = url.options
    user = url.parts.netloc.rpartition("@")[0]
    check_secret_is_covered(url, encrypted=tls is not None or not user, local=local, how="tls=on")
    config: Config = {}
    if "tls_ca" in options:
        config["ssl.ca.location"] = options["tls_ca"]
    if "tls_cert" in options:
        config["ssl.certificate.location"] = options["tls_cert"]
        config["ssl.key.location"] = options.get("tls_key", options["tls_cert"])  # one file may have both
    if not user:
        if "sasl" in options:
            raise ConfigurationError("sasl= needs a user: kafka://user:password@host:9092")
        return config | ({"security.protocol": "ssl"} if tls is not None else {})
    name, _, password = user.partition(":")
    mechanism = options.get("sasl", "SCRAM-SHA-512").upper()
    if mechanism not in _MECHANISMS:
        raise ConfigurationError(f"sasl={options['sasl']!r} must be one of {', '.join(_MECHANISMS)}")
    return config | {
        "security.protocol": "sasl_ssl" if tls is not None else "sasl_plaintext",
        "sasl.mechanism": mechanism,
        "sasl.username": unquote(name),
        "sasl.password": unquote(password),
    }
