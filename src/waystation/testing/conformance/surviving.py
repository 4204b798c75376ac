"""What outlives a process, a fork, and many connections."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from ..._core.delivery import ACCEPT, Durability
from ..._core.ports import Subscription, Topology
from ..embedded import EmbeddedBus
from .rules import rule
from .world import PATIENCE_S, TOPIC, Suite, World, ids, until

CONNECTIONS = 200
KEPT_MESSAGES = 50

#: How much more memory a process may hold after so many connections, in bytes: what the interpreter keeps for itself.
_GROWTH_BYTES = 8 * 1024 * 1024


class Surviving(Suite):
    """C-40, C-42, C-45."""

    @rule(40, "persistent", "multi_process")
    async def test_c40_what_has_a_receipt_outlives_its_publisher(self) -> None:
        """Though it was killed in that moment. `WRITTEN` promises that much."""
        assert self.capabilities.send >= Durability.WRITTEN, (
            "a persistent transport promises less than it keeps"
        )
        async with self.world() as world:
            await world.declare(pattern="victims")
            said, code = await _run("killed", self.url, str(KEPT_MESSAGES))
            assert code < 0
            assert len(said) == KEPT_MESSAGES
            feed = await world.feed(pattern="victims")
            assert sorted(ids(await world.handle(feed, KEPT_MESSAGES))) == sorted(said)

    @rule(42)
    async def test_c42_a_fork_harms_neither_side(self) -> None:
        """A child that connects by itself works also when its parent has left, or is refused in a sentence."""
        said, code = await _run("forked", self.url or "memory://")
        assert code == 0
        assert said in (["sent"], ["refused"])
        if not self.capabilities.multi_process:
            return
        wanted = [b"parent", b"parent again"]
        if said == ["sent"]:
            wanted += [b"child", b"child again"]
        async with self.world() as world:
            feed = await world.feed(pattern="forks")
            found = [delivery.message.body for delivery in await world.handle(feed, len(wanted))]
            assert sorted(found) == sorted(wanted)
            await world.nothing_comes(feed, "forks")

    @pytest.mark.timeout(120)
    @rule(45)
    async def test_c45_many_connections_leave_nothing_behind(self) -> None:
        """No descriptor, no task, no thread, and no memory to speak of."""
        await self._connect(CONNECTIONS // 10)
        before, memory = _held(), _resident_bytes()
        await self._connect(CONNECTIONS)
        await _no_more_than(before)
        assert _resident_bytes() - memory < _GROWTH_BYTES

    async def _connect(self, times: int) -> None:
        clock = self.clock()
        transport = self.make(clock)
        for number in range(times):
            await transport.open()
            world = World(transport, clock)
            feed = await world.feed()
            await world.send_many(1)
            async with asyncio.timeout(PATIENCE_S):
                deliveries = await feed.receive(10)
            await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
            if number % 2:
                await world.close()
            else:
                await transport.close()

    @pytest.mark.timeout(120)
    @rule(45)
    async def test_c45_a_bus_that_was_used_leaves_nothing_behind(self) -> None:
        """With handlers, a receiver that nobody closed, and requests that nobody answered."""
        clock = self.clock()
        transport = self.make(clock)
        before: tuple[int, int, int] | None = None
        for _ in range(20):
            bus = EmbeddedBus.over(transport, clock=clock)
            handled = asyncio.Event()

            @bus.subscribe(TOPIC, group="handlers")
            async def handle(_: int, done: asyncio.Event = handled) -> None:
                done.set()

            async with bus.running():
                group = Subscription(pattern=TOPIC, group="receivers")
                await transport.declare(Topology(subscriptions=(group,)))
                await bus.publish(TOPIC, 1)
                receiver = bus.receive(TOPIC, group="receivers")
                await anext(receiver)
                async with asyncio.timeout(PATIENCE_S):
                    await handled.wait()
            del receiver, bus
            before = before or _held()
        await _no_more_than(before)


async def _run(*arguments: str) -> tuple[list[str], int]:
    """Run the victim; return the lines that it printed, and its exit code."""
    command = (sys.executable, "-m", "waystation.testing.victim", *arguments)
    victim = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        async with asyncio.timeout(PATIENCE_S):
            said, _ = await victim.communicate()
    finally:
        if victim.returncode is None:
            victim.kill()
            await victim.wait()
    assert victim.returncode is not None
    return said.decode().split(), victim.returncode


async def _no_more_than(before: tuple[int, int, int] | None) -> None:
    """Wait until there is no more than there was; the other end of a connection may hear of its end a little later."""
    assert before is not None
    await until(
        lambda: all(now <= then for now, then in zip(_held(), before, strict=True)), f"no more than {before}"
    )


def _held() -> tuple[int, int, int]:
    """Return how many descriptors, threads and tasks there are.

    Threads of the event loop's own pool are left out: calls that come one after another may make a second and a third
    one, since a call's answer is there before its thread is free again. The loop keeps them, and ends them.
    """
    gc.collect()
    threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    return len(os.listdir("/dev/fd")), len(threads), len(asyncio.all_tasks())


def _resident_bytes() -> int:
    """Return how much memory this process holds now; 0 where the system does not say."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else 0
