"""A process that ends badly, for the conformance suite.

    python -m waystation.testing.victim killed URL COUNT
    python -m waystation.testing.victim forked URL

`killed` publishes messages, prints each receipt's id, and kills itself. `forked` publishes `parent`, forks while it is
connected, lets the child connect by itself and publish `child`, and then publishes `parent again` and disconnects
before the child does. It prints what the child's receipt was worth: `sent`, or `refused`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from waystation import Bus, ConfigurationError, Disconnected


async def killed(url: str, count: int) -> None:
    """Publish so many messages, and be killed as soon as the last one has its receipt."""
    async with Bus(url) as bus:
        for number in range(count):
            receipt = await bus.publish("victims", number)
            _say(receipt.message_id)
        os.kill(os.getpid(), signal.SIGKILL)


async def forked(url: str) -> None:
    """Fork while a bus is connected."""
    may_end, tell = os.pipe()
    async with Bus(url) as bus:
        await bus.publish("forks", "parent")
        pid = os.fork()
        if pid == 0:
            os.close(tell)
            _as_child(url, may_end)
        os.close(may_end)
        await bus.publish("forks", "parent again")
    os.close(tell)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def _as_child(url: str, may_end: int) -> None:
    """Be the child, and end without touching what was inherited."""
    code = 1
    try:
        asyncio.run(_publish_as_child(url, may_end))
        code = 0
    finally:
        os._exit(code)


async def _publish_as_child(url: str, may_end: int) -> None:
    try:
        async with Bus(url) as bus:
            await bus.publish("forks", "child")
            await asyncio.to_thread(os.read, may_end, 1)  # until the parent has disconnected
            await bus.publish("forks", "child again")
            _say("sent")
    except (ConfigurationError, Disconnected):
        _say("refused")


def _say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


if __name__ == "__main__":
    what, url, *rest = sys.argv[1:]
    asyncio.run(killed(url, int(rest[0])) if what == "killed" else forked(url))
