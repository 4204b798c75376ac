"""The pictures of docs/queueing.md, drawn by the models that it explains; `python -m scripts.docs` writes them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from waystation.cli import model_pictures
from waystation.cli.chart import Axis, Chart, Mark, Point, Series
from waystation.queueing import (
    Line,
    Overhead,
    Phase,
    closed,
    course,
    fit_scalability,
    md1,
    mg1,
    mm1,
    mmc,
    retried,
    servers_for,
    show,
    transfer,
)

FOLDER: Final = Path("docs") / "queueing"

#: SPEC SDM91 on a SPARCcenter 2000, October 1994: users, and scripts per hour.
SDM91: Final = (
    (1, 64.9),
    (18, 995.9),
    (36, 1652.4),
    (72, 1853.2),
    (108, 1828.9),
    (144, 1775.0),
    (216, 1702.2),
)


def outdated(root: Path) -> Iterator[tuple[Path, str]]:
    """Pictures that differ from what the models draw, with what they should be; none where there is no such folder."""
    if (root / FOLDER).is_dir():
        for name, chart in FIGURES.items():
            file, fresh = root / FOLDER / f"{name}.svg", chart().svg()
            if not file.exists() or file.read_text(encoding="utf-8") != fresh:
                yield file, fresh


def _number(value: float) -> str:
    return f"{value:g}"


def _share(value: float) -> str:
    return show(value, "share")


def little() -> Chart:
    """Arrivals and departures of a queue, one message after the other: the area between them is Little's law."""
    chance = random.Random(176)
    arrivals, departures, now, free = [0.0], [0.0], 0.0, 0.0
    while now < 16:
        now += chance.expovariate(0.8)
        free = max(free, now) + chance.expovariate(1.0)
        arrivals.append(now)
        departures.append(free)
    longest = max(range(len(arrivals)), key=lambda number: departures[number] - arrivals[number])
    height, at = longest - 0.5, (arrivals[longest] + departures[longest]) / 2
    here = [sum(each <= at for each in times) - 1.0 for times in (departures, arrivals)]
    return Chart(
        title="Little's law: the area between what has come and what is done",
        note="across it is each message's time in the system, upward the number of messages that are there",
        x=Axis(label="time, in handling times", show=_number, low=0.0, high=16.0),
        y=Axis(label="messages so far", show=_number, low=0.0, high=14.0),
        series=[
            Series(label="arrived", points=_staircase(arrivals)),
            Series(label="done", points=_staircase(departures)),
            Series(
                label=f"W: the time of message {longest}",
                points=[(arrivals[longest], height), (departures[longest], height)],
                beads=True,
            ),
            Series(label="L: the messages at one time", points=[(at, each) for each in here], beads=True),
        ],
    )


def _staircase(times: Sequence[float]) -> list[Point]:
    points: list[Point] = []
    for count, time in enumerate(times):
        points += [(time, float(max(0, count - 1))), (time, float(count))]
    return [*points, (times[-1] + 20, float(len(times) - 1))]


def batches() -> Chart:
    """Throughput against the size of a batch."""
    line = Line(bandwidth_bytes_per_s=125e6, delay_s=0.005)
    overhead = Overhead(message_s=2e-6, batch_s=1e-3)
    return model_pictures.batches(transfer(1_000_000, 1024, line, batch=100, in_flight=1, overhead=overhead))


def rush() -> Chart:
    """A backlog over a rush hour."""
    arrivals = [Phase(1500, 1800), Phase(1500, 3600, 5000), Phase(5000, 3600, 1500), Phase(1500)]
    return model_pictures.course(course(arrivals, [Phase(3000)]), None)


def clients() -> Chart:
    """The bound of a closed system."""
    return model_pictures.closed_system(closed(60, 0.035, 4, think_s=1.0))


def scalability() -> Chart:
    """The law that fits a measured system."""
    return model_pictures.scalability(
        fit_scalability([(users, per_hour / 3600) for users, per_hour in SDM91])
    )


def utilisation() -> Chart:
    """The wait at one consumer against its utilisation, for handling times that vary more or less."""
    loads = [0.97 * number / 100 for number in range(1, 101)]
    kinds: dict[str, float] = {
        "constant (cv² = 0)": 0.0,
        "exponential (cv² = 1)": 1.0,
        "varied (cv² = 4)": 4.0,
    }
    return Chart(
        title="Why not 100 %: the mean wait at one consumer",
        note="W = ρ·S·(1 + cv²) / (2·(1 − ρ)), in handling times",
        x=Axis(label="utilisation ρ", show=_share, low=0.0, high=1.0),
        y=Axis(label="mean wait, in handling times", show=_number, low=0.0, high=20.0),
        series=[
            Series(label=name, points=[(load, mg1(load, 1.0, service_cv2=cv2).wait.mean_s) for load in loads])
            for name, cv2 in kinds.items()
        ],
        marks=[
            Mark(x=0.8, y=mm1(0.8, 1.0).wait.mean_s, text="4 at 80 %"),
            Mark(x=0.9, y=mm1(0.9, 1.0).wait.mean_s, text="9 at 90 %"),
        ],
    )


def tails() -> Chart:
    """How likely a time in the system is to be longer, on a logarithmic scale."""
    times = [number / 5 for number in range(201)]
    kinds = {
        "constant (cv² = 0)": md1(0.8, 1.0).sojourn,
        "exponential (cv² = 1)": mm1(0.8, 1.0).sojourn,
        "varied (cv² = 4)": mg1(0.8, 1.0, service_cv2=4).sojourn,
    }
    return Chart(
        title="Percentiles: how many take longer than t, at a utilisation of 80 %",
        note="a straight line is an exponential tail; where it crosses 1 % is the p99",
        x=Axis(label="time in the system t, in handling times", show=_number, low=0.0, high=40.0),
        y=Axis(label="share that takes longer", show=_share, low=1e-3, high=1.0, log=True),
        series=[
            Series(label=name, points=[(each, delay.exceeds(each)) for each in times])
            for name, delay in kinds.items()
        ],
        marks=[Mark(y=0.01, text="p99")],
    )


def pooling() -> Chart:
    """The wait against the number of consumers that share a queue, at the same utilisation."""
    counts = range(1, 41)
    return Chart(
        title="Consumers that share one queue wait less, at the same utilisation",
        note="p99 of the wait in M/M/c, in handling times",
        x=Axis(label="consumers c", show=_number, low=0.0, high=40.0),
        y=Axis(label="p99 of the wait, in handling times", show=_number, low=0.0, high=25.0),
        series=[
            Series(
                label=f"ρ = {_share(load)}",
                points=[
                    (float(count), mmc(load * count, 1.0, count).wait.percentile_s(99)) for count in counts
                ],
            )
            for load in (0.95, 0.9, 0.8, 0.5)
        ],
    )


def sizes() -> Chart:
    """The p99 against the number of consumers, and the smallest number that keeps a wish."""
    found = servers_for("p99<500ms", 200, 0.1)
    return model_pictures.sizes(found, lambda servers: mmc(200, 0.1, servers))


def retries() -> Chart:
    """What retries make of a load, against the share of attempts that fail."""
    shares = [number / 100 for number in range(101)]
    return Chart(
        title="Retries amplify a load, most of all when everything fails",
        note="A = (1 − fⁿ) / (1 − f) attempts per message, with at most n",
        x=Axis(label="share of attempts that fail, f", show=_share, low=0.0, high=1.0),
        y=Axis(label="attempts per message, A", show=_number, low=0.0, high=10.0),
        series=[
            Series(
                label=f"n = {most}",
                points=[(f, retried(1, fails=f, attempts_max=most).amplification) for f in shares],
            )
            for most in (10, 5, 3)
        ],
    )


FIGURES: Final[dict[str, Callable[[], Chart]]] = {
    each.__name__: each
    for each in (little, batches, rush, clients, scalability, utilisation, tails, pooling, sizes, retries)
}
