"""`waystation model backlog` and `drain`: what is stored, when a disk is full, when a backlog is gone."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import typer

from waystation import ConfigurationError
from waystation.queueing import (
    Backlog,
    Course,
    Phase,
    Step,
    backlog,
    course,
    drain,
    filling,
    little,
    parse_count,
    parse_rate,
    parse_size,
    parse_time,
    show,
)

from . import model_pictures
from .model_options import Plot, about, above_zero, draw, option, present, taken
from .parameters import AsJson

_PHASE = re.compile(r"(?P<rate>.+?)(?:\s+to\s+(?P<until>.+?))?(?:\s+for\s+(?P<time>.+))?")


def backlog_(
    *,
    messages: Annotated[
        str | None, option("--messages", "-n", metavar="N", text="How many are kept: 1M.")
    ] = None,
    rate: Annotated[str | None, option("--rate", metavar="RATE", text="What arrives: 2k/s.")] = None,
    time: Annotated[
        str | None, option("--time", metavar="TIME", text="How long each stays: 35ms, 7d.")
    ] = None,
    size: Annotated[
        str | None, option("--size", metavar="SIZE", text="Of each, with all that is stored beside it: 1KiB.")
    ] = None,
    free: Annotated[str | None, option("--free", metavar="SIZE", text="Of the disk: 50GiB.")] = None,
    handled: Annotated[
        str, typer.Option("--handled", metavar="RATE", help="What is handled meanwhile.")
    ] = "0/s",
    as_json: AsJson = False,
) -> None:
    """What is stored: L = n·m bytes; L = λ·W messages, by Little's law; or when a disk is full.

    Example: `waystation model backlog --rate 2k/s --time 7d --size 1KiB`
    """
    if free is not None and rate is not None and size is not None and time is None:
        _full(free, size, rate, handled, as_json=as_json)
    elif rate is not None and time is not None and messages is None:
        each = None if size is None else parse_size(size, "--size")
        kept = little(parse_rate(rate, "--rate"), parse_time(time, "--time"), message_bytes=each)
        _stored(kept, "a steady state, and nothing else", free, as_json=as_json)
    elif messages is not None and size is not None and rate is None:
        kept = backlog(parse_count(messages, "--messages"), parse_size(size, "--size"))
        _stored(kept, "a product", free, as_json=as_json)
    else:
        raise ConfigurationError(
            "a backlog is from --messages and --size, from --rate and --time, or, for when a disk is full, from "
            "--rate, --size and --free"
        )


def _full(free: str, size: str, rate: str, handled: str, *, as_json: bool) -> None:
    """Print when a disk is full."""
    found = filling(
        parse_size(free, "--free"),
        parse_size(size, "--size"),
        parse_rate(rate, "--rate"),
        parse_rate(handled, "--handled"),
    )
    seconds = found.seconds if math.isfinite(found.seconds) else None
    facts: dict[str, object] = {"model": found.model, "trust": found.trust.value, "full_after_s": seconds}
    remark = "" if seconds is not None else "as much is handled as arrives, so it is never full"
    headline = about(found.model, found.trust, "rates and sizes stay as they are")
    present(headline, found.steps(), as_json=as_json, facts=facts, remark=remark)


def _stored(found: Backlog, sentence: str, free: str | None, *, as_json: bool) -> None:
    """Print how much is stored."""
    facts: dict[str, object] = {
        "model": found.model,
        "trust": found.trust.value,
        "messages": found.messages,
        "bytes": found.bytes,
    }
    remark = ""
    if free is not None and found.bytes is not None:
        share = found.bytes / max(1.0, parse_size(free, "--free"))
        remark = f"that is {show(share, 'share')} of what is free"
    headline = about(found.model, found.trust, sentence)
    present(headline, found.steps(), as_json=as_json, facts=facts, remark=remark)


def drain_(
    *,
    backlog: Annotated[
        str, typer.Option("--backlog", "-n", metavar="N", help="What waits at the beginning.")
    ] = "0",
    rate: Annotated[
        str,
        typer.Option(
            "--rate",
            metavar="RATES",
            help="What arrives: 2k/s; or as it changes: '5k/s for 1h, 2k/s to 0/s for 1h, 0/s'.",
        ),
    ] = "0/s",
    capacity: Annotated[
        str | None,
        option("--capacity", metavar="RATES", text="What is handled, likewise; or --consumers and --time."),
    ] = None,
    consumers: Annotated[int, typer.Option("--consumers", "-c", metavar="N", help="Handled at a time.")] = 1,
    time: Annotated[
        str | None, option("--time", metavar="TIME", text="What handling one takes: 2ms.")
    ] = None,
    size: Annotated[
        str | None, option("--size", metavar="SIZE", text="Of each message; with --free.")
    ] = None,
    free: Annotated[
        str | None, option("--free", metavar="SIZE", text="Of the disk: when is it full?")
    ] = None,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """When a backlog is gone, how large it becomes before, and whether the disk is full by then, also as rates change.

    Example: `waystation model drain --rate '5k/s for 1h, 500/s' --capacity 3k/s --size 1KiB --free 10GiB`
    """
    if capacity is None and time is None:
        raise ConfigurationError("what is handled is missing: give --capacity, or --consumers and --time")
    handled = [Phase(consumers / taken(time or ""))] if capacity is None else phases(capacity, "--capacity")
    arriving, waits = phases(rate, "--rate"), parse_count(backlog, "--backlog")
    level = None
    if (size is None) != (free is None):
        raise ConfigurationError("when a disk is full takes both --size and --free")
    if size is not None and free is not None:
        level = parse_size(free, "--free") / above_zero(parse_size(size, "--size"), "--size", "1KiB")
    if len(arriving) == len(handled) == 1 and level is None:
        _steadily(waits, arriving[0].per_s, handled[0].per_s, plot, as_json=as_json)
    else:
        _as_it_changes(course(arriving, handled, messages=waits), level, plot, as_json=as_json)


def phases(text: str, name: str) -> list[Phase]:
    """Return rates that change, as typed: `5k/s for 1h, 2k/s to 0/s for 30min, 500/s`.

    Raises:
        ConfigurationError: A phase but the last has no end, or the last has one.
        ModelError: A rate or a time is none.
    """
    found = []
    parts = [part.strip() for part in text.split(",")]
    for number, part in enumerate(parts):
        match = _PHASE.fullmatch(part)
        if match is None:
            raise ConfigurationError(f"{name} {text!r}: write '5k/s for 1h, 500/s'")
        last = number == len(parts) - 1
        if last is (match["time"] is not None):
            raise ConfigurationError(
                f"{name} {text!r}: "
                + (
                    "the last rate goes on, so write it without 'for'"
                    if last
                    else f"for how long is {part!r}?"
                )
            )
        found.append(
            Phase(
                parse_rate(match["rate"], name),
                math.inf if match["time"] is None else parse_time(match["time"], name),
                None if match["until"] is None else parse_rate(match["until"], name),
            )
        )
    return found


def _steadily(messages: float, rate: float, capacity: float, plot: Path | None, *, as_json: bool) -> None:
    found = drain(messages, rate, capacity)
    facts: dict[str, object] = {
        "model": found.model,
        "trust": found.trust.value,
        "drained_s": found.seconds,
        "deviation_s": found.deviation_s,
        "peak": messages,
    }
    sentence = "rates stay as they are; the mean, for Poisson arrivals at consumers that are all busy"
    present(about(found.model, found.trust, sentence), found.steps(), as_json=as_json, facts=facts)
    if plot is not None:
        draw(model_pictures.course(course([Phase(rate)], [Phase(capacity)], messages=messages), None), plot)


def _as_it_changes(found: Course, level: float | None, plot: Path | None, *, as_json: bool) -> None:
    (peak_at, peak), gone = found.peak, found.drained()
    full = None if level is None else found.reaches(level)
    steps = [
        _step("largest backlog", "where what arrives meets what is handled", peak, "messages", found),
        _step("which is after", "", peak_at, "s", found),
        _step("drained after", "where the area is used up", math.inf if gone is None else gone, "s", found),
    ]
    if level is not None:
        steps += [
            _step("messages that the disk holds", "free / m", level, "messages", found),
            _step(
                "full after",
                "where the backlog is that large",
                math.inf if full is None else full,
                "s",
                found,
            ),
        ]
    facts: dict[str, object] = {
        "model": found.model,
        "trust": found.trust.value,
        "drained_s": gone,
        "peak": peak if math.isfinite(peak) else None,
        "peak_s": peak_at if math.isfinite(peak_at) else None,
        "full_s": full,
    }
    remark = "it is never drained: in the end as much arrives as is handled, or more" if gone is None else ""
    sentence = "messages as a fluid that runs in and out, without chance"
    present(about(found.model, found.trust, sentence), steps, as_json=as_json, facts=facts, remark=remark)
    if plot is not None:
        draw(model_pictures.course(found, level), plot)


def _step(name: str, formula: str, value: float, unit: str, found: Course) -> Step:
    return Step(name=name, formula=formula, numbers="", value=value, unit=unit, trust=found.trust)
