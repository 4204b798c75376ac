"""A calculation as a reader would do it on paper: the formula, the numbers put in, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

from .trust import Trust
from .units import show


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of a calculation.

    Attributes:
        name: What is computed: `utilisation`.
        formula: With symbols: `ρ = E / c`.
        numbers: The same with what was given put in: `7 / 8`.
        value: What comes out, in `unit`.
        unit: `s`, `1/s`, `B`, `B/s`, `share`, `Erlang`, or a word such as `messages`.
        trust: How far to trust the value.
        at_least: Of a bound: whether the truth is this or more, and not this or less.
    """

    name: str
    formula: str
    numbers: str
    value: float
    unit: str
    trust: Trust = Trust.EXACT
    at_least: bool = False

    @property
    def sign(self) -> str:
        """Return what stands before the value: `=`, `≈`, `≤` or `≥`."""
        return "≥" if self.trust is Trust.BOUND and self.at_least else self.trust.sign

    @property
    def shown(self) -> str:
        """Return the value as people read it."""
        return show(self.value, self.unit)

    def __str__(self) -> str:
        return f"{self.name}: {self.formula} = {self.numbers} {self.sign} {self.shown}"
