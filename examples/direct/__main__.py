"""Starts both services, shows what they say, and says whether everything arrived.

python -m examples.direct        exits with 0 if it did
"""

from __future__ import annotations

import asyncio
import sys

from ..stage import Stage, free_port, say


async def main() -> int:
    """Return the exit status."""
    address = f"tcp://127.0.0.1:{free_port()}"
    async with Stage({"SHOP_ADDRESS": address}) as stage:
        say(
            f"the price service listens at {address}; the order service connects to it; nothing is in between"
        )
        prices = await stage.start("prices", "examples.direct.prices")
        orders = await stage.start("orders", "examples.direct.orders")
        statuses = [await orders.end(), await prices.stop()]
    everything = statuses == [0, 0]
    say("everything arrived" if everything else f"they ended with {statuses}: something is wrong")
    return int(not everything)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
