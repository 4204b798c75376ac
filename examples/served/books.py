"""The worker's table. It is in the store's file, beside the messages, and is written and read at a distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from waystation import Transaction

from .shop import Order


class Books(NamedTuple):
    """What is in it."""

    rows: int
    orders: int
    cents: int


async def create(tx: Transaction) -> None:
    """Make the table, if it is not there."""
    await tx.execute("CREATE TABLE IF NOT EXISTS books (order_id TEXT, cents INTEGER)")


async def write(tx: Transaction, orders: Sequence[Order]) -> None:
    """Add a row for each order; a second one too, if it should ever be handled twice."""
    await tx.executemany("INSERT INTO books VALUES (?, ?)", [(each.order_id, each.cents) for each in orders])


async def read(tx: Transaction) -> Books:
    """Add up what is there."""
    rows = await tx.execute("SELECT count(*), count(DISTINCT order_id), ifnull(sum(cents), 0) FROM books")
    return Books(*rows[0])
