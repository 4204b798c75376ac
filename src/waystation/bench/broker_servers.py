"""The server of a run: one that is started for it on this machine, or the user's; and what it takes to do its work."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from waystation import ConfigurationError

from .._core.url import parse_url
from .._servers.desk import down, up
from .._servers.kinds import kind_of
from .processes import scratch_folder

#: Which broker a URL's scheme stands for.
SCHEMES = {"amqp": "rabbitmq", "kafka": "kafka", "nats": "nats", "redis": "redis"}

#: What the bus is told of a server that we have started: how it was set up, where a client cannot ask.
KNOWN = {"nats": "?sync=always"}

#: How long a server may take to take a connection, in seconds.
_CONNECT_S_MAX = 5.0

_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerServer:
    """A server.

    Attributes:
        broker: Such as `redis`.
        url: As a bus is told it.
        pids: Its processes; none where it is somebody else's.
        disk: Where the kernel counts what its disk does; None where it does not, or nobody knows which disk.
    """

    broker: str
    url: str
    pids: Sequence[int] = ()
    disk: Path | None = None

    @property
    def plain_url(self) -> str:
        """As other clients are told it: without what is ours."""
        return self.url.partition("?")[0]

    def cpu_us(self) -> float | None:
        """Return the time of the processor that it has taken so far, in µs; None: nobody knows."""
        if not self.pids or not Path("/proc/self/stat").exists():
            return None
        ticks = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks * _US_PER_S / os.sysconf("SC_CLK_TCK")

    def flushes(self) -> int | None:
        """Return how often its disk was flushed so far, by whomever; None: nobody knows."""
        if self.disk is None:
            return None
        fields = self.disk.read_text().split()
        return int(fields[15]) if len(fields) > 15 else None


@contextmanager
def started(broker: str) -> Iterator[BrokerServer]:
    """Start a server on loopback that flushes what it confirms, and end it whatever happens.

    Raises:
        ConfigurationError: This machine has nothing to make it of.
        ChildProcessError: It did not start.
    """
    with scratch_folder() as scratch:
        folder = scratch / broker
        try:
            server = up(kind_of(broker), folder, port=0)
            yield BrokerServer(
                broker=broker,
                url=server.url + KNOWN.get(broker, ""),
                pids=[process.pid for process in server.state.processes],
                disk=_disk_of(folder),
            )
        finally:
            down(folder)


def named(url: str) -> BrokerServer:
    """Return the server that a URL names.

    Raises:
        ConfigurationError: It is none of the brokers, or nobody answers there.
    """
    broker = broker_of(url)
    parsed = parse_url(url)
    usual = kind_of(broker).port
    hosts = parsed.parts.netloc.rpartition("@")[2].split(",")
    if not any(_listens(host, usual) for host in hosts):
        raise ConfigurationError(
            f"nobody answers at {parsed}: is the server running? `waystation bench {broker}` starts one by itself"
        )
    return BrokerServer(broker=broker, url=url)


def broker_of(url: str) -> str:
    """Return which broker a URL names.

    Raises:
        ConfigurationError: None.
    """
    parsed = parse_url(url)
    if parsed.scheme not in SCHEMES:
        schemes = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ConfigurationError(f"{parsed} is no broker that is measured by its URL: these are {schemes}")
    return SCHEMES[parsed.scheme]


def _listens(host: str, usual: int) -> bool:
    try:
        address = urlsplit(f"//{host}")
        socket.create_connection((address.hostname or "", address.port or usual), _CONNECT_S_MAX).close()
    except (OSError, ValueError):
        return False
    return True


def _disk_of(folder: Path) -> Path | None:
    device = folder.stat().st_dev
    counters = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    return counters if counters.exists() else None
