"""The feeder: a process that publishes every flight in the order in which they left.

    python -m waystation.demo.feeder LIMIT        0: all; the URL is in WAYSTATION_DEMO_URL

It waits twice for a line on standard input. The first says that every group exists: what is published before a group
was declared may be gone by then, since all others are done with it. The second, before the last part of the flights,
says that a worker was ended, so that this certainly happens midway, however fast the machine. If standard input ends
instead, the director is gone, and so is the feeder.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

from waystation import Bus

from .app import DEPARTED, URL_VARIABLE
from .flights import Flight, find_csv, read_flights

#: The share of the flights that is published before the second line.
FREE_SHARE: Final = 0.6


async def feed(url: str, flights: list[Flight]) -> bool:
    """Publish the flights; return False if the director left before all of them were."""
    free = int(len(flights) * FREE_SHARE)
    async with Bus(url, name="feeder") as bus:
        for part in (flights[:free], flights[free:]):
            if not await asyncio.to_thread(sys.stdin.readline):
                return False
            await bus.publish_many(DEPARTED, part, key=_aircraft)
    return True


def _aircraft(flight: Flight) -> str | None:
    """Return the ordering key. Flights of unknown aircraft have none, and no order among themselves."""
    return flight.tail


if __name__ == "__main__":
    flights = read_flights(find_csv(), int(sys.argv[1]) or None)
    sys.exit(not asyncio.run(feed(os.environ[URL_VARIABLE], flights)))
