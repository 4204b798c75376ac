"""When `sqlite://` gives a receipt, and what it says when there can be none."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from tests.transports.faulty_disk import failing_at, failing_from, faulty_disk
from waystation import Bus, Topic
from waystation._core.delivery import ACCEPT, Delivery, Durability, Receipt, SendOutcome
from waystation._core.errors import Disconnected, SendRejected, SendUnconfirmed
from waystation._core.message import Message
from waystation._core.ports import Subscription, Topology
from waystation._runtime.clock import SystemClock
from waystation._store.database import connect
from waystation.transports.sqlite import SqliteTransport, desk, sender
from waystation.transports.sqlite.options import Options

SUBSCRIPTION = Subscription(pattern="t", group="g")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus.db"


@asynccontextmanager
async def opened(path: Path, *, flush_settlements: bool = False) -> AsyncIterator[SqliteTransport]:
    transport = SqliteTransport(
        str(path), clock=SystemClock(), options=Options(flush_settlements=flush_settlements)
    )
    await transport.open()
    try:
        await transport.declare(Topology(("t",), (SUBSCRIPTION,)))
        yield transport
    finally:
        await transport.close()


def messages(*numbers: int, body: bytes = b"{}", reply_to: str | None = None) -> list[Message]:
    return [Message(f"m{number}", "t", body, reply_to=reply_to) for number in numbers]


async def stored(transport: SqliteTransport) -> set[str]:
    return {message.id for _, message in await transport.browse("t", start=0, limit=100_000)}


def received(outcomes: Sequence[SendOutcome]) -> set[str]:
    return {outcome.message_id for outcome in outcomes if isinstance(outcome, Receipt)}


# --- receipts ----------------------------------------------------------------------------------------------------


async def test_with_its_receipt_a_message_is_there_for_every_process(path: Path) -> None:
    async with opened(path) as transport:
        outcomes = await transport.send(messages(1, 2))
        assert outcomes == [Receipt("m1", Durability.FLUSHED), Receipt("m2", Durability.FLUSHED)]
        async with opened(path) as other:
            assert await stored(other) == {"m1", "m2"}


async def test_no_receipt_is_given_before_the_commit_has_returned(path: Path) -> None:
    with faulty_disk() as disk:
        async with opened(path) as transport:
            seen: list[set[str]] = []
            receipts: set[str] = set()
            disk.on_flush = lambda _: seen.append(set(receipts))
            for number in range(3):
                receipts |= received(await transport.send(messages(number)))
            assert len(seen) >= 3, "not every commit was flushed"
            assert seen[0] == set()
            assert seen[-1] == {"m0", "m1"}, "a receipt came before the flush"
            disk.heal()


async def test_a_send_waits_while_another_process_has_the_lock(path: Path) -> None:
    async with opened(path) as transport:
        other = connect(path, patient=False)
        other.execute("BEGIN IMMEDIATE")
        sending = asyncio.create_task(transport.send(messages(1)))
        await asyncio.wait([sending], timeout=0.05)
        assert not sending.done()
        other.execute("COMMIT")
        assert received(await sending) == {"m1"}
        other.close()


async def test_a_lock_that_is_never_released_is_a_rejection(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "STORE_BUSY_S", 0.05)
    async with opened(path) as transport:
        other = connect(path, patient=False)
        other.execute("BEGIN IMMEDIATE")
        (outcome,) = await transport.send(messages(1))
        assert isinstance(outcome, SendRejected)
        other.execute("ROLLBACK")
        other.close()
        assert received(await transport.send(messages(2))) == {"m2"}
        assert await stored(transport) == {"m2"}


async def test_what_is_published_at_the_same_time_shares_commits(path: Path) -> None:
    topic = Topic("t", int)
    with faulty_disk() as disk:
        async with Bus(f"sqlite:///{path}") as bus:
            await bus.publish(topic, 0)
            disk.heal()
            receipts = await asyncio.gather(*[bus.publish(topic, number) for number in range(200)])
            assert {receipt.durability for receipt in receipts} == {Durability.FLUSHED}
            assert 1 <= disk.flushes < 20


async def test_a_file_is_the_same_by_each_of_its_names(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    async with opened(link) as transport:
        (receipt,) = await transport.send(messages(1))
        assert isinstance(receipt, Receipt)
        assert receipt.durability is Durability.FLUSHED
    assert sorted(each.name for each in link.parent.iterdir()) == ["link.db"], (
        "its processes meet beside the file"
    )


@pytest.mark.parametrize("flush_settlements", [False, True])
async def test_what_is_flushed_and_what_is_not(path: Path, flush_settlements: bool) -> None:
    with faulty_disk() as disk:
        async with opened(path, flush_settlements=flush_settlements) as transport:

            async def flushes(work: Callable[[], Awaitable[object]]) -> int:
                disk.heal()
                await work()
                return disk.flushes

            feed = await transport.open_feed(SUBSCRIPTION)
            assert await flushes(lambda: transport.send(messages(1))) >= 1
            assert await flushes(lambda: transport.send(messages(2, reply_to="_reply.x"))) == 0
            await transport.send([Message("m4", "other", b"", dedupe_key="a")])
            again = [Message("m5", "other", b"", dedupe_key="a")]
            assert await flushes(lambda: transport.send(again)) >= 1, "the first may not be on the disk yet"
            (outcome,) = await transport.send(messages(3, reply_to="_reply.x"))
            assert isinstance(outcome, Receipt)
            assert outcome.durability == Durability.WRITTEN
            deliveries: list[Delivery] = []
            while len(deliveries) < 3:
                deliveries += await feed.receive(3)
            accepted = [(delivery, ACCEPT) for delivery in deliveries]
            assert (await flushes(lambda: feed.settle(accepted)) >= 1) is flush_settlements


# --- the end -----------------------------------------------------------------------------------------------------


async def test_every_send_has_an_outcome_when_the_transport_closes(path: Path) -> None:
    async with opened(path) as transport:
        sends = [asyncio.create_task(transport.send(messages(number))) for number in range(50)]
        await asyncio.sleep(0)
        await transport.close()
        done = await asyncio.gather(*sends, return_exceptions=True)
    confirmed = set()
    for outcome in done:
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, Disconnected), outcome
        else:
            confirmed |= received(outcome)
    async with opened(path) as transport:
        assert await stored(transport) == confirmed


async def test_a_cancelled_send_leaves_a_transport_that_works(path: Path) -> None:
    async with opened(path) as transport:
        for turns in range(12):
            sending = asyncio.create_task(transport.send(messages(turns)))
            for _ in range(turns):
                await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait([sending])
            assert received(await transport.send(messages(100 + turns))) == {f"m{100 + turns}"}
        assert {f"m{100 + turns}" for turns in range(12)} <= await stored(transport)


async def test_a_cancelled_settlement_is_done_or_not_and_nothing_between(path: Path) -> None:
    async with opened(path, flush_settlements=True) as transport:
        feed = await transport.open_feed(SUBSCRIPTION)
        for turns in range(12):
            await transport.send(messages(2 * turns, 2 * turns + 1))
            deliveries = await feed.receive(10)
            settling = asyncio.create_task(feed.settle([(delivery, ACCEPT) for delivery in deliveries]))
            for _ in range(turns):
                await asyncio.sleep(0)
            settling.cancel()
            await asyncio.wait([settling])
            await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
            (info,) = await transport.groups()
            assert (info.lag, info.in_flight) == (0, 0)


# --- disks that fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize("once", [True, False])
async def test_no_failing_flush_gives_a_false_receipt(path: Path, number: int, once: bool) -> None:
    with faulty_disk() as disk:
        async with opened(path) as transport:
            disk.heal()
            disk.on_flush = (failing_at if once else failing_from)(number, apsw.IOError("no flush"))
            outcomes = [(await transport.send(messages(n)))[0] for n in range(6)]
            disk.heal()
            failed = next((i for i, outcome in enumerate(outcomes) if not isinstance(outcome, Receipt)), 6)
            assert failed < 6 or number == 6, "the flush that failed was nobody's"
            if failed < 6:
                assert isinstance(outcomes[failed], SendUnconfirmed), "it may have been stored"
            for later in outcomes[failed + 1 :]:
                assert isinstance(later, SendRejected), "a flush after a failed one proves nothing"
                assert "open it again" in str(later)
    await check_reopened(path, outcomes)


@pytest.mark.parametrize("number", range(1, 10))
@pytest.mark.parametrize("error", [apsw.FullError("no space"), apsw.IOError("no write")])
async def test_no_failing_write_gives_a_false_receipt(path: Path, number: int, error: apsw.Error) -> None:
    with faulty_disk() as disk:
        async with opened(path) as transport:
            disk.heal()
            disk.on_write = failing_at(number, error)
            outcomes = [(await transport.send(messages(n)))[0] for n in range(4)]
            disk.heal()
    rejected = {f"m{n}" for n, outcome in enumerate(outcomes) if isinstance(outcome, SendRejected)}
    there = await check_reopened(path, outcomes)
    assert not rejected & there, "what was rejected was stored all the same"


@pytest.mark.parametrize("number", range(1, 8))
async def test_whatever_write_fails_a_key_is_stored_with_its_message_or_not_at_all(
    path: Path, number: int
) -> None:
    sent = [Message(f"m{n}", "t", b"{}", dedupe_key=f"{n}") for n in range(3)]
    with faulty_disk() as disk:
        async with opened(path) as transport:
            disk.heal()
            disk.on_write = failing_at(number, apsw.FullError("no space"))
            for message in sent:
                await transport.send([message])
            disk.heal()
    async with opened(path) as transport:
        there = await stored(transport)
        again = [(await transport.send([message]))[0] for message in sent]
        assert {receipt.message_id for receipt in again if isinstance(receipt, Receipt)} == {"m0", "m1", "m2"}
        known = {
            receipt.message_id for receipt in again if isinstance(receipt, Receipt) and receipt.duplicate
        }
        assert known == there


async def check_reopened(path: Path, outcomes: Sequence[SendOutcome]) -> set[str]:
    """Everything with a receipt is there, and the file works again."""
    async with opened(path) as transport:
        there = await stored(transport)
        assert received(outcomes) <= there
        assert received(await transport.send(messages(999))) == {"m999"}
    connection = connect(path, patient=True)
    assert connection.pragma("integrity_check") == "ok"
    connection.close()
    return there


async def test_settling_goes_on_after_a_flush_has_failed(path: Path) -> None:
    with faulty_disk() as disk:
        async with opened(path) as transport:
            await transport.send(messages(1))
            feed = await transport.open_feed(SUBSCRIPTION)
            deliveries = await feed.receive(1)
            disk.on_flush = failing_from(1, apsw.IOError("no flush"))
            (outcome,) = await transport.send(messages(2))
            assert isinstance(outcome, SendUnconfirmed)
            await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
            await feed.close()
            disk.heal()


# --- disks that are full -----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "waystation", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_on_a_full_disk_sending_is_refused_settling_goes_on_and_space_is_noticed(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_SPACE_KNOWN_S", 0.0)
    ballast = small_disk / "ballast"
    async with opened(small_disk / "bus.db") as transport:
        feed = await transport.open_feed(SUBSCRIPTION)
        assert received(await transport.send(messages(1))) == {"m1"}
        ballast.write_bytes(b"x" * (18 * 1024 * 1024))
        (outcome,) = await transport.send(messages(2))
        assert isinstance(outcome, SendRejected)
        assert "full" in str(outcome)
        deliveries = await feed.receive(1)
        await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
        assert [delivery.message.id for delivery in deliveries] == ["m1"]
        ballast.unlink()
        assert received(await transport.send(messages(3))) == {"m3"}
        assert await stored(transport) == {"m1", "m3"}


async def test_a_disk_that_is_nearly_full_refuses_before_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [0]
    monkeypatch.setattr(sender, "_free_bytes", lambda _: free[0])
    async with opened(path) as transport:
        (outcome,) = await transport.send(messages(1))
        assert isinstance(outcome, SendRejected)
        assert "nothing that was confirmed is lost" in str(outcome)
        free[0] = sender.DISK_RESERVE_BYTES
        assert received(await transport.send(messages(2))) == {"m2"}


async def test_a_disk_that_cannot_be_asked_for_its_space_is_a_rejection(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: Path) -> int:
        raise FileNotFoundError("no such folder")

    monkeypatch.setattr(sender, "_free_bytes", gone)
    async with opened(path) as transport:
        (outcome,) = await transport.send(messages(1))
        assert isinstance(outcome, SendRejected)
