"""`python -m tests.faults.away URL`: publishes and handles over a network until told to end; says what came of it."""

from __future__ import annotations

import asyncio
import json
import logging
import sys

from waystation import Bus, Topic
from waystation._core.errors import TransportError

log = logging.getLogger("away")

TOPIC = Topic("work", str)
WAITS_S = 30.0


async def main(url: str) -> None:
    """Publish a message again and again until it has a receipt, then the next; handle them all."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, told.set)
    bus = Bus(url)
    handled: list[str] = []
    tries = number = 0

    @bus.subscribe(TOPIC, group="g")
    async def handle(body: str) -> None:
        handled.append(body)

    async with bus.running():
        while not told.is_set():
            number += 1
            while True:
                tries += 1
                try:
                    await bus.publish(TOPIC, f"m{number}", dedupe_key=f"m{number}")
                    break
                except TransportError as error:
                    log.info("again: %s", error)
            if number == 20:
                print("ready", flush=True)
            await asyncio.sleep(0.005)
        healed = loop.time()
        async with asyncio.timeout(WAITS_S):
            while len(set(handled)) < number:
                await asyncio.sleep(0.01)
        said = {"sent": number, "tries": tries, "handled": len(handled), "settled_s": loop.time() - healed}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    asyncio.run(main(sys.argv[1]))
