"""One partition of a group's messages with a key, in the hands of one process at a time.

Two queues: one for what publishers send, one for what comes again. Both let one consumer have messages and the others
wait, so that nobody reads on while a predecessor's messages are still being given back. What comes again is read to its
end before anything fresh is: so a key goes on behind its earliest unsettled message, whoever had that before.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from typing import TYPE_CHECKING

from ..._broker.attributes import text
from . import binding
from .channel import Arrival
from .copies import note
from .limits import PARTITION_PREFETCH_MESSAGES
from .lines import Line, Source, ready, stop
from .place import Held

if TYPE_CHECKING:
    from .connection import Connection
    from .member import Member


class Partition:
    """A partition that this process owns, or is about to."""

    def __init__(self, member: Member, line: Line) -> None:
        self.line = line
        self._member = member
        self._source: Source | None = None
        self._synced: asyncio.Future[None] | None = None
        self._fence = ""
        self._early: list[tuple[Held, str]] = []
        self._position = 0
        self._again = self._fresh = ""  # the names of the consumers
        self._idle: asyncio.Future[None] | None = None

    async def acquire(self, connection: Connection) -> None:
        """Begin to consume: first what comes again, to its end, then what is fresh.

        Raises:
            TransportError: The connection has ended meanwhile.
            Closed: The server has ended the channel.
        """
        channel = self._member.watch(await connection.channel())
        self._source = Source(self.line, channel)
        self._synced = asyncio.get_running_loop().create_future()
        self._fence = f"fence {secrets.token_urlsafe(9)}"
        await channel.limit(0)
        self._again = channel.begin(self.line.again, self._came_again)
        await channel.confirmed(self._again)
        await self._member.sender.sent([note(self.line.again, self._fence)])
        await self._synced
        await channel.limit(PARTITION_PREFETCH_MESSAGES)
        self._fresh = channel.begin(self.line.fresh, self._came_fresh)
        await channel.confirmed(self._fresh)

    @property
    def is_acquired(self) -> bool:
        """Whether it has what came again, and consumes what is fresh."""
        return bool(self._fresh)

    async def release(self) -> None:
        """Let others have it: finish what is with handlers, publish the rest anew in its order, and leave.

        Raises:
            TransportError: The connection has ended meanwhile; then everything went back by that.
        """
        source = self._source
        assert source is not None, "only what was acquired is released"
        await self._take_no_more(source)
        while self._is_busy():
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        await self.leave()

    async def leave(self) -> None:
        """Publish what is left anew, in its order, and end the channel. Nothing of it is with a handler."""
        source, member = self._source, self._member
        if source is None:
            return
        async with member.moving:
            if source.channel.ended is not None:
                return
            await self._take_no_more(source)
            if self._again:
                await stop(source, self.line.again, sys.maxsize, self._again)
            self._sync()
            await member.publish_anew(source, lambda held: held.source is source)
            member.forget(self.line)
            await source.channel.close()

    async def _take_no_more(self, source: Source) -> None:
        """Take nothing fresh any more."""
        if self._fresh:
            await stop(source, self.line.fresh, PARTITION_PREFETCH_MESSAGES, self._fresh)

    def settled(self) -> None:
        """Something was settled."""
        if self._idle is not None and not self._idle.done() and not self._is_busy():
            self._idle.set_result(None)

    def hang_up(self) -> None:
        """End it without waiting."""
        if self._source is not None:
            self._source.channel.hang_up()

    def down(self) -> None:
        """The connection has ended."""
        for future in (self._idle, self._synced):
            if future is not None and not future.done():
                future.cancel()

    async def ready(self) -> int:
        """Return how many messages are ready in its queues, beside those that are here."""
        source = self._source
        return 0 if source is None else await ready(source.channel, self.line.fresh, self.line.again)

    async def arrived(self) -> None:
        """Wait until what the server had taken out of its queues for this process by now is here."""
        if self._source is not None:
            for queue in (self.line.fresh, self.line.again):
                await self._source.channel.look(queue)

    def _is_busy(self) -> bool:
        """Whether something of it is with a handler, or about to be settled."""
        source = self._source
        if source is not None and source.under_way:
            return True
        return any(held.source is source and held.taken for held in self._member.place.held.values())

    # --- arriving ----------------------------------------------------------------------------------------------

    def _came_fresh(self, arrival: Arrival) -> None:
        self._position += 1
        held = self._held(arrival, self._position)
        self._member.arrive(held, again=held.doubted)

    def _came_again(self, arrival: Arrival) -> None:
        source, synced = self._source, self._synced
        assert source is not None, "it consumes"
        assert synced is not None, "it consumes"
        said = binding.note(arrival)
        if said is not None:
            source.holds.add(arrival.tag)
            source.holds.ack([arrival.tag])
            if said == self._fence and not synced.done():
                self._sync()
                synced.set_result(None)
            return
        headers = arrival.properties.get("headers") or {}
        position = binding.number(headers, binding.POSITION)
        self._position = max(self._position, position)
        held = self._held(arrival, position)
        copy = text(headers.get(binding.COPY, ""))
        if synced.done():
            self._member.arrive(held, again=True, copy=copy)
        else:
            self._early.append((held, copy))

    def _sync(self) -> None:
        early, self._early = self._early, []
        for held, copy in sorted(early, key=lambda each: each[0].position):
            self._member.arrive(held, again=True, copy=copy)

    def _held(self, arrival: Arrival, position: int) -> Held:
        source = self._source
        assert source is not None, "it consumes"
        source.holds.add(arrival.tag)
        headers = arrival.properties.get("headers") or {}
        message = binding.message_of(arrival)
        standing = self._member.standing_of(message.id, headers)
        return Held(
            message,
            source,
            arrival.tag,
            standing.attempts,
            position,
            binding.instant(headers, binding.DUE),
            None if message.key is None else (message.topic, message.key),
            standing.level,
            standing.doubted,
        )
