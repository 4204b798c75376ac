"""`waystation bench`: each figure beside what the machine gives a bare loop, measured alternately in the same run.

Absolute figures drift by a factor of 1.7 from hour to hour and more from machine to machine, so the ratio is what
counts. Nothing here asserts a time; what is asserted is that every message arrived, once and unaltered.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import apsw
from rich.console import Console

from waystation import ConfigurationError

from . import broker, memory, sqlite, tcp, tcp_idle, tcp_served
from .broker_contenders import BROKERS
from .broker_servers import broker_of
from .processes import ended_in_order
from .report import Figure, MeasurementFailed, peer_lines, to_json, to_table
from .scale import FULL, QUICK, Scale


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is measured together: the names of its figures, and the function that gives them."""

    names: tuple[str, ...]
    measure: Callable[[Scale], Iterator[Figure]]


GROUPS = {
    "memory": (
        Measurement(("memory.batch_us",), memory.batch),
        Measurement(("memory.single_us",), memory.single),
    ),
    "sqlite": (
        Measurement(("sqlite.durable.batch",), sqlite.durable_batch),
        Measurement(("sqlite.durable.concurrent",), sqlite.durable_concurrent),
        Measurement(("sqlite.durable.1k",), sqlite.durable_1k),
        Measurement(("sqlite.latency.p50_ms", "sqlite.latency.p99_ms"), sqlite.latency),
        Measurement(("sqlite.idle.cpu",), sqlite.idle),
        Measurement(("sqlite.backlog.ratio", "rss_mib"), sqlite.backlog),
    ),
    "tcp": (
        Measurement(("tcp.rtt.sequential",), tcp.rtt_sequential),
        Measurement(("tcp.rtt.pipelined",), tcp.rtt_pipelined),
        Measurement(("tcp.oneway.batch",), tcp.oneway_batch),
        Measurement(("tcp.oneway.concurrent",), tcp.oneway_concurrent),
        Measurement(("tcp.served.ratio",), tcp_served.served_ratio),
        Measurement(("tcp.idle_kib", "tcp.idle.p99_us"), tcp_idle.idle),
    ),
    **{name: (Measurement(broker.names(name), partial(broker.started, name)),) for name in BROKERS},
}

#: What is measured unless something is asked for: all that needs no server.
USUAL = tuple(group for group in GROUPS if group not in BROKERS)


def main(*, group: str | None, only: str | None, quick: bool, json_path: Path | None) -> int:
    """Measure, and print the table.

    Args:
        group: Only the figures of one group: of `memory`, `sqlite` or `tcp`, of a broker that is started for them, such
            as `redis`, or of the broker that a URL names.
        only: Only the figure of this name.
        quick: Smaller and fewer runs, at most a minute for each group.
        json_path: Where to write the figures as JSON as well.

    Returns:
        0, or 1 if some run proved nothing, because messages were missing or a process ended; the others are reported.

    Raises:
        ConfigurationError: There is no such group, figure or broker, or no folder for the JSON.
    """
    measurements = select(group, only)
    if json_path is not None and not json_path.parent.is_dir():
        raise ConfigurationError(f"the folder {json_path.parent} does not exist: make it first")
    console, log = Console(), Console(stderr=True)
    console.print(machine(), highlight=False, soft_wrap=True)
    figures: list[Figure] = []
    failed = False
    with ended_in_order():
        for measurement in measurements:
            wanted = [name for name in measurement.names if only in (None, name)]
            log.print(f"measuring {', '.join(wanted)} …", style="dim", highlight=False)
            try:
                figures += [f for f in measurement.measure(QUICK if quick else FULL) if f.name in wanted]
            except MeasurementFailed as error:
                log.print(f"{', '.join(wanted)} failed: {error}", style="red", highlight=False)
                failed = True
    console.print(to_table(figures))
    for line in peer_lines(figures):
        console.print(line, highlight=False, style="dim")
    if json_path is not None:
        json_path.write_bytes(to_json(figures))
    return int(failed)


def select(group: str | None, only: str | None) -> Sequence[Measurement]:
    """Return what to measure.

    Raises:
        ConfigurationError: There is no such group or figure.
    """
    if group is not None and "://" in group:
        asked: Sequence[Measurement] = (
            Measurement(broker.names(broker_of(group)), partial(broker.named, group)),
        )
    elif group is None:
        asked = [each for name in (GROUPS if only else USUAL) for each in GROUPS[name]]
    elif group in GROUPS:
        asked = GROUPS[group]
    else:
        raise ConfigurationError(
            f"there is no group {group!r} of benchmarks: use one of {', '.join(GROUPS)}, or a broker's URL"
        )
    found = [measurement for measurement in asked if only is None or only in measurement.names]
    if not found:
        names = [name for measurement in asked for name in measurement.names]
        raise ConfigurationError(
            f"there is no figure {only!r} in what was asked for: use one of {', '.join(names)}"
        )
    return found


def machine() -> str:
    """Return what the figures were measured on, as one line."""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"SQLite {apsw.sqlite_lib_version()}, uvloop {version('uvloop')}, msgspec {version('msgspec')}"
    )
