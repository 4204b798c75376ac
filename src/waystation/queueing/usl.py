"""The Universal Scalability Law: what more workers bring, fitted to what was measured.

    X(N) = γ·N / (1 + α·(N − 1) + β·N·(N − 1))

γ is the throughput of one, α what they wait for each other (contention, Amdahl's law), β what they cost each other
(coherency), because of which throughput has a peak and falls beyond it (Gunther, Guerrilla Capacity Planning, 2007).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from .steps import Step
from .trust import ModelError, Trust, above_zero
from .units import digits, show_rate

#: Different numbers of workers that a fit needs: with as many as it has parameters every curve fits, and says nothing.
POINTS_MIN: Final = 4

#: Steps after which a fit that has not settled stops; it takes about ten.
_STEPS_MAX: Final = 500

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalability:
    """A fitted law. An approximation, and a guess beyond what was measured.

    Attributes:
        one_per_s: γ, the throughput of one worker, by the fit.
        contention: α, zero or more.
        coherency: β, zero or more.
        points: What was measured: (workers, throughput).
        r_squared: Share of the points' variance that the law explains.
    """

    one_per_s: float
    contention: float
    coherency: float
    points: tuple[Point, ...]
    r_squared: float
    model: str = "Universal Scalability Law"
    trust: Trust = Trust.APPROXIMATION

    def at(self, workers: float) -> float:
        """Return the throughput of so many workers, by the law.

        Raises:
            ModelError: A number that is not above zero.
        """
        return self.one_per_s * _gain(above_zero(workers, "workers", "8"), self.contention, self.coherency)

    @property
    def peak(self) -> float:
        """The number of workers with the highest throughput, √((1 − α) / β); infinite if there is none."""
        if self.contention >= 1:
            return 1.0
        return math.sqrt((1 - self.contention) / self.coherency) if self.coherency else math.inf

    @property
    def peak_per_s(self) -> float:
        """The highest throughput: at the peak, or γ / α, which Amdahl's law only comes near to."""
        if math.isfinite(self.peak):
            return self.at(max(1.0, self.peak))
        return self.one_per_s / self.contention if self.contention else math.inf

    @property
    def peak_was_measured(self) -> bool:
        """Whether the peak lies within the measured points; beyond them it is a guess."""
        return self.peak <= max(workers for workers, _ in self.points)

    @property
    def worst_error(self) -> float:
        """The largest difference between a point and the law, as a share of the point."""
        return max(abs(self.at(workers) / measured - 1) for workers, measured in self.points)

    def steps(self) -> tuple[Step, ...]:
        """Return what was found, line by line."""
        law = "γ·N / (1 + α·(N − 1) + β·N·(N − 1))"
        many = f"{len(self.points)} points"
        given = Trust.APPROXIMATION
        return (
            Step(name="one worker", formula="γ", numbers=many, value=self.one_per_s, unit="1/s", trust=given),
            Step(name="contention", formula="α", numbers=many, value=self.contention, unit="", trust=given),
            Step(name="coherency", formula="β", numbers=many, value=self.coherency, unit="", trust=given),
            Step(
                name="workers at the peak" + ("" if self.peak_was_measured else ", not measured"),
                formula="√((1 − α) / β)",
                numbers=f"√((1 − {digits(self.contention)}) / {digits(self.coherency)})",
                value=self.peak,
                unit="",
                trust=given,
            ),
            Step(
                name="throughput there",
                formula=law,
                numbers=f"N = {digits(self.peak)}, γ = {show_rate(self.one_per_s)}",
                value=self.peak_per_s,
                unit="1/s",
                trust=given,
            ),
            Step(
                name="farthest point from the law",
                formula="max |law / measured − 1|",
                numbers=f"R² = {digits(self.r_squared, 4)}",
                value=self.worst_error,
                unit="share",
            ),
        )


def fit_scalability(points: Sequence[Point]) -> Scalability:
    """Return the law that fits measured throughputs best, by least squares, with α and β zero or more.

    Args:
        points: (workers, throughput) of each measurement.

    Raises:
        ModelError: Fewer than four different numbers of workers, or a number that is not above zero.
    """
    measured = tuple(
        (above_zero(workers, "workers", "8"), above_zero(per_s, "throughput", "1800.0"))
        for workers, per_s in points
    )
    different = len({workers for workers, _ in measured})
    if different < POINTS_MIN:
        raise ModelError(
            f"a law with three parameters is fitted to at least {POINTS_MIN} numbers of workers",
            found=f"there are {different}",
            instead="measure more of them, from one worker to beyond the number that you mean to use",
        )
    scale = max(per_s for _, per_s in measured)
    scaled = [(workers, per_s / scale) for workers, per_s in measured]
    alpha, beta = _best(scaled)
    gamma = _one(scaled, alpha, beta)
    mean = math.fsum(per_s for _, per_s in scaled) / len(scaled)
    spread = math.fsum((per_s - mean) ** 2 for _, per_s in scaled)
    left = _misfit(scaled, alpha, beta)
    return Scalability(
        one_per_s=gamma * scale,
        contention=alpha,
        coherency=beta,
        points=tuple(sorted(measured)),
        r_squared=1 - left / spread if spread > 0 else float(left < 1e-18),
    )


def _gain(workers: float, alpha: float, beta: float) -> float:
    return workers / (1 + alpha * (workers - 1) + beta * workers * (workers - 1))


def _one(points: Sequence[Point], alpha: float, beta: float) -> float:
    """Return the best γ for given α and β: a plain proportion."""
    gains = [_gain(workers, alpha, beta) for workers, _ in points]
    return math.fsum(g * x for g, (_, x) in zip(gains, points, strict=True)) / math.fsum(g * g for g in gains)


def _misfit(points: Sequence[Point], alpha: float, beta: float) -> float:
    gamma = _one(points, alpha, beta)
    return math.fsum((x - gamma * _gain(workers, alpha, beta)) ** 2 for workers, x in points)


def _best(points: Sequence[Point]) -> tuple[float, float]:
    """Return the best pair of all: in the corner of the allowed region, on its two edges, or inside.

    A parameter that explains nothing is zero, and not 1e-18.
    """
    found = [
        *_descend(points, lambda a, _: (a, 0.0), (0.05, 0.0)),
        *_descend(points, lambda _, b: (0.0, b), (0.0, 1e-4)),
        *_descend(points, lambda a, b: (a, b), (0.05, 1e-4)),
    ]
    noticed = 1e-14 * math.fsum(x * x for _, x in points)
    best, left = (0.0, 0.0), _misfit(points, 0.0, 0.0)
    for pair in found:
        if min(pair) >= 0 and (misfit := _misfit(points, *pair)) < left - noticed:
            best, left = pair, misfit
    return best


def _descend(
    points: Sequence[Point], place: Callable[[float, float], tuple[float, float]], start: tuple[float, float]
) -> list[tuple[float, float]]:
    """Return where least squares end from several starts, by Levenberg and Marquardt's method."""
    return [_levenberg(points, place, (start[0] * factor, start[1] * factor)) for factor in (0.01, 1.0, 20.0)]


def _levenberg(
    points: Sequence[Point], place: Callable[[float, float], tuple[float, float]], start: tuple[float, float]
) -> tuple[float, float]:
    at, damping = place(*start), 1e-3
    value = _misfit(points, *at)
    for _ in range(_STEPS_MAX):
        step = _step(points, at, damping, place)
        tried = place(at[0] + step[0], at[1] + step[1])
        better = _misfit(points, *tried) if _sound(points, *tried) else math.inf
        if better < value:
            done = value - better <= 1e-15 * value and damping < 1e-6
            at, value, damping = tried, better, max(1e-12, damping / 5)
            if done:
                break
        elif damping > 1e12:
            break
        else:
            damping *= 4
    return at


def _sound(points: Sequence[Point], alpha: float, beta: float) -> bool:
    """Whether the law is positive at all points."""
    return all(1 + alpha * (n - 1) + beta * n * (n - 1) > 1e-9 for n, _ in points)


def _step(
    points: Sequence[Point],
    at: tuple[float, float],
    damping: float,
    place: Callable[[float, float], tuple[float, float]],
) -> tuple[float, float]:
    """Return the damped Gauss-Newton step for α and β, with γ following along (variable projection)."""
    alpha, beta = at
    gains = [_gain(n, alpha, beta) for n, _ in points]
    gamma = _one(points, alpha, beta)
    norm = math.fsum(g * g for g in gains)
    left = [x - gamma * g for g, (_, x) in zip(gains, points, strict=True)]
    slopes = []
    for factor in ([n - 1 for n, _ in points], [n * (n - 1) for n, _ in points]):
        raw = [-gamma * g * g * f / n for g, f, (n, _) in zip(gains, factor, points, strict=True)]
        along = math.fsum(r * g for r, g in zip(raw, gains, strict=True)) / norm
        slopes.append([r - along * g for r, g in zip(raw, gains, strict=True)])
    first, second = slopes
    free = place(1.0, 1.0)
    aa = math.fsum(a * a for a in first) * (1 + damping) if free[0] else 1.0
    bb = math.fsum(b * b for b in second) * (1 + damping) if free[1] else 1.0
    ab = math.fsum(a * b for a, b in zip(first, second, strict=True)) if free[0] and free[1] else 0.0
    ar = math.fsum(a * r for a, r in zip(first, left, strict=True)) if free[0] else 0.0
    br = math.fsum(b * r for b, r in zip(second, left, strict=True)) if free[1] else 0.0
    determinant = aa * bb - ab * ab
    if determinant <= 0:
        return 0.0, 0.0
    return (ar * bb - br * ab) / determinant, (br * aa - ar * ab) / determinant
