"""`Teller`: what a member tells the broker. Records first, then marks; many that wait for it share one round."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from ..._core.delivery import Release, Retry
from ..._core.errors import Disconnected, TransportError
from ..._core.limits import SEND_TIMEOUT_S
from ..._core.ports import Clock
from .broker import Broker
from .driver import kafka_error, name_of, send_failure, sentence, translate
from .lease import Letter
from .ledger import CONFIG, Ledger, give_back, take_wishes
from .letters import letter_of
from .limits import COMMIT_S, STATE_PARTITIONS_COUNT, TELL_AGAIN_S
from .marks import Mark
from .names import Spot
from .place import Place
from .poller import Poller
from .sender import Entry, Outcome, Sender

_log = logging.getLogger("waystation.kafka")

#: What the broker says while partitions move. If they are still ours, asking again helps; if not, we hear of it.
_MOVING = frozenset((
    "ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "FENCED_MEMBER_EPOCH", "STALE_MEMBER_EPOCH", "REBALANCE_IN_PROGRESS",
    "_WAIT_COORD", "_TRANSPORT", "NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS",
    "_TIMED_OUT", "REQUEST_TIMED_OUT", "_STATE", "UNKNOWN_TOPIC_OR_PART",
))  # fmt: skip

#: How long to wait before a commit is tried again, in seconds.
_AGAIN_S = 0.1


class Teller:
    """Tells the broker of a member's places.

    Args:
        group: By our name.
        places: The member's; it changes them.

    Attributes:
        poller: By which marks are committed; None: this process is no member.
        told: Set whenever somebody waits for a round, or a place is gone.
    """

    def __init__(
        self, group: str, broker: Broker, sender: Sender, places: Mapping[Spot, Place], *, clock: Clock
    ) -> None:
        self.poller: Poller | None = None
        self.told = asyncio.Event()
        self._group = group
        self._broker = broker
        self._sender = sender
        self._places = places
        self._clock = clock
        self._kafka_group = broker.names.group(group)
        self._owner = secrets.token_urlsafe(6)
        self._writing = asyncio.Lock()
        self._waiters: list[asyncio.Future[None]] = []
        self._round: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None

    async def tell(self) -> None:
        """Wait until the broker knows all that has happened here.

        Raises:
            TransportError: It does not, yet.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.told.set()
        if self._round is None:
            self._round = self.begin(self._tell_all())
        await waiter

    async def tell_before(self, spots: Sequence[Spot]) -> None:
        """Wait until the broker knows what it must before something of these partitions is handed out.

        Raises:
            TransportError: It does not, yet.
        """
        places = {spot: self._places[spot] for spot in spots if spot in self._places}
        if any(place.must_tell for place in places.values()):
            await self.tell()
        elif places:
            async with self._writing:
                await self._write(places)

    def tell_soon(self) -> None:
        """Let the broker know, without waiting for it."""
        if self._round is None and self.poller is not None:
            self._round = self.begin(self._tell_all())

    async def _tell_all(self) -> None:
        try:
            while True:
                waiters, self._waiters = self._waiters, []
                error: BaseException | None = None
                try:
                    await self._tell_once()
                except TransportError as failed:
                    error = failed
                for waiter in waiters:
                    if not waiter.done():
                        if error is None:
                            waiter.set_result(None)
                        else:
                            waiter.set_exception(error)
                if error is not None and not self._waiters:
                    self._again = asyncio.get_running_loop().call_later(TELL_AGAIN_S, self.tell_soon)
                if not self._waiters:
                    return
        finally:
            self._round = None
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_exception(Disconnected(f"group {self._group!r} was left"))
            self._waiters = []

    async def _tell_once(self) -> None:
        places = {spot: place for spot, place in self._places.items() if _has_news(place)}
        while any(place.to_store or place.to_bury or place.to_erase for place in places.values()):
            async with self._writing:
                await self._write(places)
        await self._commit(places)

    async def _write(self, places: Mapping[Spot, Place]) -> None:
        """Write the records that places want."""
        ledger: Ledger | None = None
        if any(place.to_store or place.to_erase for place in places.values()):
            ledger = await self._ledger()
            await self._enter(ledger, {spot: place for spot, place in places.items() if place.to_store})
        if any(place.to_bury for place in places.values()):
            await self._broker.ensure(self._broker.names.dead, partitions=1, config=CONFIG)
        taken = [(spot, place, take_wishes(place)) for spot, place in places.items()]
        entries: list[Entry] = []
        for spot, place, wishes in taken:
            if ledger is not None:
                entries += [ledger.store(spot, place.owner, held) for held in wishes.stores]
                entries += [ledger.erase(spot, place.owner, held.offset) for held in wishes.erases]
            entries += [self._letter(place, letter) for letter in wishes.letters]
        errors = (await self._sender.put(entries)).errors if entries else {}
        for _, place, wishes in taken:
            if errors:
                give_back(place, wishes)
            else:
                place.written(wishes.stores, wishes.letters, wishes.erases)
        if errors:
            raise send_failure(next(iter(errors.values())), "")

    def _letter(self, place: Place, letter: Letter) -> Entry:
        return letter_of(self._broker.names.dead, self._group, place, letter, self._clock.time())

    async def _ledger(self) -> Ledger:
        names = self._broker.names
        facts = await self._broker.ensure(names.state, partitions=STATE_PARTITIONS_COUNT, config=CONFIG)
        return Ledger(self._kafka_group, names.state, facts.partitions, clock=self._clock)

    async def _enter(self, ledger: Ledger, places: Mapping[Spot, Place]) -> None:
        """Before the first record of a partition: put down where its records begin."""
        new = {spot: place for spot, place in places.items() if place.state_from < 0}
        if not new:
            return
        outcomes = await asyncio.gather(*(self._put([ledger.entry(spot, self._owner)]) for spot in new))
        for (_, place), outcome in zip(new.items(), outcomes, strict=True):
            place.state_from, place.owner = outcome.last, self._owner
        await self._commit(new)

    async def restore(self, spot: Spot, place: Place, mark: Mark) -> None:
        """Take over what another owner of a partition has put off, and let it be served then."""
        while not place.is_dropped:
            try:
                async with self._writing:
                    ledger = await self._ledger()
                    entered = await self._put([ledger.entry(spot, self._owner)])
                    records = await self._broker.read(ledger.spot(spot), mark.state_from, entered.last)
                    held = ledger.read(spot, mark.owner, records)
                    if held:
                        await self._put([ledger.store(spot, self._owner, each) for each in held])
                    place.restore(held, entered.last, self._owner, self._clock.monotonic())
                    await self._commit({spot: place})
                    if mark.owner != self._owner:  # only now does nobody read the others any more
                        stale = [ledger.erase(spot, mark.owner, each.offset) for each in held]
                        await self._put([*stale, ledger.farewell(spot, mark.owner)])
                break
            except TransportError as error:
                _log.warning("group %s: what was put off cannot be read yet: %s", self._group, error)
                await asyncio.sleep(TELL_AGAIN_S)  # the broker's pace
        if not place.is_dropped:
            place.ready_to_serve = not place.is_leaving

    async def _put(self, entries: Sequence[Entry]) -> Outcome:
        outcome = await self._sender.put(entries)
        if outcome.errors:
            raise send_failure(next(iter(outcome.errors.values())), "")
        return outcome

    async def _commit(self, places: Mapping[Spot, Place], *, last: bool = False) -> None:
        """Put down the marks of places, those of them that are ours."""
        deadline = asyncio.get_running_loop().time() + SEND_TIMEOUT_S - 5.0
        while True:
            ours = {spot: place for spot, place in places.items() if not place.is_dropped}
            if not ours or self.poller is None:
                return
            marks = {spot: place.last_mark() if last else place.mark() for spot, place in ours.items()}
            for place in ours.values():
                place.changed = False
            try:
                await self._commit_once(marks)
            except TransportError as error:
                for place in ours.values():
                    place.changed = True
                if not isinstance(error, _Moving) or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_AGAIN_S)  # the broker's pace: partitions move, or it comes back
                continue
            for spot, place in ours.items():
                place.claimed = max(place.claimed, marks[spot].claimed)
            return

    async def _commit_once(self, marks: Mapping[Spot, Mark]) -> None:
        assert self.poller is not None, "somebody looked"
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: BaseException | None) -> None:
            if not answer.done():
                answer.set_result(None) if error is None else answer.set_exception(error)

        try:
            self.poller.commit(marks, done)
            async with asyncio.timeout(COMMIT_S):
                await answer
        except TimeoutError:
            raise _Moving(f"group {self._group!r}: the broker does not answer a commit") from None
        except RuntimeError as error:
            raise Disconnected(f"group {self._group!r} was left: {error}") from error
        except Exception as error:
            found = kafka_error(error)
            if found is None:
                raise
            if name_of(found) in _MOVING:
                raise _Moving(f"group {self._group!r}: {sentence(found)}") from error
            raise translate(error, f"group {self._group!r}", self._broker.options.servers) from error

    async def put_down(self, places: Mapping[Spot, Place], how: Retry | Release) -> None:
        """End all leases, and tell the broker the last of these places."""
        now = self._clock.monotonic()
        for place in places.values():
            for lease in list(place.leases):
                place.end(lease, how, now)
        while any(place.to_store or place.to_bury or place.to_erase for place in places.values()):
            async with self._writing:
                await self._write(places)
        await self._commit(places, last=True)
        for place in places.values():
            place.is_put_down = True

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something that ends with the member."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finish(self) -> None:
        """Wait for the round that is under way."""
        if self._round is not None:
            await asyncio.wait([self._round])

    async def close(self) -> None:
        """Tell nothing more."""
        self.poller = None
        if self._again is not None:
            self._again.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Moving(TransportError):
    """The broker does not take it now, and may soon."""


def _has_news(place: Place) -> bool:
    return bool(
        place.to_store
        or place.to_bury
        or place.to_erase
        or place.changed
        or place.must_tell
        or place.should_tell
    )
