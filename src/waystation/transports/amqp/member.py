"""This process as a member of a group: what it consumes, what it holds, and how it leaves.

Messages without a key come from one queue that all members share. Messages with a key come from partitions, each owned
by one member. A queue of tokens deals them out: who holds a partition's token owns the partition. How many each may
hold goes by how many consume there, so that partitions move when members come and go; a token whose holder vanishes is
the server's to deal again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from ..._core.delivery import Accept, Delivery, Retry, Settlement
from ..._core.errors import Disconnected, SettlementLost, TransportError
from ..._core.ports import Clock
from ..._core.retry import describe
from . import binding
from .channel import Channel
from .connection import Connection
from .copies import again, dead
from .deal import Deal
from .driver import Closed
from .groups import Group
from .limits import SUSPECTS_AWAY_S, SUSPECTS_MESSAGES_MAX
from .lines import Line, Source
from .names import Names
from .place import Ended, Held, Place
from .sender import NoQueue, Parcel, Sender
from .shared import Shared
from .suspicion import Standing

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
    """A part of the link: one subscription of this process, shared by its feeds.

    Attributes:
        moving: Held by who publishes anew what is held, and settles it: one at a time.
    """

    def __init__(self, keeper: Keeper, group: Group) -> None:
        self.group = group
        self.place = Place()
        self.broken: TransportError | None = None
        self.feeds = 0
        self.busy = asyncio.Lock()
        self.moving = asyncio.Lock()
        self.sender = keeper.sender
        self._keeper = keeper
        self._connection: Connection | None = None
        self._shared: Shared | None = None
        self._deal: Deal | None = None
        self._clearing: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()
        self._unbegun: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_their_end: set[asyncio.Task[None]] = set()  # those that would leave things half done
        self._is_leaving = False

    # --- the link ----------------------------------------------------------------------------------------------

    async def up(self, connection: Connection, /) -> None:
        """Begin to consume through a connection."""
        try:
            self._shared = Shared(self, self.group.line())
            await self._shared.begin(connection)
            if self.group.partitions:
                self._deal = Deal(self, self.watch(await connection.channel()))
                self.start(self._deal.run())
        except Closed as closed:
            if closed.code != 404:
                raise
            self.cancelled()
        except BaseException as error:
            self._hang_up()
            self.down(Disconnected(describe(error)))
            raise
        self._connection = connection

    def down(self, error: Exception, /) -> None:
        """The connection has ended: the server has everything back."""
        deal, self._deal = self._deal, None
        if deal is not None:
            deal.down()
        self._connection = self._shared = None
        for task in self._tasks:
            task.cancel()
        self._clearing = None  # a task that is cancelled before it has begun does not say that it is over
        # What was begun here, if anything was, is not known of those that the server had taken back before.
        self._unbegun = {
            held.message.id: 1 for held in self.place.held.values() if not held.taken and not held.doubted
        }
        self.place.lose_all()
        self.place.wake()

    def watch(self, channel: Channel) -> Channel:
        """See to the end of a channel: with a queue the group is gone, else everything begins anew."""

        def on_end(error: Exception) -> None:
            if isinstance(error, Closed) and error.code == 404:
                self.cancelled()
            else:
                channel.connection.drop(error)

        channel.on_end = on_end
        channel.on_cancel = self.cancelled
        return channel

    def cancelled(self, _: str = "") -> None:
        """A queue of the group is gone: somebody has removed the group."""
        self.broken = Disconnected(f"the group {self.group.name!r} on {self.group.pattern!r} was removed")
        self.place.wake()

    async def close(self) -> None:
        """Leave: what is held is published anew, without counting an attempt. Nothing of it is with a feed."""
        self._is_leaving = True
        self._progress.set()
        if self._deal is not None:
            self._deal.settled()
        for task in self._tasks - self._to_their_end:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is None:
            return
        if self.broken is not None:
            self._hang_up()
            return
        try:
            await self._leave()
        except (TransportError, Closed, TimeoutError) as error:
            _log.debug("%s: leaving: %s", self.group.name, describe(error))  # it goes back by itself

    def _hang_up(self) -> None:
        for part in (self._shared, self._deal):
            if part is not None:
                part.hang_up()

    async def _leave(self) -> None:
        if self._deal is not None:
            await self._deal.leave()
        if self._shared is not None:
            await self._shared.leave()

    async def publish_anew(self, source: Source, chosen: Callable[[Held], bool]) -> None:
        """Publish what is held and with no receiver anew in its order, as if it had never been delivered.

        Raises:
            TransportError: It was not published; it goes back with its channel.
        """
        wall = self._keeper.clock.time()
        held = self.place.withdraw(chosen, wall)
        parcels = [
            again(
                each,
                source.line,
                self._keeper.names,
                attempts=each.attempts,
                due=each.due,
                wall=wall,
                level=each.level,
            )[0]
            for each in held
        ]
        if parcels:
            await self._send(parcels)
            source.holds.ack([each.tag for each in held])

    async def _send(self, copies: Sequence[Parcel]) -> None:
        """Send copies of what is acknowledged then.

        Raises:
            TransportError: Some may not have been taken. Where a queue is missing, the group is made anew.
        """
        try:
            await self.sender.sent(copies)
        except NoQueue:
            self.cancelled()
            raise

    def forget(self, line: Line) -> None:
        """A partition is given up: copies of what it had come to somebody else."""
        group = self.group
        self.place.forget(lambda sequence: group.line_of(sequence[1]) == line, self._keeper.clock.time())

    # --- arriving ----------------------------------------------------------------------------------------------

    def arrive(self, held: Held, *, again: bool = False, copy: str = "") -> None:
        """Take in what a partition has."""
        wall = self._keeper.clock.time()
        self.place.arrive(held, wall, again=again, copy=copy)
        if held.due > wall:
            self.ring()
        self.place.wake()

    def standing_of(self, message_id: str, headers: Mapping[str, Any]) -> Standing:
        """Return how a message stands; what was taken back from this process unbegun is not held against it."""
        vanished = binding.vanished(headers)
        forgiven = vanished if vanished and self._unbegun.get(message_id) == vanished else 0
        return binding.standing_of(headers, forgiven=forgiven)

    def look_at_suspects(self) -> None:
        """See to it that what must be is published anew, before it is handed out."""
        self._progress.set()
        if self.place.doubted and self._clearing is None:
            self._clearing = self.start(self._clear(), to_its_end=True)

    async def _clear(self) -> None:
        """Publish suspects anew, the next ones when those before are done with; or somebody else has them."""
        monotonic = asyncio.get_running_loop().time
        away_at = monotonic() + SUSPECTS_AWAY_S
        try:
            while self.place.doubted and not self._is_leaving:
                self._progress.clear()
                async with self.moving:
                    if chosen := self.place.company(SUSPECTS_MESSAGES_MAX):
                        await self._publish_suspects(chosen)
                        away_at = monotonic() + SUSPECTS_AWAY_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(away_at):
                        await self._progress.wait()
                if monotonic() >= away_at:  # also where something is settled all the time
                    self.place.cleared.clear()
        finally:
            if self._clearing is asyncio.current_task():
                self._clearing = None

    async def _publish_suspects(self, chosen: Sequence[Held]) -> None:
        wall, place = self._keeper.clock.time(), self.place
        parcels, copies = [], []
        for held in chosen:
            parcel, copy = again(
                held, held.source.line, self._keeper.names,
                attempts=held.attempts, due=held.due, wall=wall, level=held.level,
            )  # fmt: skip
            parcels.append(parcel)
            copies.append(copy)
            if held.sequence is not None:
                place.expect(copy, held.sequence)
        place.cleared.update(copies)
        place.bar(copies)
        await self._send(parcels)
        self._ack(chosen)
        for source in {held.source for held in chosen}:
            await source.channel.barrier()
        place.unbar(copies, self._keeper.clock.time())
        place.wake()

    def ring(self) -> None:
        """Have the transport look when the next waiting message is due, or the next lease ends."""
        clock = self._keeper.clock
        self._keeper.ring_at(min(self.place.next_end, clock.monotonic() + self.place.next_due - clock.time()))

    def wants(self, count: int) -> None:
        """Somebody could do with so many deliveries at once."""
        if self._shared is not None:
            self._shared.wants(count)

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
            if self._deal is not None:
                self._deal.settled()
            self.ring()
            self.look_at_suspects()
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
        for each in ended:
            each.held.source.under_way += 1
        try:
            await self._send(parcels)
        except BaseException:
            if self._connection is not None:
                for each, copy in zip(ended, copies, strict=True):
                    self.place.put_back(each.held, copy, self._keeper.clock.time())
            raise
        finally:
            for each in ended:
                each.held.source.under_way -= 1
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

    # --- tasks -------------------------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, None], *, to_its_end: bool = False) -> asyncio.Task[None]:
        """Do something beside; should it fail, the connection is given up, and everything begins anew.

        Args:
            to_its_end: Whether who leaves waits for it, and does not cut it off.
        """
        task = asyncio.create_task(work, name=f"waystation-amqp-{self.group.name}")
        self._tasks.add(task)
        if to_its_end:
            self._to_their_end.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._to_their_end.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Closed) and error.code == 404:
            self.cancelled()
        elif error is not None and self._connection is not None:
            self._connection.drop(Disconnected(f"the group {self.group.name!r} broke: {describe(error)}"))

    # --- looking -----------------------------------------------------------------------------------------------

    async def ready(self) -> int:
        """Return how many messages could be delivered now: here, and in the queues that are consumed from here."""
        found = 0
        if self._shared is not None:
            found += await self._shared.ready()
            if self._deal is not None:
                found += await self._deal.ready(self._shared.channel)
        return found + self.place.ready

    async def arrived(self) -> None:
        """Wait until what the server had taken out of the group's queues for this process by now is here.

        Raises:
            Closed: A queue is gone, or the connection has ended.
            TransportError: The connection has ended.
            TimeoutError: There was no answer in time.
        """
        for part in (self._shared, self._deal):
            if part is not None:
                await part.arrived()

    @property
    def consumes(self) -> bool:
        """Whether the server counts this process among those that consume from the group's queues."""
        return self._shared is not None
