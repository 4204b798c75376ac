"""What a member of a group consumes together with all others: messages without a key.

How far the server sends ahead goes by what receivers could do with: few while handlers are slow, so that other members
find something to do, many while the way there and back is what counts. The server keeps a consumer's limit as it was
when that began. So a larger one is had by another consumer beside it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..._broker.attributes import text
from . import binding
from .channel import Arrival, Channel
from .connection import Connection
from .limits import PREFETCH_MESSAGES_MAX, PREFETCH_MESSAGES_MIN
from .lines import Line, Source, quiet, ready, stop
from .place import Held

if TYPE_CHECKING:
    from .member import Member


class Shared:
    """The two queues for messages without a key: what is fresh, and what comes again."""

    def __init__(self, member: Member, line: Line) -> None:
        self._member = member
        self._line = line
        self._fresh: Source | None = None
        self._again: Source | None = None
        self._consumers: list[tuple[str, int]] = []  # with their limits
        self._resizing: asyncio.Task[None] | None = None

    async def begin(self, connection: Connection) -> None:
        """Begin to consume.

        Raises:
            TransportError: The connection has ended meanwhile.
            Closed: The same, in the server's words; or a queue is gone.
        """
        self._again = Source(self._line, await self._channel(connection))
        await self._again.channel.limit(PREFETCH_MESSAGES_MAX)
        await self._again.channel.consume(self._line.again, self._came_again)
        self._fresh = Source(self._line, await self._channel(connection))
        await self._consume(self._fresh, PREFETCH_MESSAGES_MIN)

    async def _channel(self, connection: Connection) -> Channel:
        return self._member.watch(await connection.channel())

    async def _consume(self, source: Source, limit: int) -> None:
        await source.channel.limit(limit)
        name = source.channel.begin(self._line.fresh, self._came)
        self._consumers.append(
            (name, limit)
        )  # at once: it may deliver from now on, whoever waits for its confirmation
        await source.channel.confirmed(name)

    def hang_up(self) -> None:
        """End it without waiting."""
        for source in (self._fresh, self._again):
            if source is not None:
                source.channel.hang_up()

    async def leave(self) -> None:
        """Publish what is left anew, and end the channels. Nothing of it is with a receiver.

        Raises:
            TransportError: The connection has ended meanwhile.
            Closed: The same, in the server's words.
        """
        fresh, again = self._fresh, self._again
        assert fresh is not None, "it has begun"
        assert again is not None, "it has begun"
        await stop(fresh, self._line.fresh, self._limit, *fresh.channel.consumers)
        await stop(again, self._line.again, PREFETCH_MESSAGES_MAX, *again.channel.consumers)
        await self._member.publish_anew(again, lambda held: held.source is again)
        await self._member.publish_anew(fresh, lambda held: held.source is fresh)
        await fresh.channel.close()
        await again.channel.close()

    @property
    def channel(self) -> Channel:
        """A channel through which it consumes."""
        assert self._fresh is not None, "it has begun"
        return self._fresh.channel

    async def ready(self) -> int:
        """Return how many messages are ready in its queues, beside those that are here."""
        found = 0
        for source, queue in ((self._fresh, self._line.fresh), (self._again, self._line.again)):
            if source is not None:
                found += await ready(source.channel, queue)
        return found

    async def arrived(self) -> None:
        """Wait until what the server had taken out of its queues for this process by now is here."""
        for source, queue in ((self._fresh, self._line.fresh), (self._again, self._line.again)):
            if source is not None:
                await source.channel.look(queue, consumed=True)

    # --- arriving ----------------------------------------------------------------------------------------------

    def _came(self, arrival: Arrival) -> None:
        self._take_in(arrival, self._fresh)

    def _came_again(self, arrival: Arrival) -> None:
        self._take_in(arrival, self._again)

    def _take_in(self, arrival: Arrival, source: Source | None) -> None:
        if source is None:
            return
        member, place = self._member, self._member.place
        source.holds.add(arrival.tag)
        message = binding.message_of(arrival)
        headers = arrival.properties.get("headers")
        held = Held(message, source, arrival.tag, 0, 0, 0.0, None)
        if headers and (source is self._again or binding.vanished(headers)):
            standing = member.standing_of(message.id, headers)
            held.attempts, held.level, held.doubted = standing.attempts, standing.level, standing.doubted
            place.arrive(held, 0.0, again=True, copy=text(headers.get(binding.COPY, "")))
        else:
            place.arrive(held, 0.0)
        place.wake()

    # --- how far ahead -----------------------------------------------------------------------------------------

    @property
    def _limit(self) -> int:
        return sum(limit for _, limit in self._consumers)

    def wants(self, count: int) -> None:
        """Somebody could do with so many deliveries at once: let the server send more ahead, or fewer."""
        if self._resizing is not None or self._fresh is None or not self._consumers:
            return
        wanted = PREFETCH_MESSAGES_MIN
        while wanted < min(count * 2, PREFETCH_MESSAGES_MAX):
            wanted *= 4
        if wanted > self._limit:
            self._resizing = self._member.start(self._resize(self._fresh, wanted - self._limit))
        elif wanted * 16 <= self._limit:
            self._resizing = self._member.start(self._resize(self._fresh, 0))

    async def _resize(self, source: Source, more: int) -> None:
        """Consume more, or end the last consumer, unless messages are on their way to it all the time."""
        try:
            if more:
                await self._consume(source, more)
            elif await quiet(source, self._line.fresh, self._limit):
                await source.channel.cancel(self._consumers[-1][0])
                self._consumers.pop()
        finally:
            self._resizing = None
