"""All runs of a tier, one after another, and what they amount to."""

from __future__ import annotations

import asyncio
import itertools
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apsw

from waystation.testing.checkers import Verdict

from .beginnings import first_starts, migrations
from .cuts import cuts
from .days import checkpoints, clocks, deployments, slow_receiver, why_no_samples
from .disk import why_no_disk
from .judge import Finding, Tally
from .kills import effects, kills
from .mixed import mixed, unattended
from .served_runs import servers

#: With no failure in n independent events, the chance of one is below 3/n, at 95 % (the rule of three).
_RULE_OF_THREE = 3.0


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of run, and how often and how large it is in each tier.

    Attributes:
        run: Called with a folder, a seed, and the two numbers of its size.
        sizes: By tier: rounds, and the two numbers.
        why_not: Says why it cannot be run here; None: it can.
    """

    run: Callable[[Path, int, int, int], Awaitable[Finding]]
    sizes: dict[str, tuple[int, int, int]]
    why_not: Callable[[], str | None] = lambda: None


PARTS = {
    "kills": Part(kills, {"pr": (2, 30, 120), "faults": (12, 50, 400)}),
    "effects": Part(effects, {"pr": (1, 15, 1000), "faults": (5, 60, 6000)}),
    "cuts": Part(cuts, {"pr": (3, 20, 60), "faults": (20, 30, 150)}, why_no_disk),
    "first starts": Part(first_starts, {"pr": (1, 8, 30), "faults": (2, 50, 30)}, why_no_disk),
    "migrations": Part(migrations, {"pr": (1, 8, 30), "faults": (2, 50, 30)}, why_no_disk),
    "mixed": Part(mixed, {"pr": (1, 4, 1), "faults": (4, 60, 4)}),
    "unattended": Part(unattended, {"faults": (2, 60, 4)}),
    "deployments": Part(deployments, {"pr": (1, 6, 300), "faults": (1, 24, 5000)}),
    "checkpoints": Part(checkpoints, {"pr": (1, 6, 2), "faults": (2, 100, 3)}),
    "clocks": Part(clocks, {"pr": (1, 8, 50), "faults": (5, 30, 200)}),
    "servers": Part(servers, {"pr": (1, 16, 30), "faults": (6, 60, 200)}),
    "slow receiver": Part(
        slow_receiver, {"pr": (1, 30_000, 3000), "faults": (1, 1_000_000, 256)}, why_no_samples
    ),
}

#: How long the longest tier repeats `faults`, in seconds.
SOAK_S = 8 * 3600.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a campaign found, and with what."""

    tier: str
    findings: Sequence[Finding]
    skipped: dict[str, str]
    seconds: float

    @property
    def total(self) -> Tally:
        """All counts together."""
        return sum((finding.tally for finding in self.findings), Tally())

    @property
    def verdict(self) -> Verdict:
        """Valid if every run is, and nothing was skipped."""
        verdicts = {finding.verdict for finding in self.findings}
        if Verdict.INVALID in verdicts:
            return Verdict.INVALID
        return Verdict.VALID if verdicts == {Verdict.VALID} and not self.skipped else Verdict.UNKNOWN

    def sentence(self) -> str:
        """The outcome, in the form in which it is published."""
        total, facts = self.total, versions()
        seeds = sorted({finding.seed for finding in self.findings})
        return (
            f"sqlite: {total.lost:,} of {total.accepted:,} accepted messages lost over {total.kills:,} kills and "
            f"{total.cuts:,} power cuts (bound per event at 95 %: kills {_bound(total.kills)}, power cuts "
            f"{_bound(total.cuts)}); {total.duplicated:,} duplicates, of which {total.duplicated_as_first:,} as "
            f"attempt 1 again; {total.recovered:,} of unknown outcome arrived, of which {total.taken_back:,} were gone "
            f"again after a power cut; {total.effects_twice:,} effects twice; "
            f"{total.order_violations:,} order violations; {total.other_faults:,} other faults; "
            f"{len(self.findings)} runs, seeds {seeds[0]} to {seeds[-1]}; {self.verdict}; "
            + ", ".join(f"{name} {value}" for name, value in facts.items())
        )

    def as_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "tier": self.tier,
            "verdict": self.verdict,
            "sentence": self.sentence(),
            "seconds": round(self.seconds, 1),
            "versions": versions(),
            "total": asdict(self.total),
            "skipped": self.skipped,
            "runs": [asdict(finding) for finding in self.findings],
        }


def campaign(
    tier: str, *, seed: int | None, only: Sequence[str], rounds: int | None, show: Callable[[str], object]
) -> Report:
    """Run every part of a tier.

    Args:
        tier: `pr`, `faults`, or `soak`, which is `faults` again and again for `SOAK_S`.
        seed: Of the first round of each part; the next ones follow. None: a new one.
        only: Names of parts; empty: all.
        rounds: Of each part; None: as the tier says.
        show: Called with a line about each run.
    """
    first = secrets.randbelow(10**6) * 1000 if seed is None else seed
    size = "pr" if tier == "pr" else "faults"
    chosen = {name: part for name, part in PARTS.items() if size in part.sizes and (not only or name in only)}
    skipped = {name: reason for name, part in chosen.items() if (reason := part.why_not())}
    for name, reason in skipped.items():
        show(f"{name}: skipped, {reason}")
    began = time.monotonic()
    findings = []
    counts = {name: rounds or part.sizes[size][0] for name, part in chosen.items() if name not in skipped}
    for name, number in _rounds(counts, for_ever=tier == "soak"):
        finding, seconds = _run(name, size, first + number)
        findings.append(finding)
        show(_line(finding, seconds))
        if tier == "soak" and time.monotonic() - began > SOAK_S:
            break
    return Report(tier, findings, skipped, time.monotonic() - began)


def _rounds(counts: dict[str, int], *, for_ever: bool) -> Iterator[tuple[str, int]]:
    """Name each run and number its seed. Parts take turns, so that a campaign that is cut short has some of each."""
    for repeat in itertools.count():
        for number in range(max(counts.values(), default=0)):
            yield from ((name, repeat * 100 + number) for name in counts if number < counts[name])
        if not for_ever or not counts:
            return


def _run(name: str, size: str, seed: int) -> tuple[Finding, float]:
    """Run one round in a folder of its own, which is kept if something was wrong."""
    folder = Path(tempfile.mkdtemp(prefix="waystation-faults-"))
    _, *numbers = PARTS[name].sizes[size]
    began = time.monotonic()
    try:
        finding = asyncio.run(_awaited(PARTS[name].run(folder, seed, *numbers)))
    except Exception:  # noqa: BLE001 - whatever it was, the run has failed and the others go on
        problem = traceback.format_exc()
        finding = Finding(part=name, seed=seed, verdict=Verdict.INVALID, problems=(problem,), tally=Tally())
    if finding.verdict is Verdict.INVALID:
        print(f"histories are kept in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return finding, time.monotonic() - began


async def _awaited(run: Awaitable[Finding]) -> Finding:
    return await run


def _line(finding: Finding, seconds: float) -> str:
    tally = finding.tally
    counts = (
        f"{tally.kills} kills, {tally.cuts} cuts, {tally.other_faults} others, {tally.accepted:,} accepted, "
        f"{tally.lost} lost, {tally.duplicated:,} duplicated, {tally.effects_twice} effects twice, "
        f"{tally.order_violations} out of order, {tally.met_by_a_fault / max(1, tally.operations):.0%} met a fault"
    )
    problems = "".join(f"\n    {problem}" for problem in finding.problems)
    return f"{finding.part}, seed {finding.seed}: {finding.verdict} in {seconds:.1f} s: {counts}{problems}"


def _bound(events: int) -> str:
    return f"{_RULE_OF_THREE / events:.2%}" if events >= _RULE_OF_THREE else "none"


def versions() -> dict[str, str]:
    """What was tested, on what."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "waystation": version("waystation"),
        "commit": git.stdout.strip() or "unknown",
        "Python": platform.python_version(),
        "SQLite": apsw.sqlite_lib_version(),
        "kernel": platform.release(),
    }
