"""A process of a group, for tests that kill it: says what it begins, and what it has done.

python amqp_worker.py URL NAME
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from waystation import Bus, Delivery, RetryPolicy


async def main(url: str, name: str) -> None:
    """Handle what comes, until this process ends. A body of -1 ends it."""
    bus = Bus(url)

    @bus.subscribe(
        "work", group="workers", concurrency=4, retry=RetryPolicy(max_attempts=3, first_delay=0.05)
    )
    async def handle(number: int, delivery: Delivery) -> None:
        print("begun", name, number, delivery.attempt, flush=True)
        if number == -1:
            os.kill(os.getpid(), signal.SIGKILL)
        if number % 10 == 7 and delivery.attempt == 1:
            raise ValueError("once more")
        await asyncio.sleep(0.001)
        print("done", name, number, delivery.attempt, flush=True)

    async with bus.running():
        print("ready", name, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
