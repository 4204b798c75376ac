"""Disks that are full, have no room for another file, or turn read-only; processes without descriptors."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from waystation._core.delivery import ACCEPT, DeadLetter, Receipt, SendOutcome
from waystation._core.errors import SendRejected, StoreError
from waystation._core.message import Message
from waystation._runtime.clock import SystemClock
from waystation.transports.sqlite import SqliteTransport, sender

from .disk import Disk, why_no_disk
from .store import damage_in, info, opened, read_books
from .worker import SUBSCRIPTION, TEXT, TOPIC

SOME_BYTES = 20_000


async def send(transport: SqliteTransport, *ids: str) -> list[SendOutcome]:
    messages = [Message(id_, TOPIC, b"x" * SOME_BYTES, content_type=TEXT) for id_ in ids]
    return list(await transport.send(messages))


def accepted(outcomes: list[SendOutcome]) -> list[str]:
    return [outcome.message_id for outcome in outcomes if isinstance(outcome, Receipt)]


async def test_with_the_reserve_left_settling_dead_letters_and_reading_go_on(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-15."""
    monkeypatch.setattr(sender, "_SPACE_KNOWN_S", 0.0)
    async with opened(disk.path / "bus.db") as transport:
        feed = await transport.open_feed(SUBSCRIPTION)
        assert accepted(await send(transport, "a", "b", "c")) == ["a", "b", "c"]
        disk.fill(leaving=sender.DISK_RESERVE_BYTES - (1 << 20))
        (outcome,) = await send(transport, "d")
        assert isinstance(outcome, SendRejected), outcome
        taken = await feed.receive(3)
        await feed.settle([(taken[0], ACCEPT), (taken[1], DeadLetter("no")), (taken[2], ACCEPT)])
        books = await read_books(transport)
        assert (books.owed, len(books.dead), books.stored) == (0, 1, 3)
        disk.ballast.unlink()
        assert accepted(await send(transport, "e")) == ["e"]
        assert (await info(transport)).lag == 1


async def test_a_disk_without_a_byte_left_loses_nothing_and_all_goes_on_when_there_is_space(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-15. Somebody else used up the reserve, and the check of the space came too early."""
    monkeypatch.setattr(sender, "DISK_RESERVE_BYTES", 0)
    path, sent = disk.path / "bus.db", []
    async with opened(path) as transport:
        sent += accepted(await send(transport, "first"))
        disk.fill(leaving=0)
        for number in range(20):
            sent += accepted(await send(transport, *(f"{number}-{n}" for n in range(20))))
        assert not accepted(await send(transport, "over")), "a full disk takes no message"
    disk.ballast.unlink()
    assert damage_in(path) == []
    async with opened(path) as transport:
        assert set(sent) <= (await read_books(transport)).kept
        assert accepted(await send(transport, "last")) == ["last"]


async def test_without_room_for_another_file_opening_is_refused_and_nothing_is_left_half_made(
    tmp_path: Path,
) -> None:
    """F-16."""
    if reason := why_no_disk():
        pytest.skip(reason)
    disk = Disk(tmp_path, megabytes=32, inodes=16)
    try:
        fillers = list(use_up_inodes(disk.path))
        transport = SqliteTransport(str(disk.path / "bus.db"), clock=SystemClock())
        with pytest.raises(StoreError):
            await transport.open()
        for path in fillers:
            path.unlink()
        async with opened(disk.path / "bus.db") as again:
            assert accepted(await send(again, "a")) == ["a"]
    finally:
        disk.unmount()


def use_up_inodes(folder: Path) -> Iterator[Path]:
    """Make empty files until the file system has room for no other."""
    for number in range(10_000):
        path = folder / f"filler{number}"
        try:
            path.touch(exist_ok=False)
        except OSError:
            return
        yield path


async def test_a_disk_that_turns_read_only_gives_no_false_receipt_and_keeps_what_it_had(disk: Disk) -> None:
    """F-16."""
    path = disk.path / "bus.db"
    async with opened(path) as transport:
        sent = accepted(await send(transport, "a", "b"))
        feed = await transport.open_feed(SUBSCRIPTION)
        taken = await feed.receive(2)
        disk.fail()
        for number in range(3):
            assert not accepted(await send(transport, f"never-{number}"))
        with pytest.raises(StoreError):
            await feed.settle([(delivery, ACCEPT) for delivery in taken])
        with suppress(StoreError):
            await feed.close()
    disk.restart()
    async with opened(path) as transport:
        books = await read_books(transport)
        assert books.kept == set(sent)
        assert books.owed == len(sent)
        assert accepted(await send(transport, "c")) == ["c"]


async def test_without_descriptors_opening_is_refused_in_words_and_what_is_open_goes_on(
    tmp_path: Path,
) -> None:
    """F-16."""
    path = tmp_path / "bus.db"
    async with opened(path) as transport:
        sent = accepted(await send(transport, "a"))
        other = SqliteTransport(str(path), clock=SystemClock())
        with no_more_descriptors():
            with pytest.raises(StoreError):
                await other.open()
            sent += accepted(await send(transport, "b"))
        sent += accepted(await send(transport, "c"))
        assert sent == ["a", "b", "c"]
        await other.open()
        await other.close()
        assert (await read_books(transport)).kept == set(sent)


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Let this process open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
