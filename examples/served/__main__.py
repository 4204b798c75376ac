"""Serves a store, lets a producer and a worker use it, restarts the server meanwhile, and says whether all is right.

python -m examples.served        exits with 0 if it is
"""

from __future__ import annotations

import asyncio
import sys
import tempfile

from waystation import Bus

from ..stage import Program, Stage, free_port, say
from . import books
from .shop import all_orders

#: How long the worker may take once everything was published, in seconds.
PATIENCE_S = 10


async def main() -> int:
    """Return the exit status."""
    with tempfile.TemporaryDirectory(prefix="waystation-served-") as folder:
        store = f"tcp://127.0.0.1:{free_port()}"

        async def serve() -> Program:
            url = f"sqlite:///{folder}/shop.db"
            return await stage.start("server", "waystation.cli", "serve", url, "--listen", store)

        async with Stage({"SHOP_STORE": store}) as stage:
            server = await serve()
            worker = await stage.start("worker", "waystation.cli", "run", "examples.served.worker:bus")
            await worker.until(
                "running"
            )  # else the producer, which is quick, may be done before there is a table
            producer = await stage.start("producer", "examples.served.producer")
            await producer.until("100 orders")
            say("the server is stopped and started again, while both are at work")
            await server.stop()
            await serve()
            if await producer.end() != 0:
                say("the producer gave up: something is wrong")
                return 1
            return await judge(store)


async def judge(store: str) -> int:
    """Wait until the worker is done, compare what it wrote with what was published, and return the exit status."""
    orders = all_orders()
    wanted = books.Books(len(orders), len(orders), sum(order.cents for order in orders))
    async with Bus(store, name="judge") as bus:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (found := await look(bus)).orders < wanted.orders:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            found = await look(bus)
    say(f"published: {wanted}")
    say(f"entered:   {found}: {'the same' if found == wanted else 'something is wrong'}")
    return int(found != wanted)


async def look(bus: Bus) -> books.Books:
    """Read the table, through the server."""
    async with bus.transaction() as tx:
        return await books.read(tx)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
