"""Runs of what is no disaster: deployments, clocks that are wrong, and a receiver that is too slow."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from waystation._core.limits import LEASE_S
from waystation.testing.checkers import Sample, resources
from waystation.testing.history import History

from .judge import Finding, Rules, Tally, conclude
from .kills import ROLES, finish, kill_one
from .store import damage_in, drain, info, opened, read_books
from .town import Life, Town, now_ns
from .worker import SkewedClock

HOUR_S = 3600.0

#: What a process may grow by while more than that waits: a subscription's credit in bytes, and room for allocators.
GROWTH_BYTES_MAX = 64 << 20


async def deployments(folder: Path, seed: int, count: int, every_ms: int) -> Finding:
    """Replace one worker after another by SIGTERM while messages come: nobody waits for a lease (F-49)."""
    town = Town(folder, folder / "bus.db", seed)
    workers = ("a", "b", "c")
    try:
        async with opened(town.path) as transport:
            town.start("produce", "p", pause_s=0.02, scheduled_share=0.0)
            for name in workers:
                town.start("serve", name)
            town.settle_in()
            for number in range(count):
                name = workers[number % len(workers)]
                town.recorder.nemesis("replace", name)
                town.again(name, town.terminate(name))
                town.wait_until(partial(town.is_at_work, name), f"{name} at work")
                town.recorder.nemesis("replace", name, over=True)
                town.pause(every_ms / 1000, every_ms / 2000)
            town.terminate("p")
            while (await info(transport)).lag:
                town.pause(0.05)
            for name in workers:
                town.terminate(name)
        end = now_ns()
        drained = await drain(town)
        drained.problems += _waits(town.history())
        return await finish("deployments", town, drained, Rules(), end, other_faults=count)
    finally:
        town.close()


async def checkpoints(folder: Path, seed: int, count: int, keepers: int) -> Finding:
    """Checkpoint as fast as can be, from several processes, while others write; kill any of them (F-19)."""
    town = Town(folder, folder / "bus.db", seed)
    problems: list[str] = []
    try:
        async with opened(town.path) as transport:
            for name, role in ROLES.items():
                town.start(role, name, batch_max=20)
            for number in range(keepers):
                town.start("keep", f"keep{number}")
            town.settle_in()
            for _ in range(count):
                town.pause(0.5)
                await kill_one(town, transport)
                problems += damage_in(town.path)
        for name in list(town.lives):
            town.kill(name)
        end = now_ns()
        drained = await drain(town)
        drained.problems += problems
        return await finish("checkpoints", town, drained, Rules(), end)
    finally:
        town.close()


def _waits(history: History) -> list[str]:
    """Find messages that were handled twice, or had to wait until a lease ended."""
    first: dict[str, int] = {}
    wrong = []
    for held in history.held:
        if held.id in first or held.attempt != 1:
            wrong.append(f"{held.id} was handled again, as attempt {held.attempt}")
        first.setdefault(held.id, held.began_ns)
    for sent in history.sent:
        waited_s = (first.get(sent.id, sent.began_ns) - sent.began_ns) / 1e9
        if waited_s > LEASE_S / 2:
            wrong.append(f"{sent.id} waited {waited_s:.1f} s")
    return wrong[:5]


async def clocks(folder: Path, seed: int, count: int, batch_max: int) -> Finding:
    """Kill processes whose wall clocks are an hour ahead, an hour behind, or both by turns (F-31)."""
    town = Town(folder, folder / "bus.db", seed)
    ahead, behind, strobe = {"skew_s": HOUR_S}, {"skew_s": -HOUR_S}, {"skew_s": HOUR_S, "strobe_s": 0.1}
    try:
        async with opened(town.path) as transport:
            town.start("produce", "p", batch_max=batch_max, **ahead)
            town.start("produce", "q", batch_max=batch_max, **behind)
            town.start("consume", "c", batch_max=batch_max, **ahead)
            town.start("consume", "d", batch_max=batch_max, **behind)
            town.start("consume", "e", batch_max=batch_max, **strobe)
            town.settle_in()
            for _ in range(count):
                await kill_one(town, transport)
        for name in list(town.lives):
            town.kill(name)
        end = now_ns()
        # What a clock that was ahead has put off or leased is over at the end of that hour, by the store's clock.
        drained = await drain(town, clock=SkewedClock(2 * HOUR_S), skew_s=2 * HOUR_S)
        rules = Rules(final=False, counted=False, exclusive=False, timely=False)
        return await finish("clocks", town, drained, rules, end)
    finally:
        town.close()


async def slow_receiver(folder: Path, seed: int, count: int, body_bytes: int) -> Finding:
    """Publish much more than a receiver handles, which takes one message a second: memory stays bounded (F-33)."""
    town = Town(folder, folder / "bus.db", seed)
    try:
        async with opened(town.path) as transport:
            slow = town.start("crawl", "c")
            fast = town.start("flood", "p", total=count, body_bytes=body_bytes)
            samples: dict[str, list[Sample]] = {slow.name: [], fast.name: []}
            while fast.process.exitcode is None:
                for life in (slow, fast):
                    if life.process.exitcode is None and town.is_at_work("p"):
                        samples[life.name] += sample(life)
                town.pause(0.02, 0.02)
            town.bury("p", status=0)
            town.kill("c")
            books = await read_books(transport)
        problems = [] if books.stored == count else [f"{books.stored} of {count} are stored"]
        handled = len({held.id for held in town.history().held})
        if not count - handled <= books.owed <= count:
            problems.append(f"{books.owed} are owed of {count}, {handled} handled")
        for name, found in samples.items():
            grown = resources(found, growth_bytes_max=GROWTH_BYTES_MAX)
            problems += [f"{name}: {each}" for each in grown]
        tally = Tally(accepted=count, other_faults=1, operations=count, met_by_a_fault=count)
        return conclude("slow receiver", seed, problems, tally, folder)
    finally:
        town.close()


def why_no_samples() -> str | None:
    """Return why it cannot be seen what a process uses; None: it can."""
    return None if Path("/proc/self/statm").exists() else "no /proc here"


def sample(life: Life) -> list[Sample]:
    """What a process uses now; nothing if it has just ended."""
    try:
        pages = int(Path(f"/proc/{life.pid}/statm").read_text().split()[1])
        descriptors, threads = (len(os.listdir(f"/proc/{life.pid}/{what}")) for what in ("fd", "task"))
    except (OSError, IndexError):
        return []
    return [Sample(now_ns() / 1e9, pages * os.sysconf("SC_PAGE_SIZE"), descriptors, threads)]
