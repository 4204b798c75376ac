"""The price service: it listens. What is in demand gets dearer.

python -m examples.direct.prices        until Ctrl-C or SIGTERM
"""

from __future__ import annotations

import asyncio

from waystation import Bus

from .shop import ADDRESS, Ask, Order, Price, Restock, changed, placed, quotes, restock

prices = {"tea": 9.5, "milk": 2.0}

bus = Bus(f"{ADDRESS}?listen", name="prices")


@bus.respond(quotes, concurrency=8)
async def quote(ask: Ask) -> Price:
    """Answer a question. What it raises is told to whoever asked."""
    if ask.sku not in prices:
        raise LookupError(f"no price for {ask.sku}")
    return Price(ask.sku, prices[ask.sku])


@bus.subscribe(placed, group="prices")
async def raise_price(order: Order) -> None:
    """Handle an event, and publish another: who connects to this process can hear it."""
    print(f"{order.order_id} wants {order.sku}: it gets dearer")
    await set_price(order.sku, prices[order.sku] + 0.5)


@bus.handle(restock)
async def lower_price(command: Restock) -> None:
    """Do what was asked for; once, whoever else handles such commands."""
    print(f"there is {command.sku} again: it gets cheaper")
    await set_price(command.sku, prices[command.sku] - 1.5)


async def set_price(sku: str, amount: float) -> None:
    """Change a price, and tell everybody."""
    prices[sku] = amount
    await bus.publish(changed, Price(sku, amount), key=sku)


if __name__ == "__main__":
    asyncio.run(bus.run())
