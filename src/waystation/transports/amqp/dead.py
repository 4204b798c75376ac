"""The dead letters of a group: messages in a queue of their own, looked at one reader at a time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..._broker.attributes import text
from ..._core.errors import Disconnected
from ..._core.inspection import DeadInfo
from . import binding, frames
from .channel import Arrival, Channel
from .copies import note
from .groups import Group
from .limits import LOCK_S
from .link import Link
from .sender import Parcel, Sender, to_queue


class Letters:
    """What lies in one queue of dead letters, in the hands of one reader."""

    def __init__(self, channel: Channel, found: list[Arrival]) -> None:
        self.channel = channel
        self.all = found
        self.by_number = {number_of(arrival): arrival for arrival in found}

    def remove(self, arrival: Arrival) -> None:
        """Delete one for good."""
        self.channel.write(frames.ack(self.channel.number, arrival.tag, multiple=False))


@asynccontextmanager
async def letters(queue: str, link: Link, sender: Sender) -> AsyncIterator[Letters]:
    """Take all dead letters of a queue in hand; what is not removed goes back in its order at the end.

    Raises:
        TransportError: There is no connection, or somebody else has them for too long.
    """
    channel = await link.channel()
    try:
        arrivals: asyncio.Queue[Arrival] = asyncio.Queue()
        await channel.consume(queue, arrivals.put_nowait)
        mine = secrets.token_urlsafe(9)
        await sender.sent([note(queue, mine)])
        found: list[Arrival] = []
        try:
            async with asyncio.timeout(LOCK_S):
                while True:
                    arrival = await arrivals.get()
                    said = binding.note(arrival)
                    if said is None:
                        found.append(arrival)
                        continue
                    channel.write(frames.ack(channel.number, arrival.tag, multiple=False))
                    if said == mine:
                        break
        except TimeoutError as error:
            raise Disconnected(f"{queue} was held by somebody else for {LOCK_S:g} s") from error
        yield Letters(channel, found)
    finally:
        await channel.close()


def number_of(arrival: Arrival) -> int:
    """Return a dead letter's number."""
    return binding.number(arrival.properties.get("headers") or {}, binding.NUMBER)


def info_of(arrival: Arrival) -> DeadInfo:
    """Return what there is to say about a dead letter."""
    headers = arrival.properties.get("headers") or {}
    message = binding.message_of(arrival)
    return DeadInfo(
        number=binding.number(headers, binding.NUMBER),
        group=text(headers.get(binding.GROUP, "")),
        topic=message.topic,
        message=message,
        attempts=binding.number(headers, binding.ATTEMPTS),
        reason=text(headers.get(binding.REASON, "")),
        detail=text(headers.get(binding.DETAIL, "")),
        died=binding.instant(headers, binding.DIED),
    )


def revived(arrival: Arrival, group: Group) -> Parcel:
    """Return a dead letter as a new first attempt, before what is fresh."""
    message = binding.message_of(arrival)
    extra = {binding.TOPIC: message.topic, binding.ATTEMPTS: "0", binding.POSITION: "0"}
    queue = group.line_of(message.key).again
    return Parcel(message.id, to_queue(queue), binding.properties_of(message, extra), message.body)
