"""Many at once: senders, topics, and processes."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process

import pytest

from ..._core.delivery import ACCEPT
from ..._core.message import Message
from .rules import rule
from .world import PATIENCE_S, Suite

TOPICS = tuple(f"topic.{number}" for number in range(20))
SENDERS = 50
PROCESSES = 4
MESSAGES_EACH = 25


class Sharing(Suite):
    """C-04, C-41."""

    @pytest.mark.timeout(120)
    @rule(4)
    async def test_c04_many_senders_and_topics_do_not_mix(self) -> None:
        """5,000 messages of 50 senders on 20 topics: each arrives on its own topic, and no other."""
        async with self.world() as world:
            feeds = {topic: await world.feed(pattern=topic) for topic in TOPICS}
            batches = [[world.message(topic=topic) for topic in TOPICS] for _ in range(5 * SENDERS)]

            async def send(number: int) -> None:
                for batch in batches[number::SENDERS]:
                    await world.send(*batch)

            await asyncio.gather(*(send(number) for number in range(SENDERS)))
            for topic, feed in feeds.items():
                wanted = {message.id for batch in batches for message in batch if message.topic == topic}
                came: list[Message] = []
                while len(came) < len(wanted):
                    async with asyncio.timeout(PATIENCE_S):
                        deliveries = await feed.receive(500)
                    await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
                    came += [delivery.message for delivery in deliveries]
                assert {message.topic for message in came} == {topic}
                assert {message.id for message in came} == wanted
                assert len(came) == len(wanted)

    @rule(41)
    async def test_c41_processes_share_one_store(self) -> None:
        """Each publishes, all handle: every message reaches one of them."""
        assert self.url, (
            "a transport that claims 'multi_process' says its `url`, so that processes can meet there"
        )
        names = [f"p{number}" for number in range(PROCESSES)]
        wanted = sorted(f"{name}-{number}" for name in names for number in range(MESSAGES_EACH))
        members = [await _begin(self.url, name) for name in names]
        handled: list[str] = []

        async def listen(member: Process) -> None:
            assert member.stdout is not None, "it was asked for"
            async for line in member.stdout:
                handled.append(line.decode().strip())
                if len(handled) == len(wanted):
                    for each in members:
                        assert each.stdin is not None, "it was asked for"
                        each.stdin.close()

        try:
            async with asyncio.timeout(2 * PATIENCE_S):
                await asyncio.gather(*map(listen, members))
                assert [await member.wait() for member in members] == [0] * PROCESSES
        finally:
            for member in members:
                if member.returncode is None:
                    member.kill()
                    await member.wait()
        assert sorted(handled) == wanted


async def _begin(url: str, name: str) -> Process:
    command = (sys.executable, "-m", "waystation.testing.member", url, name, str(MESSAGES_EACH))
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
