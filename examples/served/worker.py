"""The worker: enters each order once.

waystation run examples.served.worker:bus
"""

from __future__ import annotations

from waystation import Bus, Transaction

from . import books
from .shop import STORE, Order, placed

bus = Bus(STORE, name="worker")


@bus.on_startup
async def prepare() -> None:
    """Make the table."""
    async with bus.transaction() as tx:
        await books.create(tx)


@bus.subscribe(placed, group="books", batch=50)
async def enter(orders: list[Order], tx: Transaction) -> None:
    """Write rows. They, the marks "seen" and the settlement are one commit, at the server."""
    await books.write(tx, orders)
