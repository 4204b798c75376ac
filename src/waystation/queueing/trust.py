"""How far a number can be trusted, and the error for input that would make one up."""

from __future__ import annotations

import enum
import math


class Trust(enum.Enum):
    """What stands behind a number, provided that the assumptions of its model hold."""

    EXACT = "exact"
    APPROXIMATION = "approximation"
    BOUND = "bound"

    @property
    def sign(self) -> str:
        """Return what stands between a formula and its value: `=`, `≈` or `≤`."""
        return {Trust.EXACT: "=", Trust.APPROXIMATION: "≈", Trust.BOUND: "≤"}[self]


class ModelError(ValueError):
    """An assumption of a model does not hold for what was given. Nothing was computed.

    Attributes:
        assumption: What the model takes for granted.
        instead: What to give, or which model to use.
    """

    def __init__(self, assumption: str, *, found: str, instead: str) -> None:
        super().__init__(f"{assumption}, but {found}: {instead}")
        self.assumption = assumption
        self.instead = instead


def above_zero(value: float, name: str, example: str) -> float:
    """Return a finite number above zero, as a float.

    Args:
        name: Of the argument, for the error.
        example: What to give instead, for the error.

    Raises:
        ModelError: It is zero, negative, infinite or no number.
    """
    number = _number(value, name, example)
    if number <= 0:
        raise ModelError(f"{name} is above zero", found=f"{value!r} was given", instead=f"give {example}")
    return number


def zero_or_more(value: float, name: str, example: str) -> float:
    """Return a finite number of zero or more, as a float.

    Raises:
        ModelError: It is negative, infinite or no number.
    """
    number = _number(value, name, example)
    if number < 0:
        raise ModelError(f"{name} is zero or more", found=f"{value!r} was given", instead=f"give {example}")
    return number


def whole(value: int, name: str, *, at_least: int = 1, at_most: int) -> int:
    """Return a whole number within its limits.

    Raises:
        ModelError: It has a fraction, or is too small or too large.
    """
    number = _number(value, name, f"a whole number from {at_least:,} to {at_most:,}")
    if number != int(number) or not at_least <= number <= at_most:
        raise ModelError(
            f"{name} is a whole number from {at_least:,} to {at_most:,}",
            found=f"{value!r} was given",
            instead="give one of these",
        )
    return int(number)


def share(value: float, name: str, *, below_one: bool = False) -> float:
    """Return a share, from 0 to 1.

    Raises:
        ModelError: It is outside, or one where that makes no sense.
    """
    number = _number(value, name, "a share such as 0.05")
    if not 0 <= number <= 1 or (below_one and number == 1):
        limit = "below 1" if below_one else "at most 1"
        raise ModelError(
            f"{name} is a share, zero or more and {limit}",
            found=f"{value!r} was given",
            instead="give 0.05 for five in a hundred",
        )
    return number


def percent(value: float) -> float:
    """Return a percentile's number, from 1 up to but not including 100.

    Raises:
        ModelError: It is 100, which no time without a limit has, or outside, or a share such as 0.99.
    """
    number = _number(value, "a percentile", "99")
    if number >= 100:
        raise ModelError(
            "a percentile is below 100, since what all messages stay under is not bounded",
            found=f"{value!r} was given",
            instead="give 99, 99.9 or 99.99",
        )
    if number < 1:
        raise ModelError(
            "a percentile is from 1 to below 100",
            found=f"{value!r} was given",
            instead=f"give {number * 100:g} if a share was meant" if 0 < number < 1 else "give 99",
        )
    return number


def _number(value: float, name: str, example: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise ModelError(
            f"{name} is a finite number", found=f"{value!r} was given", instead=f"give {example}"
        )
    return number
