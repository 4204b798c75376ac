"""A measured figure, beside the limit that was measured in the same run; as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec
from rich.table import Table


class MeasurementFailed(Exception):
    """A run that proves nothing: a message was missing, or a process ended early or hung."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report. Its fields are those of the JSON, in this order.

    Attributes:
        name: Such as `sqlite.durable.batch`.
        value: The median of `runs`; of memory their maximum.
        unit: What the value is a number of; says so where `--quick` measured something smaller.
        limit: What the machine gave a bare loop doing the same, in the same unit; None where there is no such thing.
        ratio: `value / limit`.
        peers: What other libraries reach, in the same unit. Of `tcp.*` the medians of the same run; of all others
            measured on another machine and another day: an order of magnitude, and not a comparison.
        runs: The value of each run, in order.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    ratio: float | None = None
    peers: Mapping[str, float] = {}
    runs: Sequence[float] = ()


def summarise(
    name: str,
    unit: str,
    runs: Sequence[float],
    *,
    limits: Sequence[float] = (),
    peers: Mapping[str, float] | None = None,
) -> Figure:
    """Return the figure for several runs, and for the runs of its limit that alternated with them."""
    value = median(runs)
    limit = median(limits) if limits else None
    return Figure(
        name=name,
        value=value,
        unit=unit,
        limit=limit,
        ratio=value / limit if limit else None,
        peers=peers or {},
        runs=tuple(runs),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of the values do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, -int(-share * len(ranked) // 1) - 1)]


def to_table(figures: Sequence[Figure]) -> Table:
    """Return the figures as a table for people."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("figure", "value", "unit", "limit", "value/limit", "spread"):
        table.add_column(column, justify="left" if column in ("figure", "unit") else "right", no_wrap=True)
    for figure in figures:
        table.add_row(
            figure.name,
            shown(figure.value),
            figure.unit,
            "" if figure.limit is None else shown(figure.limit),
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            spread(figure.runs),
        )
    return table


def peer_lines(figures: Sequence[Figure]) -> Sequence[str]:
    """Return what the peers reach, a line for each list of them, with the figures that it belongs to."""
    owners: dict[str, list[str]] = {}
    for figure in figures:
        if figure.peers:
            listed = ", ".join(f"{peer} {shown(value)}" for peer, value in figure.peers.items())
            owners.setdefault(listed, []).append(figure.name)
    return [f"peers of {', '.join(names)}: {listed}" for listed, names in owners.items()]


def to_json(figures: Sequence[Figure]) -> bytes:
    """Return the figures as a JSON list of objects, indented, with a final newline."""
    return msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n"


def shown(value: float) -> str:
    """Return a number with three significant digits, whole from 100 on: `0.412`, `2.51`, `301,210`."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def spread(runs: Sequence[float]) -> str:
    """Return the lowest and the highest run, or nothing if there was one."""
    return f"{shown(min(runs))} to {shown(max(runs))}" if len(runs) > 1 else ""
