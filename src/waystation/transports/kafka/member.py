"""`Member`: this process as a member of one group, on the event loop; its feeds share what the broker gives it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from ..._core.delivery import Retry
from ..._core.errors import Refused, TransportError
from ..._core.ports import Clock
from .broker import Broker
from .driver import Told, name_of, translate
from .limits import HANDOVER_S, POLL_S, SETTLE_IN_S, TELL_AGAIN_S
from .names import Spot
from .place import Place
from .poller import Given, Poller
from .room import Room
from .sender import Sender
from .telling import Teller

_log = logging.getLogger("waystation.kafka")


class Taker(Protocol):
    """A feed, as its member sees it."""

    def reads(self, topic: str) -> bool:
        """Say whether it is for a topic."""

    def wake(self) -> None:
        """There may be something to take."""


class Member:
    """A group's member.

    Args:
        group: By our name.
        ordered: Whether a topic's messages keep their order by key.
        start_of: Where the group begins in a partition in which it has no place.
        ring_at: Calls `tick` at an instant of the monotonic clock, or earlier.

    Attributes:
        places: What it owns.
        room: For what arrives.
        trouble: Why nothing comes, if that needs somebody's hand; None: nothing is known.
    """

    def __init__(
        self,
        group: str,
        broker: Broker,
        sender: Sender,
        *,
        clock: Clock,
        ordered: Callable[[str], bool],
        start_of: Callable[[Spot], int],
        ring_at: Callable[[float], None],
    ) -> None:
        self.group = group
        self.places: dict[Spot, Place] = {}
        self.room = Room(self.places, clock=clock)
        self.trouble: TransportError | None = None
        self.start_of = start_of
        self._broker = broker
        self._clock = clock
        self._ordered = ordered
        self._ring_at = ring_at
        self._teller = Teller(group, broker, sender, self.places, clock=clock)
        self._topics: tuple[str, ...] = ()
        self._takers: list[Taker] = []
        self._is_cut = self._is_closing = False
        self.tell, self.tell_before, self.tell_soon = (
            self._teller.tell,
            self._teller.tell_before,
            self._teller.tell_soon,
        )

    # --- feeds -----------------------------------------------------------------------------------------------

    def join(self, taker: Taker) -> None:
        """Let a feed take from what this member owns, as far as it reads it."""
        self._takers.append(taker)
        for place in self.places.values():
            self._meet(place, taker)

    def leave(self, taker: Taker) -> None:
        """It takes no more."""
        self._takers.remove(taker)
        for place in self.places.values():
            if taker in place.receivers:
                place.receivers.remove(taker)

    @property
    def has_feeds(self) -> bool:
        """Whether somebody takes from it."""
        return bool(self._takers)

    def subscribe(self, topics: Iterable[str]) -> None:
        """Read these topics, by the broker's names."""
        wanted = tuple(sorted(topics))
        if not wanted or wanted == self._topics or self._is_closing:
            return
        self._topics = wanted
        if self._teller.poller is None:
            config = self._broker.options.member(self._broker.names.group(self.group), self._broker.protocol)
            self._teller.poller = self.room.tap = Poller(self, config, wanted)
            self._teller.poller.start()
        else:
            self._teller.poller.subscribe(wanted)

    def _meet(self, place: Place, taker: Taker) -> None:
        if taker.reads(place.topic) and taker not in place.receivers:
            place.receivers.append(taker)
            taker.wake()

    # --- what the poller says --------------------------------------------------------------------------------

    def arrived(self, records: list[Any]) -> None:
        """Take in records and complaints, out of a list that is empty then: none is kept for longer than needed."""
        touched: dict[Spot, Place] = {}
        spot: Spot = ("", -1)
        place: Place | None = None
        records.reverse()
        while records:
            raw = records.pop()
            error = raw.error()
            if error is not None:
                self._complained(error)
                continue
            if raw.partition() != spot[1] or raw.topic() != spot[0]:
                spot = (raw.topic(), raw.partition())
                place = self.places.get(spot)
                if place is not None:
                    touched[spot] = place
            if place is not None:
                place.add(raw)
        if touched:
            self.trouble = None
            if self._is_cut:
                self._is_cut = False
                _log.info("group %s: the broker is there again", self.group)
        self.room.arrived(touched.values())
        for place in touched.values():
            place.wake()

    def _complained(self, error: Any) -> None:
        failure = translate(Told(error), f"group {self.group!r}", self._broker.options.servers)
        if name_of(error) == "_ALL_BROKERS_DOWN" and not self._is_cut:
            self._is_cut = True
            _log.warning("group %s: %s", self.group, failure)
        if isinstance(failure, Refused) or error.fatal():
            self._fail(failure)
        if error.fatal() and self._teller.poller is not None:
            self._teller.begin(self._renew(self._teller.poller))

    def _fail(self, failure: Exception) -> None:
        self.trouble = failure if isinstance(failure, TransportError) else TransportError(str(failure))
        for taker in self._takers:
            taker.wake()

    async def _renew(self, poller: Poller) -> None:
        """Begin anew as a member: this one cannot go on."""
        topics, self._topics = self._topics, ()
        self._teller.poller = None
        self.room.close()
        self.lost(list(self.places))
        await poller.stop()
        await asyncio.sleep(TELL_AGAIN_S)  # the broker's pace
        self.subscribe(topics)

    def given(self, partitions: Sequence[Given]) -> None:
        """Begin to serve partitions."""
        names = self._broker.names
        self.trouble = None
        self.lost([each.spot for each in partitions])
        for each in partitions:
            again = names.again_parts(each.spot[0])
            topic = again[1] if again else names.ours(each.spot[0]) or each.spot[0]
            place = Place(topic, each.spot, self.group, each.mark, ordered=self._ordered(topic), end=each.end)
            self.places[each.spot] = place
            self.room.given(each.spot)
            if each.mark.state_from >= 0:
                place.ready_to_serve = False
                self._teller.begin(self._restore(each, place))
            for taker in self._takers:
                self._meet(place, taker)

    async def _restore(self, given: Given, place: Place) -> None:
        await self._teller.restore(given.spot, place, given.mark)
        self._ring_at(place.next_due)
        place.wake()

    async def surrender(self, spots: Sequence[Spot]) -> None:
        """Let handlers finish with what they have of these partitions, tell the broker, and let go."""
        places = {spot: self.places[spot] for spot in spots if spot in self.places}
        for place in places.values():
            place.ready_to_serve, place.is_leaving = False, True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HANDOVER_S):
                while any(place.in_flight for place in places.values()):
                    self._teller.told.clear()
                    await self._teller.told.wait()
        try:
            await self._teller.put_down(places, Retry(0.0))
        except TransportError as error:
            _log.warning("group %s: a last word on what moves elsewhere was not heard: %s", self.group, error)
        self.lost(spots)

    def lost(self, spots: Sequence[Spot]) -> None:
        """These are somebody else's."""
        for spot in spots:
            place = self.places.pop(spot, None)
            if place is not None:
                place.drop()
        self._teller.told.set()

    def ended(self, error: BaseException | None) -> None:
        """The poller is gone."""
        poller = self._teller.poller
        if error is not None and poller is not None and not self._is_closing:
            self._fail(translate(error, f"group {self.group!r}", self._broker.options.servers))
            self._teller.begin(self._renew(poller))

    # --- the end ---------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Leave the group. Nobody takes any more."""
        self._is_closing = True
        for place in self.places.values():
            place.ready_to_serve, place.is_leaving = False, True
        try:
            async with asyncio.timeout(HANDOVER_S):
                await self._teller.finish()
                await self._teller.put_down(dict(self.places), Retry(0.0))
        except (TransportError, TimeoutError) as error:
            _log.warning("group %s: a last word was not heard, messages come again: %s", self.group, error)
        self.room.close()
        if self._teller.poller is not None:
            await self._teller.poller.stop()
        self.lost(list(self.places))
        await self._teller.close()

    async def settle_in(self, spots: Sequence[Spot]) -> None:
        """Wait for partitions that may be on their way to this process, but not for those that are others'."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SETTLE_IN_S
        while any(spot not in self.places for spot in spots) and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)  # nobody tells of what does not come

    def seek(self, spot: Spot, offset: int) -> None:
        """Go elsewhere in a partition that is ours."""
        place = self.places[spot]
        place.seek(offset, self._clock.monotonic())
        assert self._teller.poller is not None, "there is a place"
        self._teller.poller.seek(spot, offset)
        self._ring_at(place.next_due)
        place.wake()

    def tick(self, now: float) -> float:
        """Look at leases and what waits; return when to come again."""
        first = float("inf")
        for place in self.places.values():
            before = place.has_something
            first = min(first, place.tick(now))
            if place.has_something and not before:
                place.wake()
            if place.to_store:
                self.tell_soon()
        return first
