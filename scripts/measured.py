"""What a campaign of faults and a planting of faults came to, as Markdown: from the files that they wrote.

They are written by `make faults ARGS="--report docs/measured/faults.json"`, and by `make mutants` likewise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parent.parent / "docs" / "measured"

#: The columns of the table, and what a run's tally calls each.
COLUMNS = {
    "kills": "kills",
    "power cuts": "cuts",
    "other faults": "other_faults",
    "accepted": "accepted",
    "lost": "lost",
    "made up": "unexpected",
    "effects twice": "effects_twice",
    "out of order": "order_violations",
    "came twice": "duplicated",
}


def campaign() -> str:
    """Return the sentence of a campaign, its table by part, and what it takes to repeat it."""
    report = json.loads((MEASURED / "faults.json").read_text(encoding="utf-8"))
    return "\n\n".join(["> " + report["sentence"], "\n".join(_table(report)), _repeat(report), _planted()])


def _table(report: Mapping[str, Any]) -> Iterator[str]:
    parts: dict[str, list[Mapping[str, int]]] = {}
    for run in report["runs"]:
        parts.setdefault(run["part"], []).append(run["tally"])
    yield "| part | runs | " + " | ".join(COLUMNS) + " |"
    yield "|---|" + "--:|" * (len(COLUMNS) + 1)
    for part, tallies in parts.items():
        sums = (f"{sum(tally[name] for tally in tallies):,}" for name in COLUMNS.values())
        yield f"| {part} | {len(tallies)} | " + " | ".join(sums) + " |"
    sums = (f"**{report['total'][name]:,}**" for name in COLUMNS.values())
    yield f"| **together** | **{len(report['runs'])}** | " + " | ".join(sums) + " |"


def _repeat(report: Mapping[str, Any]) -> str:
    total, minutes = report["total"], report["seconds"] / 60
    seeds = [run["seed"] for run in report["runs"]]
    left_out = "".join(f" Left out: {part}, {reason}." for part, reason in report["skipped"].items())
    return (
        f"It took {minutes:.0f} minutes. {total['met_by_a_fault']:,} of {total['operations']:,} operations were under "
        f"way during a fault. Coming twice is what at least once means; {total['duplicated_as_first']:,} of these said "
        f"attempt 1 again. {total['recovered']:,} messages had no receipt and arrived all the same.{left_out} Again: "
        f'`make faults ARGS="--seed {min(seeds)}"`. [Every run](measured/faults.json), with the hash of its history.'
    )


def _planted() -> str:
    report = json.loads((MEASURED / "mutants.json").read_text(encoding="utf-8"))
    known, absent = report["known"], report["absent"]
    later = "; ".join(f"*{name}* ({place})" for name, place in absent.items())
    return (
        f"**Planted faults: {report['caught']} of {report['planted']} caught.** Of {known} known from other systems, "
        f"{known - len(absent)} are among them; the rest has no place here: {later}. Again: `make mutants`."
    )
