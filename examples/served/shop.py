"""What the programs know of each other, and where the store is served."""

from __future__ import annotations

import os

import msgspec

from waystation import Topic

#: Of the server. On another host this is `tcp://store:7400?tls_ca=…&token_file=…`, and nothing else changes.
STORE = os.environ.get("SHOP_STORE", "tcp://127.0.0.1:7400")

#: How many orders there will be.
ORDERS_COUNT = 400


class Order(msgspec.Struct, frozen=True):
    """An event: somebody has ordered something."""

    order_id: str
    cents: int


placed = Topic("orders.placed", Order)


def all_orders() -> list[Order]:
    """Return what will be ordered."""
    return [Order(f"A-{number}", cents=100 + number % 20) for number in range(ORDERS_COUNT)]
