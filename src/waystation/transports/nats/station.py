"""`Station`: a group on one topic, as this process serves it: what it owns, what it reads, what it has written.

Whatever changes hands is written before it does: that messages are being handled before a handler gets them, and how
they ended before `settle` returns. Everything that changes while one write is on its way is the next one.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..._core.errors import TransportError
from ..._core.ports import Timer
from .answers import NO_STREAM, NS, ApiError, Stored, kept, nanoseconds
from .encode import message_from, message_of
from .layout import AGAIN, NORMAL, URGENT
from .lease import Receiver
from .ledger import Ledger
from .limits import (
    AGAIN_S,
    AHEAD_BYTES_MAX,
    AHEAD_MESSAGES_MAX,
    CONFLICTS_COUNT_MAX,
    HELD_MESSAGES_MAX,
    PARKED_MESSAGES_MAX,
)
from .losses import first_new, rewound
from .office import Office
from .part import Entry, Part, entry_of, taken_over
from .place import Place
from .reader import StreamReader
from .records import Held, Unit, ranges
from .wire import Msg

_log = logging.getLogger("waystation.nats")


class Origins(Protocol):
    """Who knows where a group begins on a topic."""

    async def origin(self, topic: str, group: str) -> int:
        """Return the number of the first message that is meant for it."""


class Station:
    """A group on a topic.

    Attributes:
        place: What is in memory.
        progress: How often something was settled.
        flush: Waits until everything that has changed is written; see `Ledger`.
    """

    def __init__(self, office: Office, origins: Origins, topic: str, group: str, *, ordered: bool) -> None:
        self.topic, self.group = topic, group
        self.place = Place(topic, group, ordered=ordered)
        self._office, self._origins = office, origins
        self._api, self._clock, self._layout = office.api, office.clock, office.layout
        self._stream = self._layout.stream(topic)
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._reader, self._urgent = (
            StreamReader(self._api, self._stream, heard=self._heard, room=self._room, gone=self._gone)
            for _ in range(2)
        )
        self._ledger = Ledger(office, self.place, lost=self.look_soon, closed=lambda: self._closed)
        self.flush = self._ledger.flush
        self._looking: asyncio.Task[None] | None = None
        self._look_again = self._to_check = False
        self._alarm: Timer | None = None
        self._alarm_at = math.inf
        self._stamp = 0  # when the newest message that came was stored
        self._bell = office.link.subscribe(self._layout.bell(topic, group), self._rung)
        self._closed = False
        self.progress = 0

    # --- partitions ----------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Take over the partitions that are to be had, and leave those that are another's.

        Raises:
            TransportError: It could not be done; asking again does no harm.
        """
        async with self._lock:
            if self._closed:
                return
            wanted = self._office.share(self.topic, self.group) if self.place.receivers else set()
            for number, part in self.place.parts.items():
                if part.leaving != (number not in wanted):
                    part.leaving = number not in wanted
                    part.changed = True
            await self.flush()
            missing = wanted - set(self.place.parts)
            claimed = bool(missing) and await self._claim(missing)
            if claimed or (self.place.parts and not self._reading):
                await self._read()

    def look_soon(self, *, check: bool = False) -> None:
        """Do that, some time; and once more, if it is being done.

        Args:
            check: Whether the server may have come back with less than it had.
        """
        self._look_again = True
        self._to_check = self._to_check or check
        if (self._looking is None or self._looking.done()) and not self._closed:
            self._looking = self._loop.create_task(self._keep_looking())

    async def _keep_looking(self) -> None:
        attempts = 0
        while self._look_again and attempts < CONFLICTS_COUNT_MAX:
            self._look_again = False
            try:
                if self._to_check:
                    await self.check()
                    self._to_check = False
                await self.look()
            except TransportError as error:
                _log.debug("%s/%s: %s", self.topic, self.group, error)
                self._look_again = True
                attempts += 1
                await asyncio.sleep(AGAIN_S * attempts)

    async def _claim(self, missing: set[int]) -> bool:
        found: dict[int, tuple[Unit, int]] = {}
        for stored in await self._api.keys(self._layout.unit(self.topic, self.group, "*")):
            number = int(self._layout.parts(stored.subject)[-1])
            found[number] = (msgspec.json.decode(stored.body, type=Unit), stored.sequence)
        start = await self._origins.origin(self.topic, self.group)
        found |= await rewound(self._api, self._stream, {each: found[each] for each in missing & set(found)})
        taken: list[tuple[int, Unit, dict[int, Held], int]] = []
        for number in sorted(missing):
            unit, revision = found.get(number, (Unit(tops=(start - 1, start - 1, start - 1)), 0))
            died = bool(unit.owner) and unit.owner != self._office.me
            if died and self._office.is_there(unit.owner):
                continue  # it will leave it, or die
            taken.append((number, unit, taken_over(unit, died=died), revision))
        frames = [
            kept(self._layout.unit(self.topic, self.group, number), self._claimed(unit, held), revision)
            for number, unit, held, revision in taken
        ]
        confirmed = await self._api.write(frames)
        won = [
            (number, unit, held, answer.seq)
            for (number, unit, held, _), answer in zip(taken, confirmed, strict=True)
            if answer.error is None
        ]
        await self._add(won)
        if len(won) < len(taken):
            self.look_soon()
        return bool(won)

    async def check(self) -> None:
        """After a cut: if the stream has lost what was read, what is in memory is of no use.

        Raises:
            TransportError: That could not be found out.
        """
        # As they are now: what comes while the server is asked is newer than what it is asked for.
        read = [(part, max(part.tops)) for part in self.place.parts.values() if part.stamp]
        firsts = await first_new(self._api, self._stream, [part.stamp for part, _ in read])
        if any(first <= top and not part.lost for (part, top), first in zip(read, firsts, strict=True)):
            _log.warning("%s has lost messages that were there; what has come since is handled", self._stream)
            await self.reload()

    def _claimed(self, unit: Unit, found: dict[int, Held]) -> Unit:
        held = [each for each in found.values() if each.attempts]
        left = ranges(number for number, each in found.items() if not each.attempts)
        return Unit(self._office.me, unit.tops, [], held, left, unit.parked, unit.stamp)

    async def _add(self, won: Sequence[tuple[int, Unit, dict[int, Held], int]]) -> None:
        """Put what was won into memory, with the messages that are not settled."""
        wanted = sorted(sequence for _, _, found, _ in won for sequence in found)
        stored = {each.sequence: each for each in await self._api.get_all(self._stream, wanted)}
        wall = self._clock.time()
        for number, unit, found, revision in won:
            part = Part(number, revision, unit.tops, unit.stamp)
            entries = [
                self._entry(each, number, stored[each.sequence])
                for each in found.values()
                if each.sequence in stored
            ]
            self.place.add(part, entries, wall)
        self.ring()
        self.place.wake()

    def _entry(self, held: Held, number: int, stored: Stored) -> Entry:
        lane, _ = self._layout.lane_and_partition(stored.subject)
        headers = dict(stored.headers)
        message = message_from(self.topic, self._stream, stored.sequence, headers, stored.body)
        return entry_of(held, number, lane, message)

    def _rung(self, _: Msg) -> None:
        self.look_soon()

    async def reload(self) -> None:
        """Somebody has moved the group's place: forget what is in memory, and begin there."""
        async with self._lock:
            wall = self._clock.time()
            for number in list(self.place.parts):
                self.place.parts[number].lost = True
                self.place.drop(number, wall)
        await self.look()

    # --- reading -------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        parts = self.place.parts.values()
        plain, urgent = self._layout.read_by(self.topic, self.group, set(self.place.parts))
        start = min((min(part.read[NORMAL], part.read[AGAIN]) for part in parts), default=0)
        try:
            await self._reader.begin(plain, start + 1)
            first = min((part.read[URGENT] for part in parts), default=0)
            await self._urgent.begin(urgent, first + 1)
        except ApiError as error:
            if error.number != NO_STREAM:
                raise

    def _heard(self, sequence: int, msg: Msg) -> None:
        lane, partition = self._layout.lane_and_partition(msg.subject.decode())
        stamp = int(msg.reply.split(b".")[-2 if msg.reply.count(b".") == 8 else -3])
        self._stamp = max(self._stamp, stamp)
        part = self.place.parts.get(partition)
        if part is None or sequence <= part.read[lane]:
            return
        message = message_of(self.topic, self._stream, sequence, msg.header, msg.body, stamp / NS)
        if self.place.arrive(Entry(sequence, partition, lane, message), stamp):
            self.place.wake()

    def _gone(self) -> None:
        self.look_soon(check=True)

    def _room(self) -> int:
        place = self.place
        if place.fresh_bytes > AHEAD_BYTES_MAX or place.parked > PARKED_MESSAGES_MAX:
            return 0
        if place.held > HELD_MESSAGES_MAX:
            return 0
        return AHEAD_MESSAGES_MAX - len(place.fresh)

    def pull(self) -> None:
        """There is more room for what can be read."""
        self._reader.pull()
        self._urgent.pull()

    async def unread(self) -> int:
        """Return how many messages there are in its partitions that are not in memory.

        Raises:
            TransportError: That is unknown.
        """
        if not self.place.parts:
            return 0
        if self._reading:
            return await self._reader.unread() + await self._urgent.unread()
        counts = []
        for number, part in self.place.parts.items():
            plain, urgent = self._layout.read_by(self.topic, self.group, {number})
            for subject, lane in ((plain[0], NORMAL), (plain[1], AGAIN), (urgent[0], URGENT)):
                counts.append(self._api.next(self._stream, subject, part.read[lane] + 1))
        return sum([count for _, count in await asyncio.gather(*counts)])

    @property
    def _reading(self) -> bool:
        return self._reader.reading and self._urgent.reading

    async def catch_up(self) -> None:
        """Wait until what is there now has been read, or there is no room for more.

        Raises:
            TransportError: That could not be found out.
        """
        for reader in (self._urgent, self._reader):
            for _ in range(CONFLICTS_COUNT_MAX):
                if not await reader.unread() or self._room() <= 0:
                    break
                await asyncio.sleep(0.001)

    def settled(self) -> None:
        """Something has been settled: there may be something to delete."""
        self.progress += 1

    async def read_through(self) -> None:
        """Take down how far has been read where nothing has come, so that others need not wait for it.

        Raises:
            TransportError: That could not be found out, or not be written.
        """
        info = await self._api.stream_info(self._stream)
        if info is None or not self._reading:
            return
        last, stamp = int(info["state"]["last_seq"]), nanoseconds(str(info["state"]["last_ts"]))
        news = False
        for reader, lanes in ((self._reader, (NORMAL, AGAIN)), (self._urgent, (URGENT,))):
            consumer = reader.consumer
            news |= bool(consumer) and self.place.read_up_to(reader.last, lanes, self._stamp)
            if not consumer or reader.last >= last:
                continue
            # The reader's server may be behind: that nothing follows is true if the leader says so.
            asked = [self._api.follows(self._stream, each, reader.last + 1) for each in reader.subjects]
            found = await asyncio.gather(*asked)
            if not any(0 < number <= last for number in found) and reader.consumer == consumer:
                news |= self.place.read_up_to(last, lanes, stamp)
        if news:
            await self.flush()

    def cut(self) -> None:
        """The connection has gone."""
        self._reader.cut()
        self._urgent.cut()

    # --- time ----------------------------------------------------------------------------------------------------

    def ring(self) -> None:
        """See to it that somebody looks when the next lease ends, and when the next message is due."""
        now, wall = self._clock.monotonic(), self._clock.time()
        wait_s = min(self.place.next_end - now, self.place.next_due - wall)
        if wait_s == math.inf or now + wait_s >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = now + wait_s
        self._alarm = self._clock.call_later(max(0.0, wait_s), self._tick)

    def _tick(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        if self._closed:
            return
        self.place.tick(self._clock.monotonic(), self._clock.time())
        self.ring()
        if self.place.has_ready:
            self.place.wake()

    # --- coming and going ----------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether it serves nobody any more."""
        return self._closed

    async def join(self, receiver: Receiver) -> None:
        """Have one more member here."""
        self.place.receivers.append(receiver)
        await self.look()

    async def leave(self, receiver: Receiver) -> None:
        """Have one less; the last one leaves the partitions to others."""
        if receiver in self.place.receivers:
            self.place.receivers.remove(receiver)
        if self.place.receivers:
            await self.flush()
            self.place.wake()
            return
        await self.close()

    async def close(self) -> None:
        """Leave every partition. May be called twice.

        Raises:
            Disconnected: It could not be said to others; they find out when this process is not there any more.
        """
        if self._closed:
            return
        async with self._lock:
            self._office.link.unsubscribe(self._bell)
            if self._looking is not None and self._looking is not asyncio.current_task():
                self._looking.cancel()
            if self._alarm is not None:
                self._alarm.cancel()
            try:
                await asyncio.gather(self._reader.close(), self._urgent.close())
                for part in self.place.parts.values():
                    part.leaving = part.changed = True
                await self.flush()
            finally:
                self._closed = True
                self._ledger.stop()  # if there was no time
