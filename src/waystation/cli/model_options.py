"""Options that several `waystation model` commands share, how they are read, and how a calculation is shown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from waystation import ConfigurationError
from waystation.queueing import ModelError, Retries, Step, Trust, parse_rate, parse_share, parse_time, retried

from .chart import Chart
from .framework import Command
from .output import console, note, print_json, say, show_rows

#: How a table says how far to trust it.
TRUSTED = {Trust.EXACT: "exact", Trust.APPROXIMATION: "an approximation", Trust.BOUND: "a bound"}


def option(*names: str, metavar: str, text: str) -> Any:
    """Return an option that takes a text."""
    return typer.Option(*names, metavar=metavar, help=text, show_default=False)


Rate = Annotated[str, option("--rate", metavar="RATE", text="What arrives: 2k/s, 90/min.")]
Time = Annotated[str, option("--time", metavar="TIME", text="What handling one takes in the mean: 35ms.")]
Consumers = Annotated[
    int, typer.Option("--consumers", "-c", metavar="N", help="Messages handled at a time, by all.")
]
TimeVaries = Annotated[
    float,
    typer.Option(
        "--time-cv2",
        metavar="X",
        help="How much handling times vary, as variance over squared mean: 0 constant, 1 exponential.",
    ),
]
ArrivalsVary = Annotated[
    float,
    typer.Option(
        "--arrival-cv2", metavar="X", help="The same of the time between arrivals: 0 a clock, 1 independent."
    ),
]
Batch = Annotated[float, typer.Option("--batch", metavar="N", help="Messages that arrive at once.")]
Fail = Annotated[
    str | None, option("--fail", metavar="SHARE", text="Attempts that fail and are retried: 5%.")
]
Attempts = Annotated[
    int, typer.Option("--attempts", metavar="N", help="Attempts that a message has, the first included.")
]


def _picture(file: Path | None) -> Path | None:
    """Return the file, if it can hold an SVG.

    Raises:
        ConfigurationError: Its name ends otherwise.
    """
    if file is not None and file.suffix.lower() != ".svg":
        raise ConfigurationError(f"--plot {file}: the picture is an SVG, so give a name that ends in .svg")
    return file


Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw it, into a file that ends in .svg.",
        callback=_picture,
        show_default=False,
    ),
]


class ModelCommand(Command):
    """A command whose broken assumptions are told as wrong usage."""

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except ModelError as error:
            raise ConfigurationError(str(error)) from error


def above_zero(value: float, name: str, example: str) -> float:
    """Return a number above zero.

    Raises:
        ConfigurationError: It is zero.
    """
    if value <= 0:
        raise ConfigurationError(f"{name} is above zero: give {example}")
    return value


def taken(time: str) -> float:
    """Return what handling takes, as typed, in seconds.

    Raises:
        ConfigurationError: No time at all.
        ModelError: It is no time.
    """
    return above_zero(parse_time(time, "--time"), "--time", "35ms")


def with_retries(rate: str, fail: str | None, attempts: int) -> tuple[float, Retries | None]:
    """Return what arrives per second, retries included, and what they add.

    Raises:
        ModelError: A rate or a share that is none.
    """
    arrivals = above_zero(parse_rate(rate, "--rate"), "--rate", "2k/s")
    if fail is None:
        return arrivals, None
    found = retried(arrivals, fails=parse_share(fail, "--fail"), attempts_max=attempts)
    return found.attempts_per_s, found


def present(
    headline: str, steps: Sequence[Step], *, as_json: bool, facts: dict[str, object], remark: str = ""
) -> None:
    """Print a calculation: for people as a table with the numbers put in, for scripts as JSON.

    Args:
        headline: What was computed, by which model, and how far to trust it.
        facts: What scripts read, besides the steps.
        remark: What else to tell people, on a line of its own below.
    """
    if as_json:
        print_json({**facts, "steps": [_json(step) for step in steps]})
        return
    say(headline)
    console().print()
    rows = [
        {
            "": step.name,
            "formula": step.formula,
            "with the numbers": step.numbers,
            "value": f"{step.sign} {step.shown}",
        }
        for step in steps
    ]
    show_rows(rows, as_json=False, empty="")
    if remark:
        console().print()
        say(remark)


def about(model: str, trust: Trust, sentence: str) -> str:
    """Return the first line of a table: the model, how far to trust it, and what it takes for granted."""
    return f"{model}, {TRUSTED[trust]}: {sentence}"


def draw(chart: Chart, file: Path) -> None:
    """Write a picture, and say so on stderr.

    Raises:
        OSError: It cannot be written.
    """
    file.write_text(chart.svg(), encoding="utf-8")
    note(f"wrote {os.fspath(file)}")


def _json(step: Step) -> dict[str, object]:
    return {
        "name": step.name,
        "formula": step.formula,
        "numbers": step.numbers,
        "value": step.value if abs(step.value) != float("inf") else None,
        "unit": step.unit,
        "trust": step.trust.value,
    }
