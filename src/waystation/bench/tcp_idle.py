"""What connections cost that say nothing: the server's memory for each, and whether others notice them."""

from __future__ import annotations

import asyncio
import resource
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvloop

from waystation import Bus

from .asking import until_told
from .contenders import BARE, BUS, Contender, ask_in_turn
from .processes import Channel, Worker
from .report import Figure, MeasurementFailed, percentile, summarise
from .scale import Scale
from .tcp_limits import HOST
from .tcp_roles import client_url

#: Connections of one process of idle clients; several share them, as each has a bound on its open files.
CONNECTIONS_PER_PROCESS = 1000

#: Connections that a process opens at the same time.
OPENING_COUNT = 50

#: Open files of a process besides its connections.
OTHER_FILES_COUNT = 200

#: Which share of the files that a server may open its clients can have; it keeps some for those whom it does not know.
CLIENTS_SHARE = 2 / 3


def idle(scale: Scale) -> Iterator[Figure]:
    """Give `tcp.idle_kib`, and `tcp.idle.p99_us` beside that of a server that has no other connections."""
    count = min(scale.tcp_idle, int((open_files_max() - OTHER_FILES_COUNT) * CLIENTS_SHARE))
    sizes, bare_sizes, busy, alone = [], [], [], []
    with many_open_files():
        for _ in range(scale.rounds):
            bare_sizes.append(_kib_each(BARE, count))
            with _answering(BUS) as (server, port):
                alone.append(_p99_us(server, port, scale.tcp_in_turn))
                before_kib = rss_kib(server.pid)
                with _idle_clients(BUS, port, count):
                    sizes.append((rss_kib(server.pid) - before_kib) / count)
                    busy.append(_p99_us(server, port, scale.tcp_in_turn))
    yield summarise("tcp.idle_kib", f"KiB each of {count:,} idle", sizes, limits=bare_sizes)
    yield summarise("tcp.idle.p99_us", f"µs, beside {count:,} idle", busy, limits=alone)


def hold(channel: Channel, port: int, count: int) -> None:
    """Open connections of the bus, say so, and keep them until told to end."""

    async def main() -> None:
        buses = [Bus(client_url(port)) for _ in range(count)]
        for first in range(0, count, OPENING_COUNT):
            await asyncio.gather(*[bus.__aenter__() for bus in buses[first : first + OPENING_COUNT]])
        channel.say("ready")
        await until_told(channel)
        for first in range(0, count, OPENING_COUNT):
            await asyncio.gather(
                *[bus.__aexit__(None, None, None) for bus in buses[first : first + OPENING_COUNT]]
            )

    uvloop.run(main())


def hold_bare(channel: Channel, port: int, count: int) -> None:
    """Open connections without anything above them, say so, and keep them until told to end."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transports = [(await loop.create_connection(asyncio.Protocol, HOST, port))[0] for _ in range(count)]
        channel.say("ready")
        await until_told(channel)
        for transport in transports:
            transport.close()

    uvloop.run(main())


def open_files_max() -> int:
    """Return how many files a process may have open if it asks for all that it is allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1_000_000 if hard == resource.RLIM_INFINITY else hard


@contextmanager
def many_open_files() -> Iterator[None]:
    """Let the processes that are started meanwhile open as many files as they may."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files_max(), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def rss_kib(pid: int) -> int:
    """Return the memory that another process holds now, in KiB.

    Raises:
        MeasurementFailed: The process has ended, or the system does not say.
    """
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    else:
        told = subprocess.run(
            ["/bin/ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        if told.stdout.strip().isdigit():
            return int(told.stdout)
    raise MeasurementFailed(f"nobody says what memory the process {pid} holds")


def _kib_each(contender: Contender, count: int) -> float:
    with _answering(contender) as (server, port):
        before_kib = rss_kib(server.pid)
        with _idle_clients(contender, port, count):
            return (rss_kib(server.pid) - before_kib) / count


def _p99_us(server: Worker, port: int, total: int) -> float:
    return percentile(ask_in_turn(BUS, server, port, total), 0.99)


@contextmanager
def _answering(contender: Contender) -> Iterator[tuple[Worker, int]]:
    with contender.worker("answer", port=0) as server:
        yield server, server.answer()
        server.go()


@contextmanager
def _idle_clients(contender: Contender, port: int, count: int) -> Iterator[None]:
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                contender.worker("hold", port=port, count=min(CONNECTIONS_PER_PROCESS, count - first))
            )
            for first in range(0, count, CONNECTIONS_PER_PROCESS)
        ]
        for client in clients:
            client.answer()
        yield
        for client in clients:
            client.go()
