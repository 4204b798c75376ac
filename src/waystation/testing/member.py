"""One of several processes that share a store: publishes some messages, handles what comes, and says what that was.

    python -m waystation.testing.member URL NAME COUNT

It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys

from waystation import Bus


async def main(url: str, name: str, count: int) -> None:
    """Publish `NAME-0`, `NAME-1` …, and print the body of each message handled."""
    bus = Bus(url, name=name)

    @bus.subscribe("shared", group="members", concurrency=4)
    async def handle(body: str) -> None:
        print(body, flush=True)  # noqa: T201 - whoever started this process reads it

    async with bus.running():
        await bus.publish_many("shared", [f"{name}-{number}" for number in range(count)])
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
