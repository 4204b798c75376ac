"""This process as a member of a group: what it consumes, what it holds, and how it leaves.

Messages without a key come from one queue that all members share. Messages with a key come from partitions, each owned
by one member. A queue of tokens deals them out: who holds a partition's token owns the partition. How many each may
hold goes by how many consume there, so that partitions move when members come and go; a token whose holder vanishes is
the server's to deal again.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from ..._core.delivery import Accept, Delivery, Retry, Settlement
from ..._core.errors import Disconnected, SettlementLost, TransportError
from ..._core.ports import Clock
from ..._core.retry import describe
from . import binding, frames
from .channel import Arrival, Channel
from .connection import Connection
from .copies import again, dead
from .driver import Closed
from .groups import Group
from .limits import DEAL_LOOK_S, PREFETCH_MESSAGES_MAX, PREFETCH_MESSAGES_MIN
from .lines import Source, ready
from .names import Names
from .partition import Partition
from .place import Ended, Held, Place
from .sender import Parcel, Sender

_log = logging.getLogger("waystation.amqp")


class Keeper(Protocol):
    """What a member needs of its transport."""

    clock: Clock
    names: Names
    sender: Sender

    def ring_at(self, instant: float) -> None:
        """Look at all places again at this instant of the monotonic clock, or earlier."""

    def number_dead(self) -> int:
        """Return the next number for a dead letter."""


class Member:
    """A part of the link: one subscription of this process, shared by its feeds."""

    def __init__(self, keeper: Keeper, group: Group) -> None:
        self.group = group
        self.place = Place()
        self.broken: TransportError | None = None
        self.feeds = 0
        self.busy = asyncio.Lock()
        self.sender = keeper.sender
        self._keeper = keeper
        self._connection: Connection | None = None
        self._shared: Source | None = None
        self._consumer = ""
        self._window = PREFETCH_MESSAGES_MIN
        self._resizing: asyncio.Task[None] | None = None
        self._tokens: Channel | None = None
        self._partitions: dict[int, tuple[Partition, int]] = {}  # with their tokens' tags
        self._releasing: set[Partition] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # --- the link ----------------------------------------------------------------------------------------------

    async def up(self, connection: Connection, /) -> None:
        """Begin to consume through a connection."""
        try:
            channel = await connection.channel()
            channel.on_end, channel.on_cancel = connection.drop, self.cancelled
            self._shared = Source(self.group.line(), channel)
            await channel.limit(self._window)
            self._consumer = await channel.consume(self.group.line().fresh, self._came)
            if self.group.partitions:
                self._tokens = tokens = await connection.channel()
                tokens.on_end, tokens.on_cancel = connection.drop, self.cancelled
                self._start(self._look_at_deal(tokens))
        except Closed as closed:
            if closed.code != 404:
                raise
            self.cancelled("")
        self._connection = connection

    def down(self, error: Exception, /) -> None:
        """The connection has ended: the server has everything back."""
        self._connection = self._shared = self._tokens = None
        for task in self._tasks:
            task.cancel()
        for partition in self._all():
            partition.down()
        self._partitions.clear()
        self.place.lose_all()
        self.place.wake()

    def cancelled(self, _: str) -> None:
        """A queue of the group is gone: somebody has removed the group."""
        self.broken = Disconnected(f"the group {self.group.name!r} on {self.group.pattern!r} was removed")
        self.place.wake()

    async def close(self) -> None:
        """Leave: what is held is published anew, without counting an attempt. Nothing of it is with a feed."""
        for task in self._tasks - {self._resizing}:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is None or self.broken is not None:
            return
        try:
            await self._leave()
        except (TransportError, Closed, TimeoutError) as error:
            _log.debug("%s: leaving: %s", self.group.name, describe(error))  # it goes back by itself

    async def _leave(self) -> None:
        for partition in self._all():
            await partition.leave()
        self._partitions.clear()
        shared, tokens = self._shared, self._tokens
        if tokens is not None:
            await tokens.close()
        if shared is not None:
            await shared.channel.cancel(self._consumer)
            await self.publish_anew(shared, lambda held: held.source is shared)
            await shared.channel.close()

    async def publish_anew(self, source: Source, chosen: Callable[[Held], bool]) -> None:
        """Publish what is held and with no receiver anew in its order, as if it had never been delivered.

        Raises:
            TransportError: It was not published; it goes back with its channel.
        """
        wall = self._keeper.clock.time()
        held = self.place.withdraw(chosen, wall)
        parcels = [
            again(each, source.line, self._keeper.names, attempts=each.attempts, due=each.due, wall=wall)[0]
            for each in held
        ]
        if parcels:
            await self.sender.sent(parcels)
            source.holds.ack([each.tag for each in held])

    # --- arriving ----------------------------------------------------------------------------------------------

    def arrive(self, held: Held, *, again: bool = False, copy: str = "") -> None:
        """Take in what a partition has."""
        wall = self._keeper.clock.time()
        self.place.arrive(held, wall, again=again, copy=copy)
        if held.due > wall:
            self.ring()
        self.place.wake()

    def _came(self, arrival: Arrival) -> None:
        shared = self._shared
        if shared is None:
            return
        shared.holds.add(arrival.tag)
        headers = arrival.properties.get("headers") or {}
        held = Held(
            binding.message_of(arrival), shared, arrival.tag, binding.attempts_of(headers), 0, 0.0, None
        )
        self.place.arrive(held, 0.0, again=held.attempts > 0)
        self.place.wake()

    def ring(self) -> None:
        """Have the transport look when the next waiting message is due, or the next lease ends."""
        clock = self._keeper.clock
        self._keeper.ring_at(min(self.place.next_end, clock.monotonic() + self.place.next_due - clock.time()))

    def wants(self, count: int) -> None:
        """Somebody could do with so many deliveries at once: let the server send more ahead, or fewer."""
        window = PREFETCH_MESSAGES_MIN
        while window < min(count * 2, PREFETCH_MESSAGES_MAX):
            window *= 4
        if (window > self._window or window * 4 < self._window) and self._resizing is None:
            self._resizing = self._start(self._resize(window))

    async def _resize(self, window: int) -> None:
        try:
            shared = self._shared
            if shared is None or shared.channel.ended is not None:
                return
            await shared.channel.cancel(self._consumer)
            await shared.channel.limit(window)
            self._consumer = await shared.channel.consume(shared.line.fresh, self._came)
            self._window = window
        finally:
            self._resizing = None

    # --- settling ----------------------------------------------------------------------------------------------

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]]) -> None:
        """Settle deliveries; what comes again or was given up is published first.

        Raises:
            SettlementLost: Some lease had ended. The others are settled.
            TransportError: The connection has ended, or the server has refused a copy: those come again.
        """
        wall = self._keeper.clock.time()
        ended, lost = self.place.settle(outcomes, wall)
        others = [each for each in ended if not isinstance(each.outcome, Accept)]
        self._ack([each.held for each in ended if isinstance(each.outcome, Accept)])
        try:
            if others:
                await self._publish(others, wall)
        finally:
            for partition in self._releasing:
                partition.settled()
            self.ring()
            if self.place.has_ready:
                self.place.wake()
        if lost:
            raise SettlementLost(
                f"the lease of {len(lost)} of {len(outcomes)} deliveries had ended; they come again",
                deliveries=lost,
            )

    async def _publish(self, ended: Sequence[Ended], wall: float) -> None:
        parcels: list[Parcel] = []
        copies: list[str] = []
        for each in ended:
            held, line, outcome = each.held, each.held.source.line, each.outcome
            copy = ""
            if isinstance(outcome, Retry):
                parcel, copy = again(
                    held,
                    line,
                    self._keeper.names,
                    attempts=each.attempt,
                    due=wall + outcome.delay_s,
                    wall=wall,
                )
                if held.sequence is not None:
                    self.place.expect(copy, held.sequence)
            else:
                assert not isinstance(outcome, Accept), "these need no copy"
                parcel = dead(
                    held, line, outcome, number=self._keeper.number_dead(), attempts=each.attempt, wall=wall
                )
            parcels.append(parcel)
            copies.append(copy)
        try:
            await self.sender.sent(parcels)
        except BaseException:
            if self._connection is not None:
                for each, copy in zip(ended, copies, strict=True):
                    self.place.put_back(each.held, copy, self._keeper.clock.time())
            raise
        self._ack([each.held for each in ended])

    def _ack(self, held: Sequence[Held]) -> None:
        by_source: dict[Source, list[int]] = {}
        for each in held:
            by_source.setdefault(each.source, []).append(each.tag)
        for source, tags in by_source.items():
            source.holds.ack(tags)

    def skip(self) -> None:
        """Forget what was never tried, and take back what receivers hold."""
        wall = self._keeper.clock.time()
        for lease in list(self.place.leases):
            self.place.end(lease, wall, counts=False)
        self._ack(self.place.withdraw(lambda held: not held.attempts, wall))

    # --- partitions --------------------------------------------------------------------------------------------

    async def _look_at_deal(self, tokens: Channel) -> None:
        """Own as many partitions as are this member's share, as long as the connection lasts."""
        members, extra, left = 0, 0, 0
        while True:
            count = max(1, (await tokens.look(self.group.line().fresh)).consumer_count)
            waiting = (await tokens.look(self.group.tokens)).message_count
            if count != members:
                members, extra, left = count, 0, 0
            left = left + 1 if waiting else 0
            if (
                left > _LEFT_LOOKS_COUNT
            ):  # somebody consumes there who owns no partitions, such as another program
                extra, left = extra + 1, 0
            share = math.ceil(self.group.partitions / members) + extra
            if waiting and len(self._partitions) < share:
                await self._acquire(tokens, share - len(self._partitions))
            for number in list(self._partitions)[share:]:
                self._start(self._release(tokens, number))
            await asyncio.sleep(DEAL_LOOK_S)

    def _all(self) -> list[Partition]:
        return [*(partition for partition, _ in self._partitions.values()), *self._releasing]

    async def _acquire(self, tokens: Channel, count: int) -> None:
        begun = []
        for _ in range(count):
            token = await tokens.get(self.group.tokens)
            if token is None:
                break
            number = int(binding.note(token) or 0)
            partition = Partition(self, self.group.line(number))
            self._partitions[number] = partition, token.tag
            begun.append(partition)
        await asyncio.gather(*(partition.acquire(tokens.connection) for partition in begun))

    async def _release(self, tokens: Channel, number: int) -> None:
        partition, tag = self._partitions.pop(number)
        self._releasing.add(partition)
        try:
            await partition.release()
        finally:
            self._releasing.discard(partition)
        tokens.write(frames.nack(tokens.number, tag, multiple=False))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=f"waystation-amqp-{self.group.name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Closed) and error.code == 404:
            self.cancelled("")
        elif error is not None and self._connection is not None:
            self._connection.drop(Disconnected(f"the group {self.group.name!r} broke: {describe(error)}"))

    # --- looking -----------------------------------------------------------------------------------------------

    async def ready(self) -> int:
        """Return how many messages could be delivered now: here, and in the queues that are consumed from here."""
        shared = self._shared
        found = await ready(shared.channel, shared.line.fresh) if shared is not None else 0
        for number in range(self.group.partitions):
            owned = self._partitions.get(number)
            if owned is not None:
                found += await owned[0].ready()
            elif shared is not None:
                line = self.group.line(number)
                found += await ready(shared.channel, line.fresh, line.again)
        return found + len(self.place.held) - self.place.in_flight - self._held_back

    @property
    def _held_back(self) -> int:
        return self.place.waiting - self.place.expected


#: How often tokens may be found left over before a member takes more than its share.
_LEFT_LOOKS_COUNT = 4
