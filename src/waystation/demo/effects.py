"""What the handlers leave behind: five tables of the demo's own, in the bus's file or in one beside its broker.

In the bus's file each handler writes through the transaction that also holds its inbox marks and its settlements, so a
batch that a killed worker had half done is undone as a whole, and done once by whoever gets it next. A counter beside
each row would show it if that were not so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Final

from waystation import Transaction

from .flights import Flight, Tally, tally

TABLES: Final = (
    # One row per flight. `times` counts how often it was handled: 1, or something is wrong.
    """CREATE TABLE demo_flights (
        number INTEGER PRIMARY KEY, carrier TEXT NOT NULL, delay INTEGER, times INTEGER NOT NULL)""",
    # One row per aircraft: the last flight seen, and how often one came that should have come before it.
    """CREATE TABLE demo_aircraft (
        tail TEXT PRIMARY KEY, last INTEGER NOT NULL, inversions INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE demo_carriers (
        carrier TEXT PRIMARY KEY, flights INTEGER NOT NULL, cancelled INTEGER NOT NULL,
        delay_minutes INTEGER NOT NULL, delay_minutes_max INTEGER, late INTEGER NOT NULL) WITHOUT ROWID""",
    # One row per alerted flight, however often the command was sent.
    "CREATE TABLE demo_alerts (number INTEGER PRIMARY KEY)",
    # One row per worker of the group `delays` that was ever started.
    "CREATE TABLE demo_workers (place INTEGER PRIMARY KEY, pid INTEGER NOT NULL)",
)

_HANDLED = """INSERT INTO demo_flights VALUES (?, ?, ?, 1)
    ON CONFLICT (number) DO UPDATE SET times = times + 1"""
_SEEN = """INSERT INTO demo_aircraft VALUES (?, ?, 0)
    ON CONFLICT (tail) DO UPDATE SET
        inversions = inversions + (excluded.last <= last), last = max(last, excluded.last)"""
_COUNTED = """INSERT INTO demo_carriers VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (carrier) DO UPDATE SET flights = flights + excluded.flights,
        cancelled = cancelled + excluded.cancelled, late = late + excluded.late,
        delay_minutes = delay_minutes + excluded.delay_minutes,
        delay_minutes_max = max(ifnull(delay_minutes_max, excluded.delay_minutes_max),
                                ifnull(excluded.delay_minutes_max, delay_minutes_max))"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Everything that was found in the tables at the end.

    Attributes:
        flights: Flights that were handled.
        repeated: Those of them whose effects were applied more than once.
        aircraft: Aircraft that were seen.
        inversions: Flights that came after a later one of their aircraft.
        carriers: The statistics.
        alerts: The numbers of the flights for which an alert arrived.
    """

    flights: int
    repeated: int
    aircraft: int
    inversions: int
    carriers: dict[str, Tally]
    alerts: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How far the handlers are, and the process ids of all workers that were ever started, oldest first."""

    flights: int
    alerts: int
    workers: tuple[int, ...]


async def create_tables(tx: Transaction) -> bool:
    """Make the tables; False, and nothing done, if this file has them from an earlier run."""
    if await tx.execute("SELECT 1 FROM sqlite_master WHERE name = 'demo_flights'"):
        return False
    for statement in TABLES:
        await tx.execute(statement)
    return True


async def write_flights(tx: Transaction, flights: Sequence[Flight]) -> None:
    """Apply the effects of some flights."""
    await tx.executemany(_HANDLED, [(flight.number, flight.carrier, flight.delay) for flight in flights])
    await tx.executemany(
        _SEEN, [(flight.tail, flight.number) for flight in flights if flight.tail is not None]
    )
    await tx.executemany(
        _COUNTED, [(carrier, *astuple(counted)) for carrier, counted in tally(flights).items()]
    )


async def find_handled(tx: Transaction, numbers: Sequence[int]) -> set[int]:
    """Return which of these flights were handled."""
    places = ", ".join("?" * len(numbers))
    rows = await tx.execute(f"SELECT number FROM demo_flights WHERE number IN ({places})", numbers)
    return {number for (number,) in rows}


async def write_alerts(tx: Transaction, numbers: Iterable[int]) -> None:
    """Note that these flights were alerted."""
    await tx.executemany("INSERT OR IGNORE INTO demo_alerts VALUES (?)", [(number,) for number in numbers])


async def note_worker(tx: Transaction, pid: int) -> None:
    """Note that a worker was started."""
    await tx.execute("INSERT INTO demo_workers (pid) VALUES (?)", (pid,))


async def find_flight(tx: Transaction, number: int) -> tuple[str, int | None] | None:
    """Return the carrier and delay of a flight; None if it was not handled yet."""
    rows = await tx.execute("SELECT carrier, delay FROM demo_flights WHERE number = ?", (number,))
    return (rows[0][0], rows[0][1]) if rows else None


async def read_counts(tx: Transaction) -> Counts:
    """Read how far things are: cheap enough to be asked several times a second."""
    ((flights,),) = await tx.execute("SELECT ifnull(sum(flights), 0) FROM demo_carriers")
    ((alerts,),) = await tx.execute("SELECT count(*) FROM demo_alerts")
    workers = await tx.execute("SELECT pid FROM demo_workers ORDER BY place")
    return Counts(flights=flights, alerts=alerts, workers=tuple(row[0] for row in workers))


async def read_effects(tx: Transaction) -> Effects:
    """Read all that was left behind."""
    ((flights, repeated),) = await tx.execute("SELECT count(*), ifnull(sum(times <> 1), 0) FROM demo_flights")
    ((aircraft, inversions),) = await tx.execute(
        "SELECT count(*), ifnull(sum(inversions), 0) FROM demo_aircraft"
    )
    carriers = await tx.execute(
        "SELECT carrier, flights, cancelled, delay_minutes, delay_minutes_max, late FROM demo_carriers"
    )
    alerts = await tx.execute("SELECT number FROM demo_alerts")
    return Effects(
        flights=flights,
        repeated=repeated,
        aircraft=aircraft,
        inversions=inversions,
        carriers={row[0]: Tally(*row[1:]) for row in carriers},
        alerts=frozenset(row[0] for row in alerts),
    )
