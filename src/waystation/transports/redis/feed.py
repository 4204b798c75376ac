"""`GroupFeed`: one member of a group. It takes what there is by a script, and waits for the bell if that is nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..._core.admission import comes_again, sequence_of
from ..._core.delivery import RELEASE, Delivery, Settlement
from ..._core.errors import Disconnected, SettlementLost, TransportError
from ..._core.limits import IDLE_POLL_S, LEASE_S
from ..._core.ports import Clock, Subscription, Timer
from ..._core.topic import is_pattern
from .ahead import Ahead
from .ear import Ear
from .entries import Entries, Entry
from .held import Holdings, Settled, by_lease, leased, taken, token
from .limits import LATER_S, TAKE_BYTES_MAX, TAKE_MESSAGES_MAX
from .line import Lost, teller
from .link import Link

_pack = msgspec.msgpack.Encoder().encode
_LEASE = repr(LEASE_S).encode()
_BYTES = b"%d" % TAKE_BYTES_MAX

#: Shortest wait for something that is due, in seconds: what is due now was taken, so the clocks differ by so little.
_DUE_S_MIN = 0.001


class GroupFeed:
    """A subscription's source of deliveries. It is prompt: see `PromptFeed`.

    What is held stays held through a cut, as far as leases allow; whatever a call took whose reply was lost is given
    back when the connection has come back.

    Args:
        owner: Its name at the server, which nobody else has.
        on_closed: Called once when it has ended.
    """

    def __init__(
        self,
        link: Link,
        ear: Ear,
        subscription: Subscription,
        owner: str,
        *,
        clock: Clock,
        on_closed: Callable[[GroupFeed], object],
    ) -> None:
        assert subscription.group is not None, "a reply address has no group"
        self._link, self._ear, self._clock = link, ear, clock
        self._subscription = subscription
        self._group, self._owner = subscription.group.encode(), owner.encode()
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._held = Holdings(clock)
        self._wanted = 0  # how many somebody waits for
        self._look = True  # there may be something
        self._asked: asyncio.Future[None] | None = None  # ends with the reply of the call that is under way
        self._asked_at = 0.0
        self._timer: Timer | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._ring: Callable[[], None] = self._wake
        self._error: TransportError | None = None
        self._closed = False
        self._turn = 0
        pattern = subscription.pattern
        self._ahead = None if is_pattern(pattern) else Ahead(link, f"{link.options.base}topic:{pattern}")

    async def open(self) -> None:
        """Begin to listen."""
        await self._ear.listen(self._subscription.pattern, self._subscription.group, self._heard)
        self._link.on_back.append(self._back)
        self._link.on_gone.append(self.end)

    # --- receiving ---------------------------------------------------------------------------------------------

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery and return at most `limit`. Cancelling loses nothing: what comes is kept.

        Raises:
            Disconnected: The feed was closed, its group removed, or the server is away.
        """
        self._look = True
        while not (found := self.take(limit)):
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
                self._wanted = 0
        self._wanted = 0
        return found

    def listen(self, ready: Callable[[], None], /) -> None:
        """See `PromptFeed`."""
        self._ring = ready

    def take(self, limit: int, /) -> Sequence[Delivery]:
        """Return at most `limit` of what has come; if that is less, see to it that more comes.

        Raises:
            Disconnected: As `receive`.
        """
        if self._error is not None:
            raise self._error
        found = self._held.next(limit)
        self._wanted = limit - len(found)
        self._ask()
        return found

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _heard(self) -> None:
        """Something may have come."""
        self._look = True
        if self._ahead is not None:
            self._ahead.heard()
        self._ask()

    def _ask(self) -> None:
        """Take something, if somebody waits for it and there may be something."""
        if not (self._wanted and self._look) or self._asked is not None or self._error is not None:
            return
        if not self._link.is_up:
            return  # `_back` asks again
        limit = min(self._wanted, TAKE_MESSAGES_MAX)
        ahead = self._ahead
        if ahead is not None and ahead.is_busy:
            if ahead.is_reading:
                return  # its page asks again
            if ahead.may_read:
                ahead.read(TAKE_MESSAGES_MAX, self._ask)
                return
            if entries := ahead.next(limit):
                self._claim(ahead, entries, limit)
                return
        self._take(limit)

    def _take(self, limit: int) -> None:
        """Take what there is, whatever it is."""
        self._turn += 1
        self._link.begin("take", (*self._begin_asking(limit), b"%d" % self._turn), self._took)

    def _begin_asking(self, limit: int) -> tuple[bytes, ...]:
        """Return what every call that takes something begins with."""
        self._look = False
        self._held.drop_ended()
        self._asked = self._loop.create_future()
        self._asked_at = self._clock.monotonic()
        return (
            self._group,
            self._owner,
            self._subscription.pattern.encode(),
            b"%d" % limit,
            _BYTES,
            _LEASE,
            b"1" if self._held else b"",
        )

    def _claim(self, ahead: Ahead, entries: Sequence[Entry], limit: int) -> None:
        """Take what is ready, else what was read ahead."""
        fresh = dict(enumerate(entries))
        known = Entries(self._subscription.pattern, fresh)
        keyed = [
            part
            for place, (entry_id, _) in fresh.items()
            if (key := known.key_at(place)) is not None
            for part in (place, key, entry_id.decode())
        ]
        arguments = (ahead.cursor, entries[-1][0], b"%d" % len(entries), _pack(keyed))

        def told(reply: Any) -> None:
            self._claimed(ahead, fresh, reply)

        self._link.begin("claim", (*self._begin_asking(limit), *arguments), told)

    def _claimed(self, ahead: Ahead, fresh: dict[int, Entry], reply: Any) -> None:
        """Take in whether what was read is this feed's now, or what else it has taken."""
        if isinstance(reply, list):
            number, waiting, held, state, cursor = reply
            if held or state == b"more":
                fresh = {}
                ahead.go_to(cursor)
            else:
                ahead.took(len(fresh))
            for place in waiting:
                del fresh[place]
            if fresh or held:
                self._held.add(*leased(self._subscription.pattern, number, fresh, held), self._asked_at)
            self._look = state != b"later"
            if ahead.may_read:
                ahead.read(TAKE_MESSAGES_MAX, self._ask)
            reply = [b"", state]
        elif not isinstance(reply, Exception):
            ahead.forget()
            reply = [b"", b"more"]
        else:
            self._look = True
        self._took(reply)

    def _took(self, reply: Any) -> None:
        """Take in what a call has taken."""
        asked, self._asked = self._asked, None
        try:
            self._take_in(reply)
        finally:
            if asked is not None and not asked.done():
                asked.set_result(None)

    def _take_in(self, reply: Any) -> None:
        if isinstance(reply, Lost):
            self._look = True  # asked again when the connection is back
            return
        if isinstance(reply, Exception):
            try:
                self._link.read(reply)
            except TransportError as error:
                self.end(error)
            return
        due, state, *places = reply
        for place in places:
            lease, deliveries = taken(place)
            self._held.add(lease, deliveries, self._asked_at)
            if self._ahead is not None:
                self._ahead.follow(place[5], len(deliveries), place[6])
        if self._closed:
            return  # closing gives it back
        if state == b"later":
            self._wait(LATER_S)
        if self._held.ready:
            self._look = state not in (b"held", b"later")
            self._wanted = 0
            self._ring()
        elif state == b"gone":
            self.end(Disconnected(f"the group {self._subscription.group!r} was removed"))
        elif state == b"more" or self._look:
            self._look = True
            self._ask()
        elif state != b"later":
            self._wait(float(due or IDLE_POLL_S))

    def _wait(self, due_s: float) -> None:
        """Look again when something is due, and now and then anyway."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(max(_DUE_S_MIN, min(IDLE_POLL_S, due_s)), self._heard)

    # --- settling ----------------------------------------------------------------------------------------------

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        """Keep leases. A lease is over what one call took, and is kept as a whole.

        Raises:
            SettlementLost: Some have ended; the others are kept.
            Disconnected: It is unknown whether they were kept.
        """
        asked = {token(delivery): None for delivery in deliveries}
        asked |= {token(delivery): None for delivery in self._held.ready}
        leases = [lease for lease in asked if lease.open]
        if leases:
            now = self._clock.monotonic()
            arguments = [part for lease in leases for part in (lease.topic.encode(), lease.number)]
            reply = await self._link.call("extend", self._group, self._owner, _LEASE, *arguments)
            ended = [leases[place] for place in reply]
            for lease in leases:
                if lease in ended:
                    self._held.lose(lease)
                elif lease.open:
                    self._held.keep(lease, now)
        lost = [delivery for delivery in deliveries if delivery.index in token(delivery).gone]
        if lost:
            raise SettlementLost(_lost(len(lost), len(deliveries)), deliveries=lost)

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]], /) -> None:
        """Settle deliveries, in one call. Cancelling leaves unknown whether it happens.

        What was taken behind a message that is to come again goes back with it, unseen.

        Raises:
            SettlementLost: Some lease had ended. The others are settled.
            Disconnected: It is unknown whether they were; asking again tells.
        """
        behind = {sequence_of(delivery) for delivery, settlement in outcomes if comes_again(settlement)}
        behind.discard(None)
        if behind and self._asked is not None:
            await asyncio.shield(self._asked)
        early = self._held.pick(behind) if behind else []
        settled, lost = by_lease([*outcomes, *((delivery, RELEASE) for delivery in early)])
        if settled:
            lost += await self._settle(settled, [delivery for delivery, _ in outcomes])
        if lost:
            raise SettlementLost(_lost(len(lost), len(outcomes)), deliveries=lost)

    async def _settle(self, settled: list[Settled], deliveries: list[Delivery]) -> list[Delivery]:
        """Tell the server; return those of `deliveries` whose lease had ended."""
        future: asyncio.Future[Any] = self._loop.create_future()
        tell = teller(future)

        def told(reply: Any) -> None:
            self._told(settled, reply)
            tell(reply)

        try:
            await self._link.wait(LEASE_S)
        except BaseException:
            for each in settled:
                each.lease.open.update(each.indexes)
            raise
        batch = _pack([each.packed() for each in settled])
        self._link.begin("settle", (self._group, self._owner, batch), told)
        reply = self._link.read(await future)
        ended = [settled[place].lease for place in reply]
        return [delivery for delivery in deliveries if token(delivery) in ended]

    def _told(self, settled: list[Settled], reply: Any) -> None:
        """Take in what became of a settlement, also if nobody waits for it any more."""
        if isinstance(reply, Exception):
            for each in settled:
                each.lease.open.update(each.indexes)
            return
        for place in reply:
            self._held.lose(settled[place].lease, settled[place].indexes)
        for each in settled:
            if not each.lease.open:
                self._held.drop(each.lease)
        self._look = True
        self._ask()

    # --- cuts and ends -----------------------------------------------------------------------------------------

    def _back(self) -> None:
        """The connection has come back: give back what calls have taken whose replies were lost, and go on."""
        if self._error is None:
            self._release(lambda _reply: None, died=False, keep=True)
            self._look = True
            self._ask()

    def _release(self, told: Callable[[Any], None], *, died: bool, keep: bool = False) -> None:
        kept = self._held.numbers if keep else []
        self._link.begin("release", (self._group, self._owner, b"1" if died else b"", *kept), told)

    def end(self, error: TransportError) -> None:
        """Nothing more comes, because of that."""
        if self._error is None:
            self._error = error
            self._held.ready = []
            self._ring()

    async def close(self) -> None:
        """Give back what is unsettled, at once. May be called twice, also while `receive` waits: it raises then."""
        await self._close(died=False)

    async def abandon(self) -> None:
        """See `AbandonableFeed`."""
        await self._close(died=True)

    async def _close(self, *, died: bool) -> None:
        if self._closed:
            return
        self._closed = True
        name, pattern = self._subscription.group, self._subscription.pattern
        self.end(Disconnected(f"the feed of group {name!r} on {pattern!r} was closed"))
        if self._timer is not None:
            self._timer.cancel()
        self._ear.forget(pattern, self._heard)
        self._link.on_back.remove(self._back)
        self._link.on_gone.remove(self.end)
        self._on_closed(self)
        self._held.lose_all()
        if self._link.is_up:
            future: asyncio.Future[Any] = self._loop.create_future()
            self._release(teller(future), died=died)
            await future
            return

        def back() -> None:
            self._link.on_back.remove(back)
            self._release(lambda _reply: None, died=died)

        self._link.on_back.append(back)  # if it comes too late, leases have ended by themselves


def _lost(lost: int, of: int) -> str:
    return f"the lease of {lost} of {of} deliveries had ended; they come again"
