"""Disks that fail: at every write and every flush of every step. No false receipt, no half step, and a clean reopening.

A fault happens once; the disk works again after it, which is worse than one that stays broken: whoever believes it now
is wrong. A failed flush means what it means on Linux: what it was for may never get to the disk, each other open handle
of the file hears of it once, at its next flush, and later flushes succeed.

What is looked at, after the fault and again after one more send: what the death of all processes would leave there,
what a power cut could leave, and at the end the file itself.
"""

from __future__ import annotations

import contextlib
import random
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import apsw
import pytest

from tests.store.crash_states import Image, states
from tests.store.recording_disk import (
    Flush,
    Operation,
    ShortWrite,
    Truncate,
    Write,
    forgetful_disk,
    recording_disk,
)
from tests.store.ruins import Ruins
from tests.store.tier import TIER
from tests.store.workload import Play, complaints, look
from waystation._core.errors import (
    Disconnected,
    SendRejected,
    SendUnconfirmed,
    TransportError,
    WaystationError,
)

STEPS = (
    *("send", "claim", "accept", "retry", "bury", "release", "transact", "promote"),
    *("checkpoint", "sweep", "reopen"),
)
KINDS: dict[str, tuple[type[Operation], apsw.Error]] = {
    "flush": (Flush, apsw.IOError("the flush failed")),
    "write": (Write, apsw.IOError("the write failed")),
    "half": (Write, ShortWrite("half of it was written")),
    "cut": (Truncate, apsw.IOError("the file could not be cut")),
}

#: States of one crash point that are opened.
AT_MOST = {"pr": 3, "faults": 8, "soak": 16}[TIER]


class Once:
    """A fault: the disk fails at one operation of a kind, counted from now on. Number 0: it does not."""

    def __init__(self, kind: str, number: int) -> None:
        self._type, self._error = KINDS[kind]
        self._number = number
        self.counts: Counter[type[Operation]] = Counter()

    def __call__(self, operation: Operation) -> None:
        """Before each operation."""
        self.counts[type(operation)] += 1
        if type(operation) is self._type and self.counts[self._type] == self._number:
            raise self._error


@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", STEPS)
async def test_a_disk_that_fails_once_makes_no_false_receipt_and_no_half_step(
    tmp_path: Path, step: str
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    healthy = await run(tmp_path / "healthy", step, "flush", 0, seed)
    for kind, (operation, _) in KINDS.items():
        numbers: Sequence[int] = range(1, healthy[operation] + 1)
        if TIER == "pr" and operation is Write:
            numbers = random.Random(seed).sample(numbers, min(1, len(numbers)))
        for number in numbers:
            await run(tmp_path / f"{kind} {number}", step, kind, number, seed)


async def test_after_a_failed_flush_nothing_is_promised_until_it_is_opened_again(tmp_path: Path) -> None:
    with recording_disk(tmp_path) as disk:
        play = Play(tmp_path / "bus.db", disk.log, flush_settlements=True)
        await play.begin()
        disk.fault = Once("flush", 1)
        for step in (play.send, play.accept, play.transact, play.accept):
            with contextlib.suppress(TransportError):
                await step()
        cut = [len(disk.log)]
        await play.end()
    await check(tmp_path, play, states(disk.log, random.Random(1), points=cut))


async def test_opened_again_promises_hold_although_another_process_has_kept_the_file_open(
    tmp_path: Path,
) -> None:
    with recording_disk(tmp_path) as disk:
        play = Play(tmp_path / "bus.db", disk.log, flush_settlements=True)
        other = Play(tmp_path / "bus.db", disk.log, flush_settlements=True)
        await play.begin()
        await other.open()
        disk.fault = Once("flush", 1)
        for step in (play.send, play.reopen, play.send, play.transact):
            await step()
        cut = [len(disk.log)]
        await play.end()
        await other.end()
    await check(tmp_path, play, states(disk.log, random.Random(1), points=cut))


async def test_closing_on_a_disk_that_fails_raises_only_errors_of_ours(tmp_path: Path) -> None:
    with recording_disk(tmp_path) as disk:
        play = Play(tmp_path / "bus.db", disk.log, flush_settlements=True)
        await play.begin()
        disk.fault = Once("flush", 1)
        try:
            await play.transport.close()
        except Exception as error:  # noqa: BLE001 - its type is what is asked about
            assert isinstance(error, WaystationError)  # noqa: PT017 - there may be none


async def run(folder: Path, step: str, kind: str, number: int, seed: int) -> Counter[type[Operation]]:
    """Let an operation of a step fail, look at what is left, and return how many of each kind there were."""
    folder.mkdir()
    path = folder / "bus.db"
    with recording_disk(folder) as disk:
        play = Play(path, disk.log, flush_settlements=True)
        await play.begin()
        fault = disk.fault = Once(kind, number)
        try:
            await getattr(play, step)()
        except TransportError:
            if kind != "flush":  # after a failed flush it may have happened
                play.expect(play.undone)
        disk.heal()
        failed, outcomes = len(disk.log), play.outcomes
        with contextlib.suppress(Disconnected):  # it may have failed to reopen
            await play.send()
        if any(isinstance(outcome, SendUnconfirmed) for outcome in outcomes):
            assert all("open it again" in str(outcome) for outcome in play.outcomes), (
                "a failed disk is trusted"
            )
            assert all(isinstance(outcome, SendRejected) for outcome in play.outcomes)
        looked_at = {failed, len(disk.log)}
        await play.end()
    if number:
        await check(folder, play, states(disk.log, random.Random(seed), points=looked_at, at_most=AT_MOST))
    return fault.counts


async def check(folder: Path, play: Play, found: Iterable[tuple[int, Image]]) -> None:
    """What the death of all processes leaves, what a power cut can leave, and the file itself."""
    ruins = Ruins(folder / "ruins")
    with forgetful_disk():
        for point, image in found:
            said = complaints(play.expected_at(point), await ruins.found(ruins.content(image)))
            assert not said, f"after {point} operations: {said}"
        said = complaints(play.now, await look(folder / "bus.db"))
        assert not said, f"opened again: {said}"
