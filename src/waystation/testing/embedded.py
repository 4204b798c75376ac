"""A bus of the program under test, on a medium and under a clock of the test's choice."""

from __future__ import annotations

from typing import Self

from waystation import Bus

from .._core.ports import Clock, Transport


class EmbeddedBus(Bus):
    """A bus whose transport can be taken out, and put in."""

    @classmethod
    def over(cls, transport: Transport, *, clock: Clock, jitter: float = 0.0) -> Self:
        """Make a bus on a transport that is not open yet.

        Args:
            jitter: What every throw of its dice shows, from 0 up to 1.
        """
        bus = cls("memory://", clock=clock, random=lambda: jitter)
        bus._transports = [transport]
        return bus

    @property
    def transport(self) -> Transport:
        """The bus's one transport, not open unless the bus is."""
        return self._only
