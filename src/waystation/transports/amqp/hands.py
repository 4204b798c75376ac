"""What processes hold: the server does not tell, so whoever looks into a group asks all who serve it.

A question goes to an exchange that gives it to every process, and each answers for the groups that it serves: not
before everything has arrived that had left their queues when it was asked. So a message that was not ready when the
asker looked into the queue is counted here, unless its holder does not answer: one that hangs, or has just gone.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from ..._core.errors import TransportError
from .channel import Arrival
from .connection import Connection
from .driver import Closed
from .limits import HANDS_S
from .names import Names
from .sender import Parcel, Sender, to_queue
from .tables import short, write_properties
from .together import Together

if TYPE_CHECKING:
    from .member import Member


class Hand(msgspec.Struct, frozen=True):
    """What one process holds of a group. `oldest`: when the oldest could first be delivered, in Unix seconds."""

    ready: int
    in_flight: int
    waiting: int
    oldest: float | None


class Call(msgspec.Struct, frozen=True, tag="call"):
    """What is asked of everybody. `answer`: the queue that answers go to."""

    answer: str
    number: int


class Told(msgspec.Struct, frozen=True, tag="told"):
    """What one process answers: by the name of a group's queue for what comes again."""

    number: int
    hands: dict[str, Hand]


@dataclass(slots=True, eq=False)
class _Asked:
    expected: Mapping[str, int]
    done: asyncio.Future[None]
    hands: dict[str, list[Hand]] = field(default_factory=dict)

    def add(self, hands: Mapping[str, Hand]) -> None:
        """Take an answer in."""
        for queue, hand in hands.items():
            self.hands.setdefault(queue, []).append(hand)
        if not self.done.done() and all(
            len(self.hands.get(queue, ())) >= count for queue, count in self.expected.items()
        ):
            self.done.set_result(None)


class Hands:
    """A part of the link: asks, and answers.

    Args:
        serving: This process as a member of groups.
    """

    def __init__(self, names: Names, sender: Sender, serving: Mapping[tuple[str, str], Member]) -> None:
        self._names, self._sender, self._serving = names, sender, serving
        self._queue = ""
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = Together(self._look)
        self._decoder = msgspec.json.Decoder(Call | Told)

    async def up(self, connection: Connection, /) -> None:
        """Hear what is asked and answered, in a queue that ends with the connection."""
        queue = self._names.reply(f"_hands.{secrets.token_urlsafe(9)}")
        commands = connection.commands
        channel = await connection.channel()
        channel.on_end = connection.drop
        await channel.ask_all(
            [
                commands.Queue.Declare(0, queue, False, False, True, True),
                commands.Queue.Bind(0, queue, self._names.call, "", False, {}),
            ]
        )
        await channel.consume(queue, self._came, no_ack=True)
        self._queue = queue

    def down(self, error: Exception, /) -> None:
        """The connection has ended: whoever asked waits for nobody any more."""
        self._queue = ""
        for asked in self._asked.values():
            if not asked.done.done():
                asked.done.set_result(None)

    async def close(self) -> None:
        """Answer nobody any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- asking ------------------------------------------------------------------------------------------------

    async def ask(self, expected: Mapping[str, int]) -> Mapping[str, list[Hand]]:
        """Return what others hold.

        Args:
            expected: How many others serve a group, by its queue for what comes again. They are waited for, but not
                for long.

        Raises:
            TransportError: The connection has ended.
        """
        expected = {queue: count for queue, count in expected.items() if count > 0}
        if not expected:
            return {}
        number = next(self._numbers)
        asked = self._asked[number] = _Asked(expected, asyncio.get_running_loop().create_future())
        try:
            route = short(self._names.call) + short("")
            await self._sender.sent([_parcel(route, Call(self._queue, number))])
            with suppress(TimeoutError):
                async with asyncio.timeout(HANDS_S):
                    await asked.done
        finally:
            del self._asked[number]
        return asked.hands

    # --- answering ---------------------------------------------------------------------------------------------

    def _came(self, arrival: Arrival) -> None:
        try:
            said = self._decoder.decode(arrival.body)
        except msgspec.MsgspecError:
            return  # somebody else's message has strayed here
        if isinstance(said, Told):
            asked = self._asked.get(said.number)
            if asked is not None:
                asked.add(said.hands)
        elif said.answer != self._queue and self._serving:
            task = asyncio.create_task(self._tell(said), name="waystation-amqp-hands")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, call: Call) -> None:
        told = Told(call.number, await self._count())
        with suppress(TransportError):  # then there is nobody to tell
            await self._sender.sent([_parcel(to_queue(call.answer), told)])

    async def _look(self) -> dict[str, Hand]:
        found = {}
        for member in list(self._serving.values()):
            with suppress(TransportError, Closed, TimeoutError):  # its group is gone, or the connection is
                await member.arrived()
                place = member.place
                hand = Hand(place.ready, place.in_flight, place.waiting, place.oldest())
                found[member.group.line().again] = hand
        return found


def _parcel(route: bytes, said: Call | Told) -> Parcel:
    properties = write_properties({}, content_type="application/json", message_id="", persistent=False)
    return Parcel("", route, properties, msgspec.json.encode(said), kept=False)
