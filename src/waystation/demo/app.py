"""The application: typed places and the handlers on them, as a user would write them.

A router for each part that runs in processes of its own: `delays` twice, `alerts` (with `watching`) and `status` once.
Where the medium has no transactions, the handlers that keep something are those of `beside`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from waystation import Bus, Endpoint, Router, Topic, Transaction

from .effects import find_flight, write_alerts, write_flights
from .flights import Flight

#: The environment variable in which every process of the demo finds the bus's URL.
URL_VARIABLE: Final = "WAYSTATION_DEMO_URL"

#: That in which it finds the URL of a database for what the handlers keep; none if that is in the bus's own medium.
EFFECTS_VARIABLE: Final = "WAYSTATION_DEMO_EFFECTS"


class Alert(msgspec.Struct, frozen=True):
    """A command: tell somebody that this flight left more than an hour late."""

    number: int
    carrier: str
    delay: int


class Ask(msgspec.Struct, frozen=True):
    """A question about one flight, by its number."""

    number: int


class Status(msgspec.Struct, frozen=True):
    """An answer. A flight that was not handled yet is not `known`, and has neither carrier nor delay."""

    number: int
    known: bool
    carrier: str | None = None
    delay: int | None = None


DEPARTED = Topic("flights.departed", Flight)
ALERT = Topic("flights.alert", Alert)
STATUS = Endpoint("flights.status", Ask, Status)

delays = Router()
watching = Router()
alerts = Router()
status = Router()


@delays.subscribe(DEPARTED, group="delays", batch=250)
async def count(flights: list[Flight], tx: Transaction) -> None:
    """Keep the statistics. The rows, the inbox marks and the settlement are one commit."""
    await write_flights(tx, flights)


@watching.subscribe(DEPARTED, group="alerts", batch=1000)
async def watch(flights: list[Flight], bus: Bus) -> None:
    """Send a command for each flight that left late: all of a batch together."""
    async with bus.batch() as batch:
        for flight in flights:
            if flight.late and flight.delay is not None:
                batch.send(ALERT, Alert(flight.number, flight.carrier, flight.delay), key=flight.carrier)


@alerts.handle(ALERT, batch=500)
async def tell(commands: list[Alert], tx: Transaction) -> None:
    """Note each command. One that was sent twice is noted once."""
    await write_alerts(tx, [command.number for command in commands])


@status.respond(STATUS)
async def answer(ask: Ask, bus: Bus) -> Status:
    """Say what is known of a flight, from the tables that `count` fills."""
    async with bus.transaction() as tx:
        found = await find_flight(tx, ask.number)
    return Status(ask.number, known=False) if found is None else Status(ask.number, True, *found)
