"""What the tests of kafka:// share: transports under fresh prefixes, and plain clients."""

from __future__ import annotations

import asyncio
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer

from waystation import Bus
from waystation._core.delivery import Delivery, Receipt
from waystation._core.message import Message
from waystation._core.ports import Clock, Feed, Subscription, Topology
from waystation._core.url import parse_url
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation._servers.desk import Server
from waystation.transports.kafka import KafkaTransport

PATIENCE_S = 15.0
_LOOK_S = 0.01

ORDERS = Subscription(pattern="orders", group="billing")

WORKER = Path(__file__).with_name("kafka_worker.py")


def fresh(server: Server, options: str = "") -> str:
    """Return a URL under which nothing is."""
    return f"{server.url}?prefix=s{secrets.token_hex(6)}.{options}"


def prefix_of(url: str) -> str:
    """Return the prefix of such a URL."""
    return url.partition("?prefix=")[2].partition("&")[0]


def servers_of(url: str) -> str:
    """Return where the brokers of such a URL are."""
    return url.removeprefix("kafka://").partition("?")[0]


def make(url: str, clock: Clock | None = None) -> KafkaTransport:
    """Make a transport that is not open."""
    transport = find_transport(parse_url(url), clock=clock or SystemClock())
    assert isinstance(transport, KafkaTransport)
    return transport


@asynccontextmanager
async def opened(url: str, clock: Clock | None = None) -> AsyncIterator[KafkaTransport]:
    """Give a transport that is open, with a group on "orders"."""
    transport = make(url, clock)
    await transport.open()
    try:
        await transport.declare(Topology(subscriptions=(ORDERS,)))
        yield transport
    finally:
        await transport.close()


def message(name: str, body: bytes = b"{}", topic: str = "orders", **attributes: Any) -> Message:
    """Return a message."""
    return Message(id=name, topic=topic, body=body, **attributes)


async def send(transport: KafkaTransport, *messages: Message) -> None:
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


def produce(url: str, topic: str, *records: dict[str, Any]) -> None:
    """Write records with a client that knows nothing of Waystation."""
    producer = Producer({"bootstrap.servers": servers_of(url)})
    failures: list[object] = []

    def report(error: object, _: object) -> None:
        if error is not None:
            failures.append(error)

    for record in records:
        producer.produce(topic, on_delivery=report, **record)
    producer.flush(PATIENCE_S)
    producer.close()
    assert not failures, failures


def consume(url: str, topic: str, count: int, group: str) -> list[Any]:
    """Read so many records with such a client, in a group, and commit them."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers_of(url),
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    found: list[Any] = []
    try:
        consumer.subscribe([topic])
        for _ in range(round(PATIENCE_S / 0.1)):
            found += [each for each in consumer.consume(count - len(found), 0.1) if each.error() is None]
            if len(found) >= count:
                consumer.commit(asynchronous=False)
                return found
        raise AssertionError(f"only {len(found)} of {count} records came")
    finally:
        consumer.close()


class Worker:
    """A process of a group.

    Attributes:
        said: Its lines, as words.
    """

    def __init__(self, process: Process, said: list[tuple[str, ...]]) -> None:
        self.process = process
        self.said = said
        self._listener = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self.process.stdout is not None, "it was asked for"
        async for line in self.process.stdout:
            if line.endswith(b"\n"):  # the last one may be cut off
                self.said.append(tuple(line.decode().split()))

    async def end(self) -> None:
        """Kill it, unless it has ended."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._listener


async def worker(url: str, name: str, said: list[tuple[str, ...]]) -> Worker:
    """Begin a process of a group."""
    process = await asyncio.create_subprocess_exec(sys.executable, str(WORKER), url, name, stdout=PIPE)
    return Worker(process, said)


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
