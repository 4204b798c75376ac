"""What everything else stands on: the exchanges, and the queues that belong to no group. A part of the link."""

from __future__ import annotations

from typing import Any, Final

from .channel import Channel
from .connection import Connection
from .groups import Group
from .limits import UNREAD_MESSAGES_MAX, UNREAD_S
from .names import Names

#: Of every queue that keeps something: replicated, flushed, and never giving up on a message by itself. Without a limit
#: RabbitMQ 3.10 puts what comes back at the end of its queue; 4.0 takes 20 for one, and drops what exceeds it.
KEPT: Final[dict[str, Any]] = {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}

#: The same, for queues of which one consumer at a time has messages.
ALONE: Final[dict[str, Any]] = {**KEPT, "x-single-active-consumer": True}


class Ground:
    """Makes what there must be, whenever there is a new connection: the server may be a new one, too."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def up(self, connection: Connection, /) -> None:
        """Make it.

        Raises:
            Closed: It is there, and different; or this user may not.
        """
        names = self._names
        channel = await connection.channel()
        for exchange in (names.exchange, *names.slots):
            await channel.ask(
                connection.commands.Exchange.Declare(
                    0, exchange, "topic", False, True, False, False, False, {}
                )
            )
        for queue in (names.registry, names.roster, names.later):
            await make_queue(channel, queue, ALONE)
        unread = {"x-message-ttl": UNREAD_S * 1000, "x-max-length": UNREAD_MESSAGES_MAX}
        await make_queue(channel, names.unread, {**ALONE, **unread})
        await channel.close()

    def down(self, error: Exception, /) -> None:
        """Nothing: it stays."""


async def make_queue(channel: Channel, queue: str, arguments: dict[str, Any]) -> None:
    """Make a queue that outlives the server, unless it is there."""
    commands = channel.connection.commands
    await channel.ask(commands.Queue.Declare(0, queue, False, True, False, False, False, arguments))


async def make_group(channel: Channel, group: Group) -> None:
    """Make the queues of a group, and let them have its messages. What is there stays as it is."""
    commands = channel.connection.commands
    for_all = (group.line().fresh, group.line().again, group.tokens)
    for queue in group.queues():
        await make_queue(channel, queue, KEPT if queue in for_all else ALONE)
    for exchange, queue in group.bindings():
        await channel.ask(commands.Queue.Bind(0, queue, exchange, _routing(group.pattern), False, {}))


async def drop_group(channel: Channel, group: Group) -> None:
    """Delete the queues of a group with all that is in them."""
    commands = channel.connection.commands
    for queue in group.queues():
        await channel.ask(commands.Queue.Delete(0, queue, False, False, False))


def _routing(pattern: str) -> str:
    """Return a pattern as AMQP understands it, to which `#` is any number of words, even none."""
    return f"{pattern[:-2]}.*.#" if pattern.endswith(".#") else pattern
