"""The queues of a group from which a process consumes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from .channel import Channel
from .holds import Holds


@dataclass(frozen=True, slots=True)
class Line:
    """One of them, or the two of a partition.

    Attributes:
        fresh: Where publishers' messages lie.
        again: Where copies go that come again, so that they need not wait behind everything that is fresh. Of messages
            with a key it is read to its end before the fresh one.
        keyed: Whether it is for messages with a key.
        dead: Where dead letters go.
    """

    group: str
    fresh: str
    again: str
    keyed: bool
    dead: str


class Source:
    """A channel's deliveries from the queues of one line.

    Attributes:
        under_way: How many of them are settled as soon as their copies are published.
    """

    def __init__(self, line: Line, channel: Channel) -> None:
        self.line = line
        self.channel = channel
        self.holds = Holds(channel)
        self.under_way = 0


async def ready(channel: Channel, *queues: str, consumed: bool = False) -> int:
    """Return how many messages are ready in queues that are consumed through a channel.

    Looked at twice: what the server had sent to the channel before it answered the first time comes before the second.

    Args:
        consumed: Whether these queues are consumed from for certain; see `Channel.look`.
    """
    for _ in range(2):
        found = [await channel.look(queue, consumed=consumed) for queue in queues]
    return sum(each.message_count for each in found)


async def stop(source: Source, queue: str, limit: int, *consumers: str) -> None:
    """Cancel consumers of a queue when the server has nothing on its way to them.

    What reaches a channel after its consumer was cancelled is given back by the server itself, as if this process had
    vanished.

    Args:
        limit: How much may be unsettled here, through all consumers of this queue that there are.
    """
    channel = source.channel
    going_on = [consumer for consumer in consumers if not channel.is_cancelled(consumer)]
    if going_on:
        await channel.confirmed(*going_on)
        await quiet(source, queue, limit)
    await channel.cancel(*consumers)


async def quiet(source: Source, queue: str, limit: int) -> bool:
    """Wait until nothing is on its way: the queue has nothing ready, or what is unsettled here is all that may be.

    Returns:
        Whether that is so; it may never be while others publish and take.
    """
    for _ in range(_QUIET_LOOKS_COUNT):
        if len(source.holds) >= limit or not await ready(source.channel, queue, consumed=True):
            return True
        await asyncio.sleep(_QUIET_S)
    return False


#: How often and how soon that is looked at; in vain, if others take what there is: then there is nothing on its way.
_QUIET_LOOKS_COUNT, _QUIET_S = 100, 0.002
