"""Runs in which several things go wrong at once, and which ones changes all the time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from waystation.transports.sqlite import SqliteTransport

from .disk import Disk, why_no_disk
from .judge import Finding, Rules
from .kills import ROLES, finish
from .store import drain, opened
from .town import Town, now_ns

#: How much of the small disk is left free when it is full, in bytes.
_LEFT_BYTES = 64 * 1024


@dataclass
class Scene:
    """What a nemesis works on."""

    town: Town
    transport: SqliteTransport
    disk: Disk | None
    numbers: itertools.count[int]

    def victim(self) -> str | None:
        """Somebody who is not under attack; None: nobody is left."""
        free = [
            name for name in sorted(self.town.lives) if name in ROLES and not self.town.lives[name].stopped
        ]
        return self.town.random.choice(free) if free else None

    def helper(self, role: str) -> str:
        """Start somebody who is in the way."""
        name = f"{role}{next(self.numbers)}"
        self.town.start(role, name)
        self.town.wait_until(lambda: self.town.is_at_work(name), f"{role} at work")
        return name


Heal = Callable[[], None]


def kill(scene: Scene) -> Heal:
    """Kill somebody; start the next life when it is over."""
    name = scene.victim()
    if name is None:
        return _nothing
    life = scene.town.kill(name)
    return lambda: scene.town.again(name, life)


def stop(scene: Scene) -> Heal:
    """Stop somebody."""
    name = scene.victim()
    if name is None:
        return _nothing
    scene.town.stop(name)
    return lambda: scene.town.go_on(name)


def terminate(scene: Scene) -> Heal:
    """Ask somebody to end, as a deployment does."""
    name = scene.victim()
    if name is None:
        return _nothing
    life = scene.town.terminate(name)
    return lambda: scene.town.again(name, life)


def lock(scene: Scene) -> Heal:
    """Hold the write lock."""
    name = scene.helper("lock")

    def heal() -> None:
        scene.town.tell(name)
        scene.town.bury(name, status=0)

    return heal


def read(scene: Scene) -> Heal:
    """Read without end, so that the write-ahead log cannot begin anew."""
    name = scene.helper("read")
    return lambda: _end(scene.town, name)


def keep(scene: Scene) -> Heal:
    """Checkpoint, delete and give space back without pause."""
    name = scene.helper("keep")
    return lambda: _end(scene.town, name)


def fill(scene: Scene) -> Heal:
    """Fill the disk."""
    if scene.disk is None or scene.disk.ballast.exists():
        return _nothing
    disk = scene.disk
    scene.town.recorder.nemesis("fill")
    disk.fill(leaving=_LEFT_BYTES if scene.town.random.random() < 0.5 else 6 << 20)

    def heal() -> None:
        disk.ballast.unlink()
        scene.town.recorder.nemesis("fill", over=True)

    return heal


NEMESES = (kill, stop, terminate, lock, read, keep, fill)


async def mixed(folder: Path, seed: int, seconds: int, turn_s: int) -> Finding:
    """Draw some of the nemeses anew every `turn_s` seconds, sometimes none (F-50); then heal, and wait (F-51)."""
    return await _mixed("mixed", folder, seed, seconds, turn_s, release=True)


async def unattended(folder: Path, seed: int, seconds: int, turn_s: int) -> Finding:
    """The same, and nobody gives back what the dead held: their leases have to end by themselves."""
    return await _mixed("unattended", folder, seed, seconds, turn_s, release=False)


async def _mixed(part: str, folder: Path, seed: int, seconds: int, turn_s: int, *, release: bool) -> Finding:
    disk = None if why_no_disk() else Disk(folder, megabytes=256)
    town = Town(folder, (folder if disk is None else disk.path) / "bus.db", seed)
    try:
        async with opened(town.path) as transport:
            scene = Scene(town, transport, disk, itertools.count())
            for name, role in ROLES.items():
                town.start(role, name, batch_max=50, pause_s=0.05)
            town.settle_in()
            end = time.monotonic() + seconds
            faults = 0
            while time.monotonic() < end:
                chosen = town.random.sample(NEMESES, town.random.randint(0, 3))
                heals = [nemesis(scene) for nemesis in chosen]
                faults += len(heals)
                town.pause(turn_s, turn_s / 2)
                for heal in heals:
                    heal()
                town.pause(turn_s / 2)
        for name in list(town.lives):
            town.kill(name)
        ended = now_ns()
        drained = await drain(town, release=release)
        return await finish(part, town, drained, Rules(), ended, other_faults=faults)
    finally:
        town.close()
        if disk is not None:
            disk.unmount()


def _end(town: Town, name: str) -> None:
    town.kill(name)


def _nothing() -> None:
    """Heal nothing."""
