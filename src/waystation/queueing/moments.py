"""What a model wants to know of measured times: their mean, and how much they vary."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .trust import ModelError, zero_or_more


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """Mean and spread of measured times.

    Attributes:
        count: How many there were.
        mean_s: Their mean.
        cv2: Their squared coefficient of variation: variance over squared mean. Half of the measurements may well say
            something else, so take a thousand where times vary a lot.
    """

    count: int
    mean_s: float
    cv2: float


def variation(times_s: Iterable[float]) -> Variation:
    """Return mean and squared coefficient of variation of measured times: of handling, or between arrivals.

    Raises:
        ModelError: Fewer than two times, a negative one, or none above zero.
    """
    times = [zero_or_more(each, "a time", "seconds") for each in times_s]
    mean = math.fsum(times) / len(times) if times else 0.0
    if len(times) < 2 or mean == 0:
        raise ModelError(
            "a variation is measured by at least two times, not all of them zero",
            found=f"there are {len(times)}, with a mean of {mean:g} s",
            instead="measure more",
        )
    variance = math.fsum((each - mean) ** 2 for each in times) / (len(times) - 1)
    return Variation(count=len(times), mean_s=mean, cv2=variance / mean**2)
