"""Crowds: thousands that connect, hundreds that dawdle, bodies of 64 MiB; an honest client goes on as if it were alone.

The crowd is in another process, or the event loop that is measured would be the crowd's too.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import resource
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.store.tier import TIER
from waystation._core.delivery import ACCEPT, Delivery, Receipt
from waystation._core.errors import Disconnected
from waystation._core.limits import LEASE_S, MESSAGE_BODY_BYTES_MAX
from waystation._core.message import Message
from waystation._core.ports import Feed, Subscription, Topology
from waystation._peer.remote import RemoteTransport
from waystation._peer.server import Policy
from waystation._runtime.clock import SystemClock
from waystation.transports.memory.transport import MemoryTransport
from waystation.transports.sqlite import SqliteTransport

from .stand import PATIENCE_S, Stand, client, serving, until

TOPIC = "work"
MIB = 1 << 20

#: Connections of a flood: as many as this process may have, up to 5,000.
FLOOD = min(5000, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500) // 2) if TIER != "pr" else 1500

#: What an honest client may wait for an answer meanwhile, in seconds: 99 of 100 times (F-47). What it waits for a core
#: that other programs have does not count.
P99_S = 1.0

#: What a crowd may take to start an interpreter and to connect, in seconds, while others want the same cores.
CROWD_S = 40.0


class Crowd:
    """Another process, which connects as it is told until it is told to go."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    async def told(self) -> int:
        """Wait until it has done what it was told; return how many of its connections are open."""
        async with asyncio.timeout(CROWD_S):
            while not self._pipe.poll():
                await asyncio.sleep(0.005)
        return int(self._pipe.recv())


@contextmanager
def crowd(what: Callable[[str, int, Connection], None], url: str, count: int) -> Iterator[Crowd]:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=what, args=(url, count, theirs), daemon=True
    )
    process.start()
    try:
        yield Crowd(ours)
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()
        theirs.close()


def connect_and_wait(url: str, count: int, told: Connection) -> None:
    """Connect so often, and say nothing."""
    asyncio.run(_connect(url, count, told, said=b""))


def connect_and_dawdle(url: str, count: int, told: Connection) -> None:
    """Connect so often, and say a greeting so slowly that it never ends."""
    asyncio.run(_connect(url, count, told, said=b"\0\0\0"))


async def _connect(url: str, count: int, told: Connection, *, said: bytes) -> None:
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    writers = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(said)
            writers.append(writer)
    told.send(sum(not writer.is_closing() for writer in writers))
    await asyncio.Event().wait()


def own_time() -> float:
    """Return a time, in seconds, that stands still while this thread has work and no core: that is others' doing.

    Where the system does not say how long that was, it is the event loop's time.
    """
    now = asyncio.get_running_loop().time()
    try:
        _, starved_ns, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except OSError:
        return now
    return now - int(starved_ns) / 1e9


async def waits(remote: RemoteTransport, until_done: asyncio.Future[Any]) -> list[float]:
    """Ask again and again until something is done; return how long each answer took, sorted."""
    took = []
    number = 0
    while not until_done.done() or number < 100:
        number += 1
        began = own_time()
        (outcome,) = await remote.send([Message(f"m{number}", TOPIC, b"")])
        assert isinstance(outcome, Receipt), outcome
        took.append(own_time() - began)
        await asyncio.sleep(0.001)
    return sorted(took)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("what", "count"), [(connect_and_wait, FLOOD), (connect_and_dawdle, 500)], ids=["flood", "slowloris"]
)
async def test_a_crowd_at_the_door_does_not_slow_down_who_is_inside(
    what: Callable[[str, int, Connection], None], count: int
) -> None:
    """F-47."""
    async with serving(policy=Policy(greeting_s=1.0)) as stand, client(stand.url) as honest:
        with crowd(what, stand.url, count) as outside:
            there = asyncio.ensure_future(outside.told())
            took = await waits(honest, there)
            await there
            assert len(stand.server._strangers) <= 1000
            async with asyncio.timeout(PATIENCE_S), client(stand.url) as late:
                (outcome,) = await late.send([Message("late", TOPIC, b"")])
                assert isinstance(outcome, Receipt)
            p99 = took[len(took) * 99 // 100]
            print(
                f"{count} connections: {len(took)} answers, p99 {p99 * 1e3:.1f} ms, longest {took[-1] * 1e3:.1f} ms"
            )
            assert p99 < P99_S
            await until(lambda: not stand.server._strangers, "the crowd had to leave")


@asynccontextmanager
async def stored(tmp_path: Path, *, durable: bool) -> AsyncIterator[Stand]:
    clock = SystemClock()
    inner = SqliteTransport(str(tmp_path / "bus.db"), clock=clock) if durable else MemoryTransport(clock)
    async with serving(inner) as stand:
        yield stand


@asynccontextmanager
async def keeping(feed: Feed, held: Sequence[Delivery]) -> AsyncIterator[None]:
    """Keep leases as a consumer does, however long something takes; one that cannot be kept fails the test."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(LEASE_S / 10)
            await feed.extend(held)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(keep())
        yield
        task.cancel()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("durable", [False, True], ids=["memory", "sqlite"])
async def test_bodies_of_the_maximum_size_pass_and_nobody_waits_for_them(
    tmp_path: Path, *, durable: bool
) -> None:
    """F-45. Neither another client's small messages, nor the leases of the one that sends them."""
    subscription = Subscription(pattern=TOPIC, group="g")
    large = Subscription(pattern="large", group="g")
    async with (
        stored(tmp_path, durable=durable) as stand,
        client(stand.url) as sender,
        client(stand.url) as other,
    ):
        await sender.declare(Topology((TOPIC, "large"), (subscription, large)))
        feed = await sender.open_feed(subscription)
        await other.send([Message("held", TOPIC, b"")])
        held = await feed.receive(1)
        body = bytes(range(256)) * (MESSAGE_BODY_BYTES_MAX // 256)
        for number in range(2):
            sending = asyncio.ensure_future(sender.send([Message(f"l{number}", "large", body)]))
            began = own_time()
            await feed.extend(held)
            kept_s = own_time() - began
            took = await waits(other, sending)
            assert isinstance((await sending)[0], Receipt), await sending
            print(f"lease kept in {kept_s * 1000:.0f} ms, p99 {took[len(took) * 99 // 100] * 1000:.1f} ms")
            assert kept_s < P99_S
            assert took[len(took) * 99 // 100] < P99_S
        receiver = await other.open_feed(large)
        found: list[bool] = []
        async with keeping(feed, held):
            while len(found) < 2:
                deliveries = await receiver.receive(4)
                found += [delivery.message.body == body for delivery in deliveries]
                await receiver.settle([(delivery, ACCEPT) for delivery in deliveries])
        assert found == [True, True]
        await feed.settle([(delivery, ACCEPT) for delivery in held])


async def test_a_body_beyond_the_maximum_is_refused_and_the_connection_goes_on() -> None:
    async with serving() as stand, client(stand.url) as remote:
        (outcome,) = await remote.send([Message("m1", TOPIC, bytes(MESSAGE_BODY_BYTES_MAX + 1))])
        assert not isinstance(outcome, Receipt)
        assert not isinstance(outcome, Disconnected)
        (outcome,) = await remote.send([Message("m2", TOPIC, b"")])
        assert isinstance(outcome, Receipt)
        (outcome,) = await remote.send([Message("m3", TOPIC, bytes(MESSAGE_BODY_BYTES_MAX + 4 * MIB))])
        assert not isinstance(outcome, Receipt)
        (outcome,) = await remote.send([Message("m4", TOPIC, b"")])
        assert isinstance(outcome, Receipt)
