"""When a process that ended is started again: a pure decision, as for messages.

A process that had run for `QUICK_DEATH_S` is started again at once. One that dies sooner is started again at once
the first time, then after pauses that double; after `QUICK_DEATHS_MAX` quick deaths in a row its supervisor gives up.
"""

from __future__ import annotations

from dataclasses import dataclass

from .limits import QUICK_DEATH_S, QUICK_DEATHS_MAX, RESTART_DELAY_S


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often in a row a process died quickly, and what follows from it."""

    quick_deaths: int = 0

    def died(self, lived_s: float) -> Restarts:
        """Return what is known after a death, `lived_s` seconds after the start."""
        return Restarts(self.quick_deaths + 1) if lived_s < QUICK_DEATH_S else Restarts()

    @property
    def hopeless(self) -> bool:
        """Whether starting it again is pointless."""
        return self.quick_deaths >= QUICK_DEATHS_MAX

    @property
    def delay_s(self) -> float:
        """Pause before the next start, in seconds."""
        if self.quick_deaths < 2:
            return 0.0
        return RESTART_DELAY_S * 2.0 ** (self.quick_deaths - 2)
