"""What the documentation says of the models: how they compare with a simulator, from the file that it wrote.

It is written by `python -m tests.queueing.experiments docs/measured/queueing.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from waystation.queueing import show

MEASURED: Final = Path(__file__).parent.parent / "docs" / "measured" / "queueing.json"


def exact() -> str:
    """Return the table of the models that are theorems, and how many quantities lie within their intervals."""
    rows = [
        "| queue | ρ | mean wait, by the model | simulated | took longer than its p99 |",
        "|---|--:|--:|--:|--:|",
    ]
    inside = total = 0
    for row in _rows("exact"):
        quantities = row["quantities"]
        total += len(quantities)
        inside += sum(abs(each["model"] - each["simulated"]) <= each["half"] for each in quantities.values())
        wait, tail = quantities["mean wait"], quantities["over p99 of time"]
        took = f"{show(tail['simulated'], 'share')} ± {show(tail['half'], 'share')}"
        rows.append(
            f"| {row['queue']} | {row['utilisation']:g} | {wait['model']:.3g} | {_seen(wait)} | {took} |"
        )
    return "\n".join(rows) + f"\n\nOf {total} quantities, {inside} lie within their intervals."


def approximate() -> str:
    """Return the table of the approximations: how far each is off."""
    rows = [
        "| queue | ρ | mean wait, by the model | simulated | mean time off by | wait at all, model | simulated |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in _rows("approximate"):
        quantities = row["quantities"]
        wait, time, waits = (quantities[name] for name in ("mean wait", "mean time", "has to wait"))
        off = time["model"] / time["simulated"] - 1
        rows.append(
            f"| {row['queue']} | {row['utilisation']:g} | {wait['model']:.3g} | {_seen(wait)} | {off:+.1%} | "
            f"{show(waits['model'], 'share')} | {show(waits['simulated'], 'share')} |"
        )
    return "\n".join(rows)


def _rows(kind: str) -> Iterator[Mapping[str, Any]]:
    yield from (row for row in json.loads(MEASURED.read_text(encoding="utf-8")) if row["kind"] == kind)


def _seen(quantity: Mapping[str, float]) -> str:
    return f"{quantity['simulated']:.3g} ± {quantity['half']:.2g}"


PARTS: Final[dict[str, Callable[[], str]]] = {"models-exact": exact, "models-approximate": approximate}
