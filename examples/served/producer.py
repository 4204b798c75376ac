"""The producer: publishes every order, whatever happens to the server meanwhile.

python -m examples.served.producer        ends by itself
"""

from __future__ import annotations

import asyncio

from waystation import Bus, Disconnected, Receipt, SendRejected, SendUnconfirmed

from .shop import STORE, Order, all_orders, placed

#: Orders that are published at the same time.
TOGETHER_COUNT = 5


async def main() -> None:
    """Publish a few at a time, and tell how far it is."""
    orders = all_orders()
    async with Bus(STORE, name="producer") as bus:
        for first in range(0, len(orders), TOGETHER_COUNT):
            some = orders[first : first + TOGETHER_COUNT]
            receipts = await asyncio.gather(*(publish_surely(bus, order) for order in some))
            done = first + len(some)
            if done % 100 == 0:
                print(f"{done} orders are certain to be {receipts[-1].durability.name}")


async def publish_surely(bus: Bus, order: Order) -> Receipt:
    """Publish until the store says that it has it.

    A connection that is cut is mended beneath this, and nothing is in doubt. If the server was started anew, nobody can
    say what became of the last messages: they are published again, and the key keeps out those that were stored.
    """
    while True:
        try:
            return await bus.publish(placed, order, dedupe_key=order.order_id)
        except (SendUnconfirmed, SendRejected, Disconnected) as error:
            print(f"{order.order_id} again: {type(error).__name__}: {error}")
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main())
