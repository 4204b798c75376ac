"""The order service: it connects. It publishes, sends, and asks in three ways; and it hears what the other publishes.

python -m examples.direct.orders        ends by itself: with 0 if everything was as it should be
"""

from __future__ import annotations

import asyncio
import sys
from typing import TypeVar

from waystation import Bus, RequestFailed, WaystationError

from .shop import ADDRESS, Ask, Order, Price, Restock, changed, placed, quotes, restock

#: How long anything here may take, in seconds.
PATIENCE_S = 10

T = TypeVar("T")


class Wrong(Exception):
    """Something did not arrive, or not as it should."""


def check(what: str, found: T, wanted: T) -> None:
    """Show what was found, and stop if it is not what was to come."""
    print(f"{what}: {found}")
    if found != wanted:
        raise Wrong(f"{what}: {found}, and not {wanted}")


async def work() -> None:
    """Do everything that needs an event loop, with handlers of its own meanwhile."""
    bus = Bus(ADDRESS, name="orders")
    heard: asyncio.Queue[Price] = asyncio.Queue()

    @bus.subscribe(changed, group="orders")
    async def note(price: Price) -> None:
        heard.put_nowait(price)

    async with asyncio.timeout(PATIENCE_S), bus.running():
        for number in range(1, 4):
            receipt = await bus.publish(placed, Order(f"A-{number}", "tea"), key="tea")
            check(f"order A-{number} is certain to be", receipt.durability.name, "RECEIVED")
        check(
            "the other told us",
            [await heard.get() for _ in range(3)],
            [Price("tea", a) for a in (10, 10.5, 11)],
        )

        await bus.send(restock, Restock("tea"), key="tea")
        check("the other told us", await heard.get(), Price("tea", 9.5))

        check("asked, and awaited", await bus.request(quotes, Ask("tea"), timeout="2s"), Price("tea", 9.5))
        try:
            await bus.request(quotes, Ask("gold"), timeout="2s")
        except RequestFailed as error:
            check("asked in vain", error.reason, "LookupError: no price for gold")

        answers: asyncio.Queue[Price | Exception] = asyncio.Queue()
        bus.request_later(
            quotes, Ask("milk"), on_reply=answers.put_nowait, on_error=answers.put_nowait, timeout="2s"
        )
        check("asked, and called back", await answers.get(), Price("milk", 2.0))


def work_without_a_loop() -> None:
    """The same from plain code, as in a script or a thread of a web framework."""
    with Bus(ADDRESS, name="orders").blocking() as bus:
        check("asked from blocking code", bus.request(quotes, Ask("milk"), timeout="2s"), Price("milk", 2.0))


if __name__ == "__main__":
    try:
        asyncio.run(work())
        work_without_a_loop()
    except (Wrong, WaystationError, TimeoutError) as error:
        sys.exit(f"something is wrong: {str(error) or 'it took too long'}")
