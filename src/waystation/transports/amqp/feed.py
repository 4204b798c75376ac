"""The feeds that the transport hands out: of a group, and of a reply address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ..._core.delivery import Delivery, Settlement
from ..._core.errors import Disconnected, SettlementLost
from ..._core.limits import LEASE_S
from ..._core.ports import Clock
from ..._feeds.bell import Bell
from ..._feeds.mailbox import Mailbox as _Mailbox
from . import binding
from .channel import Arrival
from .connection import Connection
from .driver import Closed
from .member import Member
from .names import Names
from .place import Lease


class GroupFeed:
    """One receiver of a group in this process. Leases are kept here; the server keeps what a process holds.

    Args:
        forget: Called when it is closed, and awaited.
    """

    def __init__(self, member: Member, clock: Clock, forget: Callable[[GroupFeed], Awaitable[None]]) -> None:
        self.member = member
        self._clock = clock
        self._forget = forget
        self._bell = Bell()
        #: There may be something to take.
        self.wake = self._bell.ring
        self._closed = False
        member.place.receivers.append(self)

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery. A connection that is lost meanwhile is waited for, too.

        Raises:
            Disconnected: The feed was closed, before or meanwhile; or its group was removed.
        """
        while not (deliveries := self.take(limit)):
            await self._bell.rung()
        return deliveries

    def listen(self, ready: Callable[[], None], /) -> None:
        """See `PromptFeed`."""
        self.wake = ready

    def take(self, limit: int, /) -> Sequence[Delivery]:
        """Return at most so many deliveries of what is there.

        Raises:
            Disconnected: The feed was closed, or its group was removed.
        """
        member = self.member
        if self._closed:
            raise Disconnected(
                f"the feed of group {member.group.name!r} on {member.group.pattern!r} was closed"
            )
        if member.broken is not None:
            raise member.broken.with_traceback(None)
        taken = member.place.take(self, limit, self._clock.monotonic())
        if taken:
            member.ring()
        member.wants(limit)
        member.look_at_suspects()
        return taken

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        """Keep leases. A lease is over what one `take` returned, and is kept as a whole.

        Raises:
            SettlementLost: Some have ended; the others are kept all the same.
        """
        deadline = self._clock.monotonic() + LEASE_S
        lost = []
        for delivery in deliveries:
            lease = delivery.token
            assert isinstance(lease, Lease), "a delivery of another transport"
            if delivery.index in lease.open:
                lease.deadline = deadline
            elif delivery.index in lease.lost:
                lost.append(delivery)
        if lost:
            raise SettlementLost(
                f"the lease of {len(lost)} of {len(deliveries)} deliveries had ended; they come again",
                deliveries=lost,
            )

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]], /) -> None:
        """Settle deliveries; see `Member.settle`."""
        await self.member.settle(outcomes)

    async def close(self) -> None:
        """Give back what is not settled. May be called twice, also while `receive` waits: it raises then."""
        await self._end(counts=False)

    async def abandon(self) -> None:
        """See `AbandonableFeed`."""
        await self._end(counts=True)

    async def _end(self, *, counts: bool) -> None:
        if self._closed:
            return
        self._closed = True
        place = self.member.place
        place.receivers.remove(self)
        for lease in [lease for lease in place.leases if lease.owner is self]:
            place.end(lease, self._clock.time(), counts=counts)
        self.wake()
        place.wake()
        await self._forget(self)


class Mailbox(_Mailbox):
    """A reply address: an exclusive queue of this connection. A part of the link.

    What arrives while there is no connection is lost, as the answer to an asker who is gone.
    """

    def __init__(self, address: str, names: Names, forget: Callable[[Mailbox], Awaitable[None]]) -> None:
        super().__init__(address)
        self._queue = names.reply(address)
        self._forget = forget
        self._connection: Connection | None = None

    async def up(self, connection: Connection, /) -> None:
        """Make the queue, and consume from it.

        Raises:
            Closed: Another connection has it; one that was just lost may, for a moment.
        """
        channel = await connection.channel()
        channel.on_end = connection.drop
        try:
            await channel.ask(connection.commands.Queue.Declare(0, self._queue, False, False, True, True))
            await channel.consume(self._queue, self._came, no_ack=True)
        except BaseException:
            channel.hang_up()  # else what comes would be divided between this and whoever tries again
            raise
        self._connection = connection

    def down(self, error: Exception, /) -> None:
        """The connection has ended, and the queue with it."""
        self._connection = None

    def _came(self, arrival: Arrival) -> None:
        self.add(binding.message_of(arrival))
        self.wake()

    async def left(self) -> None:
        """Remove the queue."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.ended is None:
            channel = await connection.channel()
            try:
                await channel.ask(connection.commands.Queue.Delete(0, self._queue, False, False, False))
                await channel.close()
            except Closed:
                pass  # it is gone
        await self._forget(self)
