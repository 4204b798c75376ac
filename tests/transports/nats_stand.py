"""What the tests of nats:// share: servers with a configuration of their own, transports under fresh prefixes."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import nats as bare

from waystation import Bus
from waystation._core.delivery import Delivery, Receipt
from waystation._core.message import Message
from waystation._core.ports import Clock, Feed, Subscription, Topology
from waystation._core.url import parse_url
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation._servers.desk import Server
from waystation._servers.kinds import kind_of
from waystation._servers.machine import look
from waystation._servers.patience import until as patiently
from waystation._servers.probing import free_ports, somebody_listens
from waystation.transports.nats import NatsTransport

PATIENCE_S = 15.0
_LOOK_S = 0.01

ORDERS = Subscription(pattern="orders", group="billing")


def fresh(server: Server | str, options: str = "") -> str:
    """Return a URL under which nothing is."""
    url = server if isinstance(server, str) else server.url
    return f"{url}?prefix=s{secrets.token_hex(6)}{options}"


def prefix_of(url: str) -> str:
    """Return the prefix of such a URL."""
    return url.partition("?prefix=")[2].partition("&")[0]


def make(url: str, clock: Clock | None = None) -> NatsTransport:
    """Make a transport that is not open."""
    transport = find_transport(parse_url(url), clock=clock or SystemClock())
    assert isinstance(transport, NatsTransport)
    return transport


@asynccontextmanager
async def opened(url: str, clock: Clock | None = None) -> AsyncIterator[NatsTransport]:
    """Give a transport that is open, with a group on "orders"."""
    transport = make(url, clock)
    await transport.open()
    try:
        await transport.declare(Topology(subscriptions=(ORDERS,)))
        yield transport
    finally:
        await transport.close()


@asynccontextmanager
async def plain(url: str) -> AsyncIterator[Any]:
    """Give a client that knows nothing of Waystation."""
    client = await bare.connect(url.partition("?")[0])
    try:
        yield client
    finally:
        await client.close()


@contextmanager
def configured(folder: Path, text: str) -> Iterator[str]:
    """Run a server with these settings; give `host:port`."""
    (port,) = free_ports(1)
    program = look(kind_of("nats").programs).programs["nats-server"]
    file = folder / "nats.conf"
    file.write_text(f'listen: "127.0.0.1:{port}"\n{text.replace("STORE", str(folder / "store"))}\n')
    with (folder / "nats.log").open("ab") as log:
        process = subprocess.Popen([program, "--config", str(file)], stdout=log, stderr=log)
    try:
        assert patiently(lambda: somebody_listens(port), 10.0), (folder / "nats.log").read_text()
        yield f"127.0.0.1:{port}"
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(10)


def message(name: str, body: bytes = b"{}", topic: str = "orders", **attributes: Any) -> Message:
    """Return a message."""
    return Message(id=name, topic=topic, body=body, **attributes)


async def send(transport: NatsTransport, *messages: Message) -> None:
    """Send, and insist on receipts."""
    outcomes = await transport.send(messages)
    assert all(isinstance(outcome, Receipt) for outcome in outcomes), outcomes


async def take(feed: Feed, count: int) -> list[Delivery]:
    """Receive exactly so many deliveries."""
    taken: list[Delivery] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(taken) < count:
            taken += await feed.receive(count - len(taken))
    return taken


async def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Let real time pass until something holds."""
    for _ in range(round(patience_s / _LOOK_S)):
        if condition():
            return
        await asyncio.sleep(_LOOK_S)
    raise AssertionError(f"never came true: {what}")


class Traffic:
    """A bus that sends numbers to itself, several at a time, and notes what became of each.

    Attributes:
        certain: Those with a receipt.
        seen: Those that were handled, as often as they were.
        failures: What was raised instead of a receipt.
    """

    def __init__(self, url: str, *, senders: int = 8) -> None:
        self.bus = Bus(url)
        self.certain: set[int] = set()
        self.seen: list[int] = []
        self.failures: list[Exception] = []
        self._senders = senders
        self._next = 0
        self._stop = asyncio.Event()

        @self.bus.subscribe("numbers", group="readers", concurrency=20)
        async def handle(number: int) -> None:
            self.seen.append(number)

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Send until the block ends; then wait until everything with a receipt was handled."""
        async with self.bus.running():
            senders = [asyncio.create_task(self._send()) for _ in range(self._senders)]
            try:
                yield
            finally:
                self._stop.set()
                await asyncio.gather(*senders)
            await until(lambda: self.certain <= set(self.seen), "everything with a receipt was handled", 40.0)

    async def moves(self, count: int = 200, patience_s: float = 40.0) -> None:
        """Wait until so many more have been handled."""
        wanted = len(self.seen) + count
        await until(lambda: len(self.seen) >= wanted, f"{count} more were handled", patience_s)

    async def _send(self) -> None:
        while not self._stop.is_set():
            self._next += 1
            number = self._next
            try:
                await self.bus.publish("numbers", number)
            except Exception as error:  # noqa: BLE001 - whatever it is, a test looks at it
                self.failures.append(error)
            else:
                self.certain.add(number)
            await asyncio.sleep(0.002)
