"""How the partitions of a group are dealt out to its members, without anybody who decides.

A queue has a token for each partition. Who has taken a token owns the partition, and takes no more than its share,
which goes by how many members consume there. A member that has more gives the rest up: what is with its handlers is
finished, what is not is published anew, and the token goes back. That of a member that vanishes goes back by itself.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from . import binding, frames
from .channel import Channel
from .limits import DEAL_LOOK_S
from .lines import ready
from .partition import Partition

if TYPE_CHECKING:
    from .member import Member

#: How often tokens may be found left over before a member takes more than its share.
_LEFT_LOOKS_COUNT = 4


class Deal:
    """What one member owns, through one connection."""

    def __init__(self, member: Member, tokens: Channel) -> None:
        self._member = member
        self._group = member.group
        self.channel = tokens
        self._owned: dict[int, tuple[Partition, int]] = {}  # with their tokens' tags
        self._leaving: set[Partition] = set()

    async def run(self) -> None:
        """Own this member's share, as long as the connection lasts."""
        tokens, group = self.channel, self._group
        members, extra, left = 0, 0, 0
        while True:
            count = await self._members()
            waiting = (await tokens.look(group.tokens)).message_count
            if count != members:
                members, extra, left = count, 0, 0
            left = left + 1 if waiting else 0
            if (
                left > _LEFT_LOOKS_COUNT
            ):  # somebody consumes there who owns no partitions, such as another program
                extra, left = extra + 1, 0
            share = math.ceil(group.partitions / members) + extra
            if waiting and len(self._owned) < share:
                await self._acquire(share - len(self._owned))
            settled = [number for number, (partition, _) in self._owned.items() if partition.is_acquired]
            for number in settled[: max(0, len(self._owned) - share)]:
                self._member.start(self._release(number), to_its_end=True)
            await asyncio.sleep(DEAL_LOOK_S)

    async def _members(self) -> int:
        """Return how many members the group has. One that has no leader is waited for: that is no reason to leave."""
        again = self._group.line().again
        while True:
            with suppress(TimeoutError):
                found: int = (await self.channel.look(again, consumed=True)).consumer_count
                return found

    async def _acquire(self, count: int) -> None:
        for _ in range(count):
            token = await self.channel.get(self._group.tokens)
            if token is None:
                return
            number = int(binding.note(token) or 0)
            if number in self._owned:  # there were two of it, as somebody died while he made them
                self.channel.write(frames.ack(self.channel.number, token.tag, multiple=False))
                continue
            partition = Partition(self._member, self._group.line(number))
            self._owned[number] = partition, token.tag
            self._member.start(partition.acquire(self.channel.connection))

    async def _release(self, number: int) -> None:
        partition, tag = self._owned.pop(number)
        self._leaving.add(partition)
        await partition.release()
        self._leaving.discard(partition)
        self.channel.write(frames.nack(self.channel.number, tag, multiple=False))

    async def leave(self) -> None:
        """Give everything up; nothing of it is with a handler.

        Raises:
            TransportError: The connection has ended meanwhile.
            Closed: The same, in the server's words.
        """
        for partition in self._all():
            await partition.leave()
        await self.channel.close()

    def hang_up(self) -> None:
        """End it without waiting."""
        self.channel.hang_up()
        for partition in self._all():
            partition.hang_up()

    def down(self) -> None:
        """The connection has ended."""
        for partition in self._all():
            partition.down()

    def settled(self) -> None:
        """Something was settled: a partition may be let go of."""
        for partition in self._leaving:
            partition.settled()

    async def ready(self, channel: Channel) -> int:
        """Return how many messages are ready in the queues of all partitions, whoever owns them."""
        found = 0
        for number in range(self._group.partitions):
            owned, line = self._owned.get(number), self._group.line(number)
            found += await (owned[0].ready() if owned is not None else ready(channel, line.fresh, line.again))
        return found

    async def arrived(self) -> None:
        """Wait until what the server had taken out of the partitions' queues for this process by now is here."""
        for partition in self._all():
            await partition.arrived()

    def _all(self) -> list[Partition]:
        return [*(partition for partition, _ in self._owned.values()), *self._leaving]
