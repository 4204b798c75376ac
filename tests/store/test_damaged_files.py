"""Files that were damaged behind SQLite's back: bits that flip, sectors that vanish, files that are cut short.

No wrong body is ever shown as if it were right. What is lost with a damaged write-ahead log is its end, as if it had
never been written.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tests.store.crash_states import SECTOR_BYTES, Image, replay
from tests.store.recording_disk import forgetful_disk, recording_disk
from tests.store.ruins import Ruins
from tests.store.tier import TIER
from tests.store.workload import LATER, SUBSCRIPTION, TOPIC, Play, message, opened, receive
from waystation._core.delivery import ACCEPT
from waystation._core.errors import StoreCorrupt
from waystation._core.message import Message
from waystation._store.schema import PAGE_BYTES
from waystation.testing import VirtualClock

SAMPLES = {"pr": 24, "faults": 1000, "soak": 10_000}[TIER]


def flip(data: bytearray, rng: random.Random) -> None:
    """One bit, in a byte that is not zero: most that are, are not used."""
    at = rng.choice([number for number, byte in enumerate(data) if byte])
    data[at] ^= 1 << rng.randrange(8)


def blank(data: bytearray, rng: random.Random) -> None:
    """One sector."""
    at = rng.randrange(len(data) // SECTOR_BYTES) * SECTOR_BYTES
    data[at : at + SECTOR_BYTES] = bytes(SECTOR_BYTES)


def cut(data: bytearray, rng: random.Random) -> None:
    """Everything from somewhere on."""
    del data[rng.randrange(len(data)) :]


Damage = Callable[[bytearray, random.Random], None]
DAMAGES: tuple[Damage, ...] = (flip, flip, blank, cut)


async def history(folder: Path) -> tuple[list[Image], int, set[str]]:
    """Run each kind of step; return what the folder held at each moment, until when it was open, and what was sent."""
    with recording_disk(folder) as disk:
        play = Play(folder / "bus.db", disk.log, flush_settlements=True)
        await play.begin()
        for step in (play.retry, play.bury, play.schedule, play.transact, play.send):
            await step()
        still_open = len(disk.log)
        await play.end()
    return list(replay(disk.log)), still_open, set(play.now.fates)


def segments_at(path: Path) -> int:
    """Where in the file the table of segments begins."""
    connection = apsw.Connection(str(path))
    page: int = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'bus_segment'").get
    connection.close()
    return (page - 1) * PAGE_BYTES


@pytest.mark.timeout(1200)
async def test_of_a_damaged_file_no_wrong_body_is_shown(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng, ruins = random.Random(seed), Ruins(tmp_path / "ruins")
    images, _, sent = await history(tmp_path)
    whole = images[-1]["bus.db"]
    readable = 0
    with forgetful_disk():
        for number in range(SAMPLES):
            data = bytearray(whole)
            DAMAGES[number % len(DAMAGES)](data, rng)
            try:
                shown = await read(ruins.put({"bus.db": bytes(data)}))
            except Exception:  # noqa: BLE001 - stopping is as good as telling; in which words, see below
                continue
            readable += 1
            for one in shown:
                assert one.id in sent, f"sample {number}: {one.id!r} was never sent"
                assert one.body == message(one.id).body, f"sample {number}: a wrong body of {one.id}"
    assert readable > SAMPLES / 10, "nothing was ever read"


async def test_a_damaged_table_of_segments_is_an_error_of_ours(tmp_path: Path) -> None:
    images, _, _ = await history(tmp_path)
    data = bytearray(images[-1]["bus.db"])
    at = segments_at(tmp_path / "bus.db")
    data[at : at + SECTOR_BYTES] = bytes(SECTOR_BYTES)
    with pytest.raises(StoreCorrupt, match="keep a copy"):
        await read(Ruins(tmp_path / "ruins").put({"bus.db": bytes(data)}))


async def read(path: Path) -> list[Message]:
    """Everything that a program is shown as whole."""
    clock = VirtualClock(LATER)
    async with opened(path, clock) as transport:
        shown = [one for _, one in await transport.browse(TOPIC, start=0, limit=1000)]
        shown += [info.message for info in await transport.dead()]
        shown += [info.message for info in await transport.scheduled()]
        feed = await transport.open_feed(SUBSCRIPTION)
        while deliveries := await receive(feed, clock):
            shown += [delivery.message for delivery in deliveries if delivery.error is None]
            await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
    return [one for one in shown if one.id != "damaged"]


async def test_of_a_damaged_write_ahead_log_the_end_is_lost_and_nothing_else(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng, ruins = random.Random(seed), Ruins(tmp_path / "ruins")
    images, still_open, _ = await history(tmp_path)
    image = images[still_open]
    with forgetful_disk():
        past = {ruins.content(earlier) for earlier in images[: still_open + 1]}
        for number in range(SAMPLES):
            data = bytearray(image["bus.db-wal"])
            DAMAGES[number % len(DAMAGES)](data, rng)
            content = ruins.content({**image, "bus.db-wal": bytes(data)})
            assert content in past, f"sample {number}: a state that never was"
