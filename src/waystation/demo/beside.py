"""The same handlers where the medium has no transactions: their effects are in a database of the application's own.

A message may come again after its effects were kept: a worker is killed between its commit and the settlement. So the
handlers are idempotent: what was done is found by the flight's number, in the transaction that would do it again.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from waystation import Bus, Depends, Router, Transaction

from .app import ALERT, DEPARTED, EFFECTS_VARIABLE, STATUS, Alert, Ask, Status
from .effects import find_flight, find_handled, write_alerts, write_flights
from .flights import Flight

effects_bus = Bus(os.environ.get(EFFECTS_VARIABLE, "sqlite:///effects.db"), name="effects")

delays = Router()
alerts = Router()
status = Router()


async def effects() -> AsyncIterator[Transaction]:
    """Give a transaction of the application's own database."""
    async with effects_bus.transaction() as tx:
        yield tx


Effects = Annotated[Transaction, Depends(effects)]


@asynccontextmanager
async def connected(_: Bus) -> AsyncIterator[None]:
    """Keep the database open while handlers run."""
    async with effects_bus:
        yield


@delays.subscribe(DEPARTED, group="delays", batch=250)
async def count(flights: list[Flight], tx: Effects) -> None:
    """Keep the statistics, each flight once."""
    by_number = {flight.number: flight for flight in flights}
    for number in await find_handled(tx, list(by_number)):
        del by_number[number]
    await write_flights(tx, list(by_number.values()))


@alerts.handle(ALERT, batch=500)
async def tell(commands: list[Alert], tx: Effects) -> None:
    """Note each command. One that was sent twice is noted once."""
    await write_alerts(tx, [command.number for command in commands])


@status.respond(STATUS)
async def answer(ask: Ask, tx: Effects) -> Status:
    """Say what is known of a flight, from the tables that `count` fills."""
    found = await find_flight(tx, ask.number)
    return Status(ask.number, known=False) if found is None else Status(ask.number, True, *found)
