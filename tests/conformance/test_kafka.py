"""`kafka://` keeps the rules, on a real broker, by both protocols of groups."""

from __future__ import annotations

import asyncio
import time
from itertools import count

import pytest

from waystation._servers.desk import Server
from waystation.testing import VirtualClock
from waystation.testing.conformance import TransportConformance

_numbers = count()

#: How long a virtual second lasts, at most two of them at a time, in real seconds: a commit takes a broker 5 to 10 ms,
#: and what is to be punctual within a virtual second needs a few.
_SECOND_S = 0.06

#: How long a broker has for what becomes due at the end of a long time, in real seconds: to be sent and to be erased.
_LONG_S = 0.15


class PatientClock(VirtualClock):
    """A clock that stands still until a test moves it, and lets a broker do its work meanwhile.

    It begins today: what is older than its topic's retention is deleted by a broker, who goes by his own clock.
    """

    def __init__(self) -> None:
        super().__init__(float(round(time.time())))  # no rounding of its microseconds

    async def advance(self, delay_s: float) -> None:
        steps = min(8, max(1, round(delay_s / 0.25)))
        for _ in range(steps):
            await super().advance(delay_s / steps)
            await asyncio.sleep(min(delay_s, 2.0) * _SECOND_S / steps)
        if delay_s >= 10.0:
            await asyncio.sleep(_LONG_S)


class TestKafka(TransportConformance):
    options = "partitions=2"

    @pytest.fixture(autouse=True)
    def _prefix(self, kafka_server: Server) -> None:
        # What settled messages become is the topic's own business unless the URL says otherwise (C-31).
        self.url = f"{kafka_server.url}?prefix=c{next(_numbers)}.&keep=unsettled&{self.options}"

    def clock(self) -> VirtualClock:
        return PatientClock()
