"""The pictures of `waystation model … --plot`: which curves answer each question."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from waystation.queueing import (
    Closed,
    Course,
    ModelError,
    Queue,
    Scalability,
    Sizing,
    Transfer,
    show,
    transfer,
)
from waystation.queueing.units import digits

from .chart import Axis, Chart, Mark, Point, Series

#: Points of a curve: one for every four pixels or so.
_POINTS = 120

#: Units of an axis of times, the largest first.
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def waiting(found: Queue, at: Callable[[float], Queue]) -> Chart:
    """Return times against utilisation, for the same consumers and handling times at other arrival rates."""
    here = found.load_erlangs / found.servers
    loads = _near_one(here) if found.places is None else _between(0.01, max(1.5, here * 1.2), _POINTS)
    curves: dict[str, list[Point]] = {"mean wait": [], "mean time": [], "p90 of time": [], "p99 of time": []}
    for load in loads:
        each = at(load * found.servers / found.service_s)
        curves["mean wait"].append((load, each.wait.mean_s))
        curves["mean time"].append((load, each.sojourn.mean_s))
        curves["p90 of time"].append((load, each.sojourn.percentile_s(90)))
        curves["p99 of time"].append((load, each.sojourn.percentile_s(99)))
    mean, tail = found.sojourn.mean_s, found.sojourn.percentile_s(99)
    top = max(2 * tail, 3 * curves["p99 of time"][0][1]) if found.places is None else None
    return Chart(
        title=f"Time against utilisation, {found.model}",
        note=f"handling {show(found.service_s, 's')} in the mean, {found.servers:,} at a time; here "
        f"{show(found.arrivals_per_s, '1/s')}",
        x=Axis(
            label="offered load per consumer, E / c",
            show=lambda value: show(value, "share"),
            low=0.0,
            high=1.0 if found.places is None else None,
        ),
        y=_time_axis("time", top, [seconds for _, seconds in curves["p99 of time"]]),
        series=[Series(label=name, points=points) for name, points in curves.items()],
        marks=[
            Mark(x=here, text=f"{show(here, 'share')}"),
            Mark(x=here, y=mean, text=f"mean {show(mean, 's')}"),
            Mark(x=here, y=tail, text=f"p99 {show(tail, 's')}"),
        ],
    )


def sizes(found: Sizing, other: Callable[[int], Queue]) -> Chart:
    """Return what a wish is about against the number of consumers, and how busy they are."""
    wish, enough = found.wish, found.servers
    fewest = math.floor(found.queue.load_erlangs) + 1
    spread = max(6, math.ceil(1.5 * (enough - fewest + 1)))
    points = []
    for servers in range(fewest, enough + spread + 1):
        if spread < 200 or servers % (spread // 100) == 0 or servers == enough:
            try:
                points.append((float(servers), wish.measured(other(servers))))
            except ModelError:  # as good as overloaded
                continue
    top = min(3 * wish.limit_s, 1.1 * max(wish.limit_s, *(seconds for _, seconds in points)))
    what = "mean" if wish.percentile is None else f"p{wish.percentile:g}"
    name = f"{what} {'wait' if wish.of == 'wait' else 'time in system'}"
    return Chart(
        title=f"{enough:,} consumers keep {wish}",
        note=f"{show(found.queue.arrivals_per_s, '1/s')} of {show(found.queue.service_s, 's')}: "
        f"{show(found.queue.load_erlangs, 'Erlang')}; {found.model}",
        x=Axis(label="consumers", show=lambda value: f"{value:,.0f}" if value == int(value) else ""),
        y=_time_axis(name, top),
        series=[Series(label=name, points=points, beads=len(points) < 60)],
        marks=[
            Mark(y=wish.limit_s, text=f"limit {show(wish.limit_s, 's')}"),
            Mark(
                x=float(enough),
                y=found.reached_s,
                text=f"{enough:,}: {show(found.reached_s, 's')}",
                below=True,
            ),
        ],
    )


def batches(found: Transfer) -> Chart:
    """Return throughput against the size of a batch, waiting for each confirmation and not waiting."""
    top = max(10.0, float(found.batch) * 10, 1000.0)
    sizes_ = sorted({round(10 ** (math.log10(top) * step / 60)) for step in range(61)})
    kinds: list[tuple[str, int | None]] = [("each batch confirmed before the next", 1), ("no waiting", None)]
    if found.in_flight not in (1, None):
        kinds.insert(1, (f"{found.in_flight} unconfirmed", found.in_flight))

    def rate(size: int, window: int | None) -> float:
        one = transfer(
            max(found.messages, 1000 * size),
            found.message_bytes,
            found.line,
            batch=size,
            in_flight=window,
            overhead=found.overhead,
        )
        return size / one.cycle_s

    here = found.batch / found.cycle_s
    return Chart(
        title="Throughput against the size of a batch",
        note=f"{show(found.message_bytes, 'B')} each over {show(found.line.bandwidth_bytes_per_s, 'bandwidth')}, "
        f"{show(found.line.delay_s, 's')} one way",
        x=Axis(label="messages in a batch", show=lambda value: f"{value:,.0f}", low=1.0, high=top, log=True),
        y=Axis(label="messages per second", show=_rate, log=True),
        series=[
            Series(label=name, points=[(float(size), rate(size, window)) for size in sizes_])
            for name, window in kinds
        ],
        marks=[Mark(x=float(found.batch), y=here, text=f"{show(here, '1/s')}, by {found.bound_by}")],
    )


def closed_system(found: Closed) -> Chart:
    """Return the bound of a closed system against its clients."""
    last = max(2.2 * found.knee, 1.3 * found.clients)
    bound = [(0.0, 0.0), (found.knee, found.by_servers_per_s), (last, found.by_servers_per_s)]
    return Chart(
        title="What clients can get out of consumers",
        note=f"X ≤ min(N / (Z + R), c / S): {found.servers:,} consumers, handling {show(found.service_s, 's')}, "
        f"thinking {show(found.think_s, 's')}",
        x=Axis(label="clients", show=lambda value: f"{value:,.0f}", low=0.0),
        y=Axis(
            label="answers per second",
            show=_rate,
            low=0.0,
            high=1.15 * found.by_servers_per_s,
        ),
        series=[Series(label="at most", points=bound)],
        marks=[
            Mark(x=found.knee, text=f"knee: {show(found.knee)} clients"),
            Mark(
                x=float(found.clients),
                y=found.at_most_per_s,
                text=f"{found.clients:,}: ≤ {show(found.at_most_per_s, '1/s')}",
            ),
        ],
    )


def scalability(found: Scalability) -> Chart:
    """Return measured throughput, the law that fits it, and what it would be if nothing were shared."""
    most = max(workers for workers, _ in found.points)
    last = max(1.4 * most, min(1.6 * found.peak, 3 * most))
    curve = [(n, found.at(n)) for n in _between(min(1.0, found.points[0][0]), last, _POINTS)]
    highest = max(per_s for _, per_s in (*found.points, *curve))
    marks = []
    if math.isfinite(found.peak) and found.peak <= last:
        marks.append(
            Mark(
                x=found.peak,
                y=found.peak_per_s,
                text=f"peak {show(found.peak_per_s, '1/s')} at {found.peak:,.0f}",
            )
        )
    return Chart(
        title="Throughput against consumers",
        note=f"X(N) = γ·N / (1 + α·(N − 1) + β·N·(N − 1)): γ = {show(found.one_per_s, '1/s')}, "
        f"α = {show(found.contention)}, β = {show(found.coherency)}",
        x=Axis(label="consumers", show=lambda value: f"{value:,.0f}", low=0.0, high=last),
        y=Axis(label="throughput", show=_rate, low=0.0, high=1.15 * highest),
        series=[
            Series(label="measured", points=found.points, dots=True),
            Series(label="Universal Scalability Law", points=curve),
            Series(label="N times one", points=[(0.0, 0.0), (last, last * found.one_per_s)]),
        ],
        marks=marks,
    )


def course(found: Course, level: float | None) -> Chart:
    """Return a backlog over time."""
    ends = [each.starts_s for each in found.stretches]
    gone, full = found.drained(), None if level is None else found.reaches(level)
    last = max([*ends, gone or 0.0, full or 0.0, 1.0]) * 1.12
    points = [
        (t, found.at(t)) for t in sorted({*_between(0, last, 240), *(end for end in ends if end < last)})
    ]
    (peak_at, peak) = found.peak
    marks = []
    if math.isfinite(peak) and peak > 0:
        marks.append(Mark(x=peak_at, y=peak, text=f"{show(round(peak))} after {show(peak_at, 's')}"))
    if gone:
        marks.append(Mark(x=gone, y=0.0, text=f"gone after {show(gone, 's')}"))
    if level is not None and full is not None:
        marks.append(Mark(y=level, text=f"the disk is full: {show(round(level))}"))
    return Chart(
        title="A backlog over time",
        note="messages as a fluid that runs in and out",
        x=_time_axis("time", last),
        y=Axis(label="messages", show=_count, low=0.0),
        series=[Series(label="backlog", points=points)],
        marks=marks,
    )


def _between(low: float, high: float, count: int) -> Sequence[float]:
    return [low + (high - low) * number / (count - 1) for number in range(count)]


def _near_one(here: float) -> Sequence[float]:
    """Return utilisations: evenly at first, and closer and closer to one, where everything happens."""
    nearer = [1 - 10 ** (-1 - 3 * number / _POINTS) for number in range(1, _POINTS + 1)]
    return sorted({*_between(0.005, 0.9, 60), *nearer, here})


def _time_axis(label: str, high: float | None, values: Sequence[float] = ()) -> Axis:
    """Return an axis of times that begins at zero, all of whose numbers have one unit."""
    top = max((value for value in values if math.isfinite(value)), default=1.0) if high is None else high
    unit_s, name = next(
        (length, name) for length, name in _UNITS if top >= 2 * length or length == _UNITS[-1][0]
    )
    return Axis(
        label=label,
        show=lambda value: f"{digits(value / unit_s)} {name}" if value else "0",
        low=0.0,
        high=high,
        clock=True,
    )


def _count(value: float) -> str:
    for size, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= 10 * size or (abs(value) >= size > 1e3):
            return f"{digits(value / size)}{name}"
    return digits(value)


def _rate(value: float) -> str:
    return "0" if value == 0 else show(value, "1/s")
