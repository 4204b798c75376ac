"""What every process of a run has: a job, a history, chance, a clock, and the store."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import apsw

from waystation._core.errors import StoreError
from waystation._core.ports import Feed, Subscription, Topology, Transport
from waystation._core.url import parse_url
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation.testing.recording import Recorder
from waystation.transports.sqlite import SqliteTransport
from waystation.transports.sqlite.options import Options

TOPIC = "work"
GROUP = "g"
SUBSCRIPTION = Subscription(pattern=TOPIC, group=GROUP)
TEXT = "text/plain; charset=utf-8"

#: Bodies that are larger get a file of their own, in bytes: much earlier than usual, so that many do.
LARGE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Job:
    """What one life of a worker is given.

    Attributes:
        options: Numbers that a role understands; what is not given has its default.
        told: Something comes out of it when the worker is sent on.
    """

    role: str
    path: str
    history: str
    name: str
    seed: int
    options: dict[str, float]
    told: Connection


class SkewedClock(SystemClock):
    """A wall clock that is wrong by `skew_s` seconds, or, with `strobe_s`, wrong and right by turns."""

    def __init__(self, skew_s: float, strobe_s: float = 0.0) -> None:
        self._skew_s, self._strobe_s = skew_s, strobe_s

    def _is_wrong(self) -> bool:
        return not self._strobe_s or int(time.monotonic() / self._strobe_s) % 2 == 0

    def time(self) -> float:
        """Unix seconds, or what this clock takes for them."""
        return time.time() + (self._skew_s if self._is_wrong() else 0.0)


@dataclass
class Worker:
    """What every role has."""

    job: Job
    stopping: asyncio.Event
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.recorder = Recorder(Path(self.job.history), proc=self.job.name, seed=self.job.seed)
        self.random = random.Random(self.job.seed)
        skew_s = self.option("skew_s", 0.0)
        self.clock = SkewedClock(skew_s, self.option("strobe_s", 0.0)) if skew_s else SystemClock()
        options = Options(flush_settlements=bool(self.option("flush_settlements", 0)))
        self.transport: Transport = SqliteTransport(self.job.path, clock=self.clock, options=options)
        if self.option("port", 0):
            self.transport = find_transport(parse_url(self.url), clock=self.clock)

    def option(self, name: str, default: float) -> float:
        """Return what the job says, or the default."""
        return self.job.options.get(name, default)

    @property
    def url(self) -> str:
        """Where a bus of this worker's finds the store: in the file, or at the process that serves it."""
        port = round(self.option("port", 0))
        return f"tcp://127.0.0.1:{port}?connect_timeout=1s" if port else f"sqlite:///{self.job.path}"

    async def open_feed(self) -> Feed:
        """Become a member of the group."""
        await self.transport.open()
        await self.transport.declare(Topology(subscriptions=(SUBSCRIPTION,)))
        return await self.transport.open_feed(SUBSCRIPTION)

    async def told(self) -> None:
        """Wait until the supervisor says go on."""
        await asyncio.to_thread(self.job.told.recv_bytes)

    async def pause(self, longest_s: float) -> None:
        """Do nothing for a while."""
        await asyncio.sleep(self.random.uniform(0.0, longest_s))

    async def close(self) -> None:
        """Disconnect, whatever the disk says to that: leases that cannot be given back end by themselves."""
        try:
            await self.transport.close()
        except StoreError as error:
            print(error, flush=True)


def direct(path: str | Path) -> apsw.Connection:
    """Open the file as any program might."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(10_000)
    return connection
