"""Every state that a power cut can leave: the engine opens it, and finds a moment of the past, whole.

A few steps are run on a disk that writes down what is asked of it. From that log follow the states that a cut at each
point can leave (`crash_states.py` says what kind of disk is modelled). Each is opened by the code that opens any file.

- Its tables are sound, and say what they said at some moment before the cut: no state that never was.
- What a program then reads and receives from it is what must be: see `workload.py`.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import apsw
import pytest

from tests.store.crash_states import states
from tests.store.recording_disk import Flush, Operation, forgetful_disk, recording_disk
from tests.store.ruins import Content, Ruins, content_of, tables_of
from tests.store.tier import TIER
from tests.store.workload import Play, complaints
from waystation._store import database
from waystation._store.schema import APPLICATION_ID, MIGRATIONS, PAGE_BYTES, VERSION

STEPS = (
    *("send", "claim", "accept", "retry", "bury", "release", "transact", "schedule", "promote"),
    *("checkpoint", "sweep", "reopen"),
)

#: What is run always: steps, and whether settlements are flushed. Chosen so that each step is there, and many follow a
#: checkpoint, which starts the write-ahead log anew over its old content.
SHORT: Sequence[tuple[Sequence[str], bool]] = (
    (("send", "accept", "checkpoint"), True),
    (("checkpoint", "retry", "bury"), True),
    (("transact", "checkpoint", "transact"), False),
    (("schedule", "checkpoint", "promote"), False),
    (("sweep", "send"), False),
    (("reopen", "release", "claim"), True),
)

WORKLOADS = [
    pytest.param(steps, flushed, id="-".join(steps) + "-flushed" * flushed)
    for steps, flushed in {
        "pr": SHORT,
        "faults": tuple(product(product(STEPS, repeat=2), (True, False))),
        "soak": tuple(product(product(STEPS, repeat=3), (True, False))),
    }[TIER]
]

#: States of one crash point that are opened.
AT_MOST = {"pr": 4, "faults": 8, "soak": 16}[TIER]


@pytest.fixture(autouse=True)
def seed(monkeypatch: pytest.MonkeyPatch) -> int:
    """What decides where messages without a key go, and which states are chosen of too many."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    monkeypatch.setattr(secrets, "randbelow", random.Random(seed).randrange)
    return seed


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("steps", "flush_settlements"), WORKLOADS)
async def test_a_power_cut_leaves_a_moment_of_the_past(
    tmp_path: Path, seed: int, steps: Sequence[str], flush_settlements: bool
) -> None:
    with recording_disk(tmp_path) as disk:
        play = Play(tmp_path / "bus.db", disk.log, flush_settlements=flush_settlements)
        await play.begin()
        first = max(number for number, done in enumerate(disk.log) if isinstance(done, Flush)) + 1
        for step in steps:
            await getattr(play, step)()
        await play.end()
    ruins = Ruins(tmp_path / "ruins")
    with forgetful_disk():
        for point, content in contents(ruins, disk.log, seed, first=first):
            said = complaints(play.expected_at(point), await ruins.found(content))
            assert not said, f"after {point} operations: {said}"
    print(f"{len(disk.log) - first} operations, {ruins.count} states")


@pytest.mark.parametrize("version", range(VERSION))
def test_a_power_cut_while_the_file_is_made_or_migrated_leaves_no_half_schema(
    tmp_path: Path, seed: int, version: int
) -> None:
    path = tmp_path / "bus.db"
    with recording_disk(tmp_path) as disk:
        if version:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(database, "VERSION", version)
                patch.setattr(database, "MIGRATIONS", MIGRATIONS[:version])
                database.create(path)
        first = len(disk.log)
        database.create(path)
    complete = content_of(path)

    def read(path: Path) -> Content:
        found = as_found(path)
        assert content_of(path) == complete
        return found

    with forgetful_disk():
        ruins = Ruins(tmp_path / "ruins", read)
        seen = {content for _, content in contents(ruins, disk.log, seed, first=first)}
    assert len(seen) <= 2, "neither as before nor complete"
    print(f"{len(disk.log) - first} operations, {ruins.count} states")


async def test_names_of_new_files_are_kept_without_sqlites_help(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "bus.db"
    with recording_disk(tmp_path, flushes_names=False) as disk:
        database.create(path)
        made = len(disk.log)
        play = Play(path, disk.log, flush_settlements=True)
        await play.open()
        await play.send()
        sent = len(disk.log)
        await play.end()
    ruins = Ruins(tmp_path / "ruins")
    with forgetful_disk():
        for point, image in states(disk.log, random.Random(seed), points=[made, sent]):
            assert "bus.db" in image, "the file has no name"
            said = complaints(play.expected_at(point), await ruins.found(ruins.content(image)))
            assert not said, f"after {point} operations: {said}"


def as_found(path: Path) -> Content:
    """What is in a file before our code has seen it; nothing, if it is not there."""
    connection = apsw.Connection(str(path))
    try:
        version, owner = connection.pragma("user_version"), connection.pragma("application_id")
        assert (version, owner) in {(0, 0), *((v, APPLICATION_ID) for v in range(1, VERSION + 1))}
        assert connection.pragma("page_size") == PAGE_BYTES or not version
        assert connection.pragma("auto_vacuum") == 2 or not version
        return f"{version} {tables_of(connection)}"
    finally:
        connection.close()


def contents(ruins: Ruins, log: Sequence[Operation], seed: int, *, first: int) -> list[tuple[int, Content]]:
    """Open the states of all crash points; insist that each says what was true before."""
    past: set[Content] = set()
    found: list[tuple[int, Content]] = []
    for point, image in states(log, random.Random(seed), points=range(first, len(log) + 1), at_most=AT_MOST):
        content = ruins.content(image)
        if not found or found[-1][0] != point:  # the first of a point has everything, in order: so it was
            past.add(content)
        assert content in past, f"after {point} operations: a state that never was"
        found.append((point, content))
    return found
