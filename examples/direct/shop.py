"""All that the two services know of each other: where things go, and of which type they are."""

from __future__ import annotations

import os

import msgspec

from waystation import Endpoint, Topic

#: Where the price service listens. Both find it in the environment, as they would find it in production.
ADDRESS = os.environ.get("SHOP_ADDRESS", "tcp://127.0.0.1:7400")


class Order(msgspec.Struct, frozen=True):
    """An event: somebody has ordered something."""

    order_id: str
    sku: str


class Restock(msgspec.Struct, frozen=True):
    """A command: there is more of this again."""

    sku: str


class Price(msgspec.Struct, frozen=True):
    """What something costs: the answer to a question, and an event when it has changed."""

    sku: str
    amount: float


class Ask(msgspec.Struct, frozen=True):
    """A question: what does this cost?"""

    sku: str


placed = Topic("orders.placed", Order)
restock = Topic("prices.restock", Restock)
changed = Topic("prices.changed", Price)
quotes = Endpoint("prices.quote", Ask, Price)
