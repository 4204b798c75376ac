"""`waystation model transfer` and `throughput`: how long a line takes, and how much gets done."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from waystation import ConfigurationError
from waystation.queueing import (
    Line,
    Overhead,
    closed,
    fit_scalability,
    parse_bandwidth,
    parse_count,
    parse_rate,
    parse_size,
    parse_time,
    throughput,
    transfer,
)

from . import model_pictures
from .model_options import Plot, about, above_zero, draw, option, present, taken
from .parameters import AsJson

Messages = Annotated[str, option("--messages", "-n", metavar="N", text="How many: 10k, 1M.")]
Size = Annotated[str, option("--size", metavar="SIZE", text="Of each: 200B, 1KiB.")]
Bandwidth = Annotated[
    str, option("--bandwidth", metavar="BANDWIDTH", text="Of the line: 1Gbit/s, 100Mbps, 80MB/s.")
]
OneWay = Annotated[str, typer.Option("--delay", metavar="TIME", help="One way, from sent to received.")]
Together = Annotated[str, typer.Option("--batch", metavar="N", help="Messages that go out together.")]
InFlight = Annotated[
    str | None,
    option("--in-flight", metavar="N", text="Batches that may be unconfirmed; any number unless given."),
]
Window = Annotated[
    str | None, option("--window", metavar="SIZE", text="Bytes that may be on their way, as TCP's window.")
]
Header = Annotated[str, typer.Option("--header", metavar="SIZE", help="Added to each message.")]
BatchHeader = Annotated[str, typer.Option("--batch-header", metavar="SIZE", help="Added to each batch.")]
Work = Annotated[str, typer.Option("--work", metavar="TIME", help="To prepare each message.")]
BatchWork = Annotated[str, typer.Option("--batch-work", metavar="TIME", help="To prepare each batch.")]


def transfer_(
    messages: Messages,
    size: Size,
    bandwidth: Bandwidth,
    *,
    delay: OneWay = "0s",
    batch: Together = "1",
    in_flight: InFlight = None,
    window: Window = None,
    header: Header = "0B",
    batch_header: BatchHeader = "0B",
    work: Work = "0s",
    batch_work: BatchWork = "0s",
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """How long messages take over a line: T = n·m / b, with delay, headers, work, windows and confirmations.

    Example: `waystation model transfer -n 1M --size 1KiB --bandwidth 1Gbit/s --delay 20ms --batch 100 --in-flight 1`
    """
    line = Line(
        bandwidth_bytes_per_s=above_zero(parse_bandwidth(bandwidth, "--bandwidth"), "--bandwidth", "1Gbit/s"),
        delay_s=parse_time(delay, "--delay"),
        window_bytes=None if window is None else parse_size(window, "--window"),
    )
    overhead = Overhead(
        message_bytes=parse_size(header, "--header"),
        batch_bytes=parse_size(batch_header, "--batch-header"),
        message_s=parse_time(work, "--work"),
        batch_s=parse_time(batch_work, "--batch-work"),
    )
    found = transfer(
        int(parse_count(messages, "--messages")),
        above_zero(parse_size(size, "--size"), "--size", "1KiB"),
        line,
        batch=int(parse_count(batch, "--batch")),
        in_flight=None if in_flight is None else int(parse_count(in_flight, "--in-flight")),
        overhead=overhead,
    )
    facts: dict[str, object] = {
        "model": found.model,
        "trust": found.trust.value,
        "total_s": found.total_s,
        "messages_per_s": found.messages_per_s,
        "batches": found.batches,
        "wire_bytes": found.wire_bytes,
        "cycle_s": found.cycle_s,
        "bound_by": found.bound_by,
        "efficiency": found.efficiency,
    }
    sentence = "the line and the sender always take as long as is said here"
    present(about(found.model, found.trust, sentence), found.steps(), as_json=as_json, facts=facts)
    if plot is not None:
        draw(model_pictures.batches(found), plot)


def throughput_(
    *,
    requests: Annotated[
        str | None, option("--requests", metavar="N", text="How many were answered: 10k; with --in.")
    ] = None,
    within: Annotated[str | None, option("--in", metavar="TIME", text="The time that they took.")] = None,
    clients: Annotated[
        str | None, option("--clients", metavar="N", text="Clients that ask, wait, think, and ask again.")
    ] = None,
    time: Annotated[
        str | None, option("--time", metavar="TIME", text="What handling one takes: 35ms.")
    ] = None,
    consumers: Annotated[int, typer.Option("--consumers", "-c", metavar="N", help="Handled at a time.")] = 1,
    think: Annotated[
        str, typer.Option("--think", metavar="TIME", help="Between an answer and the next question.")
    ] = "0s",
    travel: Annotated[
        str, typer.Option("--travel", metavar="TIME", help="Of an answer, beside the handling.")
    ] = "0s",
    point: Annotated[
        list[str] | None,
        option(
            "--point", metavar="N=RATE", text="Measured: so many consumers got so much done; four or more."
        ),
    ] = None,
    points: Annotated[
        Path | None, option("--points", metavar="FILE", text="The same from a CSV file of two columns.")
    ] = None,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """How much gets done: R = n / t; the most that clients get out of consumers; or the law that fits measured points.

    Example: `waystation model throughput --clients 50 --time 35ms --consumers 4 --think 1s`
    """
    if point or points:
        _fitted([*_points(point or ()), *_rows(points)], plot, as_json=as_json)
    elif clients is not None and time is not None:
        _closed(clients, time, consumers, think, travel, plot, as_json=as_json)
    elif requests is not None and within is not None:
        if plot is not None:
            raise ConfigurationError(
                "--plot: one number is no picture; give --clients and --time, or --point"
            )
        found = throughput(parse_count(requests, "--requests"), parse_time(within, "--in"))
        facts: dict[str, object] = {"model": found.model, "trust": found.trust.value, "per_s": found.per_s}
        present(about(found.model, found.trust, "a definition"), found.steps(), as_json=as_json, facts=facts)
    else:
        raise ConfigurationError(
            "a throughput is from --requests and --in, from --clients and --time, or fitted to four times --point"
        )


def _closed(
    clients: str, time: str, consumers: int, think: str, travel: str, plot: Path | None, *, as_json: bool
) -> None:
    found = closed(
        int(parse_count(clients, "--clients")),
        taken(time),
        consumers,
        think_s=parse_time(think, "--think"),
        travel_s=parse_time(travel, "--travel"),
    )
    facts: dict[str, object] = {
        "model": found.model,
        "trust": found.trust.value,
        "at_most_per_s": found.at_most_per_s,
        "limited_by": found.limited_by,
        "knee": found.knee,
        "answer_at_least_s": found.answer_at_least_s,
    }
    sentence = "clients wait for their answers; no distribution is assumed (Denning and Buzen 1978)"
    present(about(found.model, found.trust, sentence), found.steps(), as_json=as_json, facts=facts)
    if plot is not None:
        draw(model_pictures.closed_system(found), plot)


def _fitted(measured: Sequence[tuple[float, float]], plot: Path | None, *, as_json: bool) -> None:
    found = fit_scalability(measured)
    facts: dict[str, object] = {
        "model": found.model,
        "trust": found.trust.value,
        "one_per_s": found.one_per_s,
        "contention": found.contention,
        "coherency": found.coherency,
        "peak": found.peak if found.peak < float("inf") else None,
        "peak_per_s": found.peak_per_s if found.peak_per_s < float("inf") else None,
        "peak_was_measured": found.peak_was_measured,
        "r_squared": found.r_squared,
        "worst_error": found.worst_error,
    }
    sentence = "X(N) = γ·N / (1 + α·(N − 1) + β·N·(N − 1)), by least squares (Gunther 2007)"
    remark = (
        ""
        if found.peak_was_measured
        else "the peak is beyond what was measured, and so a guess: measure there"
    )
    present(
        about(found.model, found.trust, sentence), found.steps(), as_json=as_json, facts=facts, remark=remark
    )
    if plot is not None:
        draw(model_pictures.scalability(found), plot)


def _points(texts: Sequence[str]) -> list[tuple[float, float]]:
    """Return N=RATE pairs as numbers.

    Raises:
        ConfigurationError: One has no `=`.
    """
    found = []
    for text in texts:
        workers, equals, rate = text.partition("=")
        if not equals:
            raise ConfigurationError(f"--point {text!r}: write N=RATE, such as 8=1.8k/s")
        found.append((parse_count(workers, "--point"), parse_rate(rate, "--point")))
    return found


def _rows(file: Path | None) -> list[tuple[float, float]]:
    """Return the pairs of a CSV file; lines that begin with no number, such as a head, are passed over.

    Raises:
        ConfigurationError: A line has one column.
        OSError: It cannot be read.
    """
    if file is None:
        return []
    found = []
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.reader(lines):
            if not row or not row[0].strip()[:1].isdigit():
                continue
            if len(row) < 2:
                raise ConfigurationError(f"--points {file}: {row[0]!r} has one column, and two are needed")
            found.append((parse_count(row[0], "--points"), parse_rate(row[1], "--points")))
    return found
