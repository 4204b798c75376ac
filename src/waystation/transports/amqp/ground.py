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
        names, commands = self._names, connection.commands
        exchanges = [
            commands.Exchange.Declare(0, exchange, "topic", False, True, False, False, False, {})
            for exchange in (names.exchange, *names.slots)
        ]
        exchanges.append(
            commands.Exchange.Declare(0, names.call, "fanout", False, True, False, False, False, {})
        )
        unread = {"x-message-ttl": UNREAD_S * 1000, "x-max-length": UNREAD_MESSAGES_MAX}
        queues = [_queue(commands, queue, ALONE) for queue in (names.registry, names.roster, names.later)]
        channel = await connection.channel()
        await channel.ask_all([*exchanges, *queues, _queue(commands, names.unread, {**ALONE, **unread})])
        await channel.close()

    def down(self, error: Exception, /) -> None:
        """Nothing: it stays."""


async def make_group(channel: Channel, group: Group) -> None:
    """Make the queues of a group, and let them have its messages. What is there stays as it is."""
    commands = channel.connection.commands
    for_all = (group.line().fresh, group.line().again, group.tokens)
    await channel.ask_all(
        _queue(commands, queue, KEPT if queue in for_all else ALONE) for queue in group.queues()
    )
    await channel.ask_all(
        commands.Queue.Bind(0, queue, exchange, _routing(group.pattern), False, {})
        for exchange, queue in group.bindings()
    )


async def drop_group(channel: Channel, group: Group) -> None:
    """Delete the queues of a group with all that is in them."""
    commands = channel.connection.commands
    await channel.ask_all(commands.Queue.Delete(0, queue, False, False, False) for queue in group.queues())


def _queue(commands: Any, queue: str, arguments: dict[str, Any]) -> Any:
    """Return how a queue is made that outlives the server, unless it is there."""
    return commands.Queue.Declare(0, queue, False, True, False, False, False, arguments)


def _routing(pattern: str) -> str:
    """Return a pattern as AMQP understands it, to which `#` is any number of words, even none."""
    return f"{pattern[:-2]}.*.#" if pattern.endswith(".#") else pattern
