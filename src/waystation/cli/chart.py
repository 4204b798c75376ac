"""Line charts as SVG, with nothing but the standard library: axes with units, a legend, marks, and room for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

#: Of the picture, in pixels at its natural size; it scales to any other.
_WIDTH: Final = 760
_HEIGHT: Final = 430
_LEFT: Final = 84
_RIGHT: Final = 28
_TOP: Final = 92
_BOTTOM: Final = 62

#: Told apart by people who see colours differently, and in print.
COLOURS: Final = ("#2563eb", "#ea580c", "#059669", "#9333ea", "#b91c1c", "#0f766e")
_DASHES: Final = ("", "7 4", "2 4", "10 3 2 3", "", "7 4")

#: Width of a character of the legend, roughly, in pixels.
_CHARACTER: Final = 6.6

_STYLE: Final = (
    "text{fill:#334155;font-size:12px}.title{font-size:16px;font-weight:600;fill:#0f172a}.note{fill:#64748b}"
    ".grid{stroke:#e2e8f0;stroke-width:1}.axis{stroke:#64748b;stroke-width:1}"
    ".mark{stroke:#94a3b8;stroke-width:1.2;stroke-dasharray:4 4}.halo{paint-order:stroke;stroke:#fff;stroke-width:4px}"
)

_ATTRIBUTES: Final = (
    'role="img" aria-labelledby="t d" font-family="system-ui, -apple-system, Segoe UI, Roboto, sans-serif"'
)
_CLIP: Final = (
    f'<clipPath id="c"><rect x="{_LEFT}" y="{_TOP - 4}" width="{_WIDTH - _LEFT - _RIGHT}" '
    f'height="{_HEIGHT - _TOP - _BOTTOM + 8}"/></clipPath>'
)

#: Steps of a clock, in seconds: up to half an hour, hours, days.
_CLOCK_S: Final = (
    *(10, 15, 30, 60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800),
)

Point = tuple[float, float]
Show = Callable[[float], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What one direction means.

    Attributes:
        label: What is shown, such as "utilisation".
        show: Turns a value into the text beside a tick.
        low: Where it begins; None for where the values do.
        high: Where it ends; curves that go beyond are cut off there.
        log: Whether each step multiplies, and not adds.
        clock: Whether it is a time in seconds, whose round numbers are those of a clock.
    """

    label: str
    show: Show
    low: float | None = None
    high: float | None = None
    log: bool = False
    clock: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A curve, or points alone.

    Attributes:
        label: Its name in the legend.
        points: Where it goes through, from left to right.
        dots: Whether to draw dots and no line: what was measured.
        beads: Whether to draw a small dot at each point of the line, where there is nothing between them.
    """

    label: str
    points: Sequence[Point]
    dots: bool = False
    beads: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A place to look at: a line across at `x` or `y`, or a dot where both are given, with a text above or below."""

    text: str
    x: float | None = None
    y: float | None = None
    below: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A picture of one or several curves."""

    title: str
    note: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    marks: Sequence[Mark] = field(default_factory=tuple)

    def svg(self) -> str:
        """Return the picture."""
        across = _Scale.of(
            self.x, [x for each in self.series for x, _ in each.points], _LEFT, _WIDTH - _RIGHT
        )
        up = _Scale.of(self.y, [y for each in self.series for _, y in each.points], _HEIGHT - _BOTTOM, _TOP)
        what = f"{self.y.label} against {self.x.label}: " + ", ".join(each.label for each in self.series)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {_ATTRIBUTES}>',
            f'<title id="t">{escape(self.title)}</title><desc id="d">{escape(what)}</desc>',
            f"<style>{_STYLE}</style>{_CLIP}",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
            f'<text class="title" x="{_LEFT}" y="28">{escape(self.title)}</text>',
            f'<text class="note" x="{_LEFT}" y="47">{escape(self.note)}</text>',
            *self._axes(across, up),
            *self._legend(),
            *(line for number, each in enumerate(self.series) for line in _drawn(each, number, across, up)),
            *(line for mark in self.marks for line in _marked(mark, across, up)),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _axes(self, across: _Scale, up: _Scale) -> Iterator[str]:
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        for value in up.ticks():
            y = up.at(value)
            yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>'
            yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(self.y.show(value))}</text>'
        for value in across.ticks():
            x = across.at(value)
            yield f'<path class="axis" d="M{x:.1f} {bottom}v5"/>'
            yield f'<text x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{escape(self.x.show(value))}</text>'
        yield f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>'
        middle = (_LEFT + right) / 2
        yield f'<text x="{middle:.0f}" y="{_HEIGHT - 18}" text-anchor="middle">{escape(self.x.label)}</text>'
        centre = (_TOP + bottom) / 2
        yield (
            f'<text transform="translate(18 {centre:.0f}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y.label)}</text>"
        )

    def _legend(self) -> Iterator[str]:
        x = _LEFT + 0.0
        for number, each in enumerate(self.series):
            colour = COLOURS[number % len(COLOURS)]
            if each.dots:
                yield f'<circle cx="{x + 12:.0f}" cy="66" r="4" fill="{colour}"/>'
            else:
                dashes = _DASHES[number % len(_DASHES)]
                yield (
                    f'<path d="M{x:.0f} 66h24" fill="none" stroke="{colour}" stroke-width="2.4" '
                    f'stroke-dasharray="{dashes}"/>'
                )
            yield f'<text x="{x + 30:.0f}" y="70">{escape(each.label)}</text>'
            x += 30 + _CHARACTER * len(each.label) + 22


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to pixels."""

    low: float
    high: float
    log: bool
    clock: bool
    start: float
    end: float

    @classmethod
    def of(cls, axis: Axis, values: Sequence[float], start: float, end: float) -> _Scale:
        found = [value for value in values if math.isfinite(value) and (value > 0 or not axis.log)] or [
            0.0,
            1.0,
        ]
        low = min(found) if axis.low is None else axis.low
        high = max(found) if axis.high is None else axis.high
        if high <= low:
            high = low * 2 if low > 0 else low + 1
        if axis.high is None and not axis.log:
            step = _nice_step(low, high, clock=axis.clock)
            high = math.ceil(high / step - 1e-9) * step
        return cls(low, high, axis.log, axis.clock, start, end)

    def at(self, value: float) -> float:
        """Return the pixel of a value; far outside, one that is outside."""
        if self.log:
            share = math.log(max(value / self.low, 1e-3)) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * min(3.0, max(-3.0, share))

    def ticks(self) -> Iterator[float]:
        """Yield round numbers, not too many."""
        if self.log:
            digits = (1, 2, 5) if self.high / self.low < 300 else (1,)
            for power in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1):
                for digit in digits:
                    if self.low * (1 - 1e-9) <= digit * 10.0**power <= self.high * (1 + 1e-9):
                        yield digit * 10.0**power
            return
        step = _nice_step(self.low, self.high, clock=self.clock)
        first = math.ceil(self.low / step - 1e-9)
        for number in range(first, math.floor(self.high / step + 1e-9) + 1):
            yield round(number * step, 12)


def _nice_step(low: float, high: float, *, clock: bool) -> float:
    """Return 1, 2, 2.5 or 5 times a power of ten: the smallest with which there are six steps at most."""
    rough = (high - low) / 6
    if clock and 5 < rough <= _CLOCK_S[-1]:
        return next(step for step in _CLOCK_S if step >= rough * (1 - 1e-9))
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _drawn(series: Series, number: int, across: _Scale, up: _Scale) -> Iterator[str]:
    colour = COLOURS[number % len(COLOURS)]
    places = [(across.at(x), up.at(y)) for x, y in series.points if math.isfinite(y)]
    if series.dots:
        for x, y in places:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}" stroke="#fff"/>'
    elif places:
        path = f"M{places[0][0]:.1f} {places[0][1]:.1f}"
        for x, y in places[1:]:
            path += f"L{x:.1f} {y:.1f}"
        yield (
            f'<path clip-path="url(#c)" d="{path}" fill="none" stroke="{colour}" stroke-width="2.4" '
            f'stroke-linejoin="round" stroke-dasharray="{_DASHES[number % len(_DASHES)]}"/>'
        )
        if series.beads:
            dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
            yield f'<g clip-path="url(#c)" fill="{colour}">{dots}</g>'


def _marked(mark: Mark, across: _Scale, up: _Scale) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    text = escape(mark.text)
    if mark.x is not None and mark.y is not None:
        x, y = across.at(mark.x), min(max(up.at(mark.y), _TOP), bottom)
        left = x > (_LEFT + right) * 0.6
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#0f172a" stroke="#fff" stroke-width="1.5"/>'
        anchor, beside = ("end", x - 10) if left else ("start", x + 10)
        level = y + 20 if mark.below or y < _TOP + 24 else y - 10
        yield f'<text class="halo" x="{beside:.1f}" y="{level:.1f}" text-anchor="{anchor}">{text}</text>'
    elif mark.x is not None:
        x = across.at(mark.x)
        anchor, beside = ("end", x - 6) if x > (_LEFT + right) / 2 else ("start", x + 6)
        yield f'<path class="mark" d="M{x:.1f} {_TOP}V{bottom}"/>'
        yield f'<text class="halo" x="{beside:.1f}" y="{_TOP + 12}" text-anchor="{anchor}">{text}</text>'
    elif mark.y is not None:
        y = up.at(mark.y)
        yield f'<path class="mark" d="M{_LEFT} {y:.1f}H{right}"/>'
        yield f'<text class="halo" x="{right - 4}" y="{y - 6:.1f}" text-anchor="end">{text}</text>'
