"""The requester: asks for the status of one flight after the other while everything else goes on."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from waystation import Bus, NoResponder, RequestError, TransportError

from .app import STATUS, Ask, Status
from .verify import Answer

#: Pause between two requests, in seconds.
ASK_EVERY_S: Final = 0.1

#: How long an answer may take, in seconds.
ANSWER_S_MAX: Final = 10.0

#: Steps through the flights in an order that looks like chance and is the same in every run; a prime.
STRIDE: Final = 7919


class Requester:
    """Asks until told to stop, and keeps every answer for the closing table."""

    def __init__(self, bus: Bus, total: int) -> None:
        self._bus = bus
        self._total = total
        self.answers: list[Answer] = []

    async def run(self) -> None:
        """Ask again and again, until cancelled; the request under way is then left out."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            await self.ask(1 + len(self.answers) * STRIDE % self._total)

    async def ask(self, number: int, *, final: bool = False) -> None:
        """Ask for one flight. While nobody has ever answered, "nobody is there yet" does not count as an answer.

        Args:
            final: Whether the flight was certainly handled, so that it must be known.
        """
        begun = time.perf_counter()
        status: Status | str
        try:
            status = await self._bus.request(STATUS, Ask(number), timeout=ANSWER_S_MAX)
        except NoResponder:
            if not self.answers:
                return
            status = "nobody answers"
        except (RequestError, TransportError) as error:
            status = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - begun
        self.answers.append(Answer(number=number, status=status, seconds=seconds, final=final))

    def median_ms(self) -> float | None:
        """Return the median time to an answer, in milliseconds; None before the first."""
        times = sorted(answer.seconds for answer in self.answers)
        return times[len(times) // 2] * 1000 if times else None
