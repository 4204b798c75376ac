"""Bodies too large for a row: in files, and yet like any other to whoever publishes and receives."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from waystation import Bus, Delivery, Message, Topic
from waystation._core.delivery import ACCEPT, DeadLetter, Receipt, Retry
from waystation._core.errors import SendRejected
from waystation._core.limits import CREDIT_BYTES_MAX, ROW_BODY_BYTES_MAX
from waystation._core.ports import Feed, Subscription, Topology
from waystation._store.bodies import Bodies
from waystation._store.database import connect
from waystation.testing import VirtualClock
from waystation.transports.sqlite import SqliteTransport

SUBSCRIPTION = Subscription(pattern="t", group="g")
LARGE = b"L" * (ROW_BODY_BYTES_MAX + 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus.db"


@pytest.fixture
def bodies(path: Path) -> Bodies:
    return Bodies(path)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteTransport]:
    transport = SqliteTransport(str(path), clock=VirtualClock())
    await transport.open()
    try:
        await transport.declare(Topology(("t",), (SUBSCRIPTION,)))
        yield transport
    finally:
        await transport.close()


async def send(transport: SqliteTransport, *bodies: bytes, key: str | None = "k") -> None:
    batch = [Message(f"m{number}", "t", body, key=key) for number, body in enumerate(bodies)]
    outcomes = await transport.send(batch)
    assert all(isinstance(outcome, Receipt) for outcome in outcomes), outcomes


def database_bytes(path: Path) -> int:
    return path.stat().st_size + path.with_name("bus.db-wal").stat().st_size


async def take(feed: Feed, count: int) -> list[Delivery]:
    taken: list[Delivery] = []
    while len(taken) < count:
        taken += await feed.receive(count - len(taken))
    return taken


async def test_a_body_up_to_the_limit_of_a_row_has_no_file(path: Path, bodies: Bodies) -> None:
    async with opened(path) as transport:
        await send(transport, LARGE[:-1])
        assert bodies.names() == []
        await send(transport, LARGE)
        assert len(bodies.names()) == 1


async def test_large_and_small_bodies_of_one_batch_keep_their_order(path: Path) -> None:
    sent = [b"a", LARGE, b"b", LARGE + b"2", b"c"]
    async with opened(path) as transport:
        await send(transport, *sent)
        feed = await transport.open_feed(SUBSCRIPTION)
        taken = await take(feed, 5)
        assert [delivery.body for delivery in taken] == sent
        assert {type(delivery.message.body) for delivery in taken} == {bytes}
        await feed.settle([(delivery, ACCEPT) for delivery in taken])


async def test_the_database_grows_by_a_name_and_not_by_the_body(path: Path) -> None:
    async with opened(path) as transport:
        await send(transport, LARGE * 8)
        assert database_bytes(path) < ROW_BODY_BYTES_MAX


async def test_another_attempt_and_a_dead_letter_have_the_whole_body(path: Path, bodies: Bodies) -> None:
    async with opened(path) as transport:
        await send(transport, LARGE)
        feed = await transport.open_feed(SUBSCRIPTION)
        (first,) = await take(feed, 1)
        await feed.settle([(first, Retry(0.0))])
        (second,) = await take(feed, 1)
        assert (second.body, second.attempt) == (LARGE, 2)
        await feed.settle([(second, DeadLetter("broken"))])
        (dead,) = await transport.dead()
        assert (dead.message.body, dead.reason) == (LARGE, "broken")
        await transport.retry_dead([dead.number])
        (third,) = await take(feed, 1)
        assert third.body == LARGE
        await feed.settle([(third, ACCEPT)])
        assert len(bodies.names()) == 1  # it was never written again ...
        assert database_bytes(path) < ROW_BODY_BYTES_MAX  # ... anywhere


async def test_a_lost_body_is_one_dead_letter_and_its_neighbours_are_handled(
    path: Path, bodies: Bodies
) -> None:
    handled: list[bytes] = []
    done = asyncio.Event()
    topic = Topic("t", bytes)
    async with Bus(f"sqlite:///{path}") as bus:

        @bus.subscribe(topic, group="g")
        async def handle(body: bytes) -> None:
            handled.append(body[:1])
            if body == b"z":
                done.set()

        await bus.publish(topic, b"a")
        await bus.publish(topic, LARGE)
        (bodies.folder / bodies.names()[0]).unlink()
        await bus.publish(topic, b"M" + LARGE)
        await bus.publish(topic, b"z", key="z")
        async with bus.running():
            await done.wait()
            while len(handled) < 3 or not await bus.inspector().dead():
                await asyncio.sleep(0)
        (dead,) = await bus.inspector().dead()
    assert sorted(handled) == [b"M", b"a", b"z"]
    assert "its body cannot be read from bus.db-bodies/" in dead.reason


async def test_no_more_large_bodies_are_held_than_credit_allows(path: Path) -> None:
    size = CREDIT_BYTES_MAX // 4 + 1
    async with opened(path) as transport:
        for number in range(6):
            await transport.send([Message(f"m{number}", "t", bytes([number]) * size, key="k")])
        feed = await transport.open_feed(SUBSCRIPTION)
        held = list(await feed.receive(100))
        assert len(held) == 3
        more = asyncio.ensure_future(feed.receive(100))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not more.done()
        await feed.settle([(held[0], ACCEPT)])
        held += await more
        assert [delivery.body[0] for delivery in held] == [0, 1, 2, 3]
        await feed.settle([(delivery, ACCEPT) for delivery in held[1:]])
        assert [delivery.body[0] for delivery in await take(feed, 2)] == [4, 5]


async def test_one_body_beyond_all_credit_still_comes(path: Path) -> None:
    async with opened(path) as transport:
        await send(transport, bytes(CREDIT_BYTES_MAX + 1), b"after")
        feed = await transport.open_feed(SUBSCRIPTION)
        assert [len(delivery.body) for delivery in await take(feed, 2)] == [CREDIT_BYTES_MAX + 1, 5]


async def test_what_is_not_stored_leaves_no_file(path: Path, bodies: Bodies) -> None:
    async with opened(path) as transport:
        twice = [Message(f"m{number}", "t", LARGE, dedupe_key="one") for number in range(2)]
        _, second = await transport.send(twice)
        assert isinstance(second, Receipt)
        assert (second.duplicate, second.message_id) == (True, "m0")
        assert len(bodies.names()) == 1
        bodies.folder.chmod(0o777)
        (refused,) = await transport.send([Message("m3", "t", LARGE)])
        assert isinstance(refused, SendRejected)
        assert "chmod 700" in str(refused)
        await send(transport, b"small")
        bodies.folder.chmod(0o700)
        assert len(bodies.names()) == 1


async def test_a_transaction_publishes_large_bodies_too(path: Path) -> None:
    topic = Topic("t", bytes)
    async with Bus(f"sqlite:///{path}") as bus:
        async with bus.transaction() as tx:
            await tx.publish(topic, LARGE)
            await tx.publish(topic, b"small")
        found = [message.body for _, message in await bus.inspector().browse("t", start="earliest", limit=10)]
    assert sorted(found) == [LARGE, b"small"]


async def test_a_body_received_here_can_be_published_in_another_database(path: Path) -> None:
    other = path.with_name("other.db")
    async with opened(path) as here, opened(other) as there:
        await send(here, LARGE)
        (delivery,) = await take(await here.open_feed(SUBSCRIPTION), 1)
        await there.send([delivery.message])
        await here.close()
        (copy,) = await take(await there.open_feed(SUBSCRIPTION), 1)
        assert copy.body == LARGE
    assert len(Bodies(other).names()) == 1


async def test_looking_shows_bodies_and_says_which_are_lost(path: Path, bodies: Bodies) -> None:
    async with opened(path) as transport:
        await send(transport, LARGE)
        ((_, message),) = await transport.browse("t", start="earliest", limit=10)
        assert message.body == LARGE
        (bodies.folder / bodies.names()[0]).unlink()
        ((_, message),) = await transport.browse("t", start="earliest", limit=10)
        assert b"cannot be read" in message.body


async def test_whoever_was_stopped_until_its_file_was_swept_is_refused(path: Path, bodies: Bodies) -> None:
    async with opened(path) as transport:
        other = connect(path, patient=False)
        other.execute("BEGIN IMMEDIATE")
        sending = asyncio.ensure_future(transport.send([Message("m1", "t", LARGE)]))
        while not (names := bodies.names()):
            await asyncio.sleep(0)
        while transport._opened().sender._desk._turn.locked() is False:
            await asyncio.sleep(0)
        bodies.remove(names)
        other.execute("ROLLBACK")
        other.close()
        (outcome,) = await sending
        assert isinstance(outcome, SendRejected)
        assert "publish it again" in str(outcome)
        assert await transport.browse("t", start="earliest", limit=10) == []


#: Writes a body's file, and dies before anything refers to it.
_DIES = """
import os, pathlib, signal, sys
from waystation._store.bodies import Bodies
Bodies(pathlib.Path(sys.argv[1])).put(bytes(2_000_000))
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_publisher_killed_between_file_and_commit_has_published_nothing(
    path: Path, bodies: Bodies
) -> None:
    async with opened(path) as transport:
        killed = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", _DIES, str(path)], check=False, timeout=15
        )
        assert killed.returncode == -signal.SIGKILL
        assert len(bodies.names()) == 1
        await send(transport, LARGE)
        feed = await transport.open_feed(SUBSCRIPTION)
        assert [delivery.body for delivery in await feed.receive(10)] == [LARGE]
        assert len(await transport.browse("t", start="earliest", limit=10)) == 1
        assert len(os.listdir(bodies.folder)) == 2
