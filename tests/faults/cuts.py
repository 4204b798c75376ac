"""Runs in which the power is cut: nothing that was accepted is gone afterwards, and the file is whole."""

from __future__ import annotations

from pathlib import Path

from .disk import Disk
from .judge import Finding, Rules
from .kills import finish
from .store import damage_in, drain, opened
from .town import Town, now_ns

#: Senders, receivers, and one that checkpoints, deletes and gives space back all the time.
ROLES = {"p": "produce", "q": "produce", "o": "outbox", "c": "consume", "d": "consume", "k": "keep"}
OTHERS = [name for name in ROLES if name != "p"]


async def cuts(folder: Path, seed: int, count: int, batch_max: int) -> Finding:
    """Cut the power under everybody, again and again (F-10, F-11). With an odd seed settlements are flushed too."""
    disk = Disk(folder)
    town = Town(folder, disk.path / "bus.db", seed)
    flushed = seed % 2
    problems: list[str] = []
    try:
        async with opened(town.path):
            pass  # so that every cycle finds the tables of the application
        for _ in range(count):
            for name in ["p", *town.random.sample(OTHERS, town.random.randint(2, len(OTHERS)))]:
                town.start(ROLES[name], name, batch_max=batch_max, flush_settlements=flushed)
            if town.random.random() < 0.8:
                town.settle_in()
            town.pause(0.12)
            cut(town, disk)
            problems += damage_in(town.path)
            await release(town)
        end = now_ns()
        drained = await drain(town)
        drained.problems[:0] = problems
        rules = Rules(final=bool(flushed), counted=False, kept=False)
        return await finish("cuts", town, drained, rules, end, cuts=count)
    finally:
        town.close()
        disk.unmount()


async def release(town: Town) -> None:
    """Mostly give back what the dead held, so that the next cycle has something to do."""
    if town.random.random() < 0.8:
        async with opened(town.path) as transport:
            for pid in town.dead_pids:
                await transport.release_process(pid)
        town.dead_pids.clear()


def cut(town: Town, disk: Disk) -> None:
    """Cut the power, and with it everybody; start the computer again."""
    town.check_alive()
    town.recorder.nemesis("cut")
    disk.cut(log_flushed=town.random.random() < 0.3)
    for name in list(town.lives):
        town.kill(name, is_dying=True)
    disk.restart()
    town.recorder.nemesis("cut", over=True)
