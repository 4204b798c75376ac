"""A process of a group, for tests that kill it: says what it begins, what it has done, and what it has lost.

python kafka_worker.py URL NAME
"""

from __future__ import annotations

import asyncio
import logging
import sys

from waystation import Bus, Delivery, RetryPolicy


class _Losses(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if "lease" in record.getMessage():
            print("lost", flush=True)


async def main(url: str, name: str) -> None:
    """Handle what comes, until this process ends."""
    logging.getLogger("waystation.consumer").addHandler(_Losses())
    bus = Bus(url)

    @bus.subscribe(
        "work", group="workers", concurrency=6, retry=RetryPolicy(max_attempts=20, first_delay=0.1)
    )
    async def handle(number: int, delivery: Delivery) -> None:
        print("begun", name, number, delivery.attempt, flush=True)
        if delivery.key == "hold":
            await asyncio.sleep(4.0)
        if number % 10 == 0 and delivery.attempt == 1:
            raise ValueError("once more")
        await asyncio.sleep(0.002)
        print("done", name, number, delivery.attempt, flush=True)

    async with bus.running():
        print("ready", name, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
