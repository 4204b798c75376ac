"""Looking in: topics, groups, messages, and moving a group's place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from ..._core.inspection import GroupInfo, SeekInfo, TopicInfo, no_such_place
from ..._core.message import Message, available
from ..._core.ports import Start
from ..._core.topic import matches
from .answers import Stored, subjects_of
from .dead import Dead
from .encode import message_from
from .layout import AGAIN, NORMAL, PARTITIONS, URGENT
from .limits import CONFLICTS_COUNT_MAX
from .office import Office
from .records import Group, Held, Place, Unit, numbers
from .registry import Registry
from .station import Station

#: More messages than a place is ever moved over are read in parts.
_SCAN_MAX = 10_000_000


class Stations(Protocol):
    """Who knows what this process serves."""

    def station(self, topic: str, group: str) -> Station | None:
        """Return a group on a topic, if it is served here."""


@dataclass(slots=True)
class _Counts:
    ready: int = 0
    in_flight: int = 0
    waiting: int = 0
    oldest: float | None = None

    def see(self, moment: float | None) -> None:
        """Take a message into account that is not settled."""
        if moment is not None and (self.oldest is None or moment < self.oldest):
            self.oldest = moment


class Looking:
    """What an `Inspector` of topics and groups returns."""

    def __init__(self, office: Office, registry: Registry, dead: Dead, stations: Stations) -> None:
        self._office, self._registry, self._dead, self._stations = office, registry, dead, stations
        self._api, self._layout = office.api, office.layout

    # --- topics --------------------------------------------------------------------------------------------------

    async def topics(self) -> list[TopicInfo]:
        """Return every topic, by name."""
        names = await self._registry.topics()
        groups = await self._registry.groups()
        return [info for name in names if (info := await self._topic(name, groups)) is not None]

    async def _topic(self, topic: str, groups: Sequence[Group]) -> TopicInfo | None:
        info = await self._api.stream_info(self._layout.stream(topic), ">")
        if info is None:
            return None
        state = info["state"]
        wanted = tuple(subject.partition(".")[0] for subject in self._layout.messages(topic))
        count = sum(n for name, n in subjects_of(info) if name.partition(".")[0] in wanted)
        oldest = newest = None
        if count:
            first = await self._first(topic, 1)
            last = await self._newest(topic)
            oldest, newest = (None if each is None else each.time for each in (first, last))
        reads = sorted({each.group for each in groups if matches(each.pattern, topic)})
        return TopicInfo(
            name=topic,
            messages=count,
            next_offset=int(state["last_seq"]),
            bytes=int(state["bytes"]),
            oldest=oldest,
            newest=newest,
            groups=tuple(reads),
        )

    async def _first(self, topic: str, start: int) -> Message | None:
        stored, _ = await self._api.next(self._layout.stream(topic), f"*.*.{topic}", start)
        return None if stored is None else self._message(topic, stored)

    async def _newest(self, topic: str) -> Message | None:
        found = await self._api.last_of(self._layout.stream(topic), self._layout.messages(topic))
        if not found:
            return None
        return self._message(topic, max(found, key=lambda stored: stored.sequence))

    def _message(self, topic: str, stored: Stored) -> Message:
        stream = self._layout.stream(topic)
        return message_from(topic, stream, stored.sequence, dict(stored.headers), stored.body)

    async def browse(self, pattern: str, start: Start, limit: int) -> list[tuple[int, Message]]:
        """Return offsets and messages."""
        found: list[tuple[int, Message]] = []
        for topic in await self._registry.topics(pattern):
            first = await self._registry.find(topic, start)
            stored = await self._api.scan(
                self._layout.stream(topic), self._layout.messages(topic), first, limit=limit
            )
            found += [(each.sequence - 1, self._message(topic, each)) for each in stored]
        found.sort(key=lambda each: (each[1].time, each[0]))
        return found[:limit]

    # --- groups --------------------------------------------------------------------------------------------------

    async def groups(self) -> list[GroupInfo]:
        """Return every group on every topic."""
        names = await self._registry.topics()
        pairs = {
            (each.group, topic)
            for each in await self._registry.groups()
            for topic in names
            if matches(each.pattern, topic)
        }
        dead = await self._dead.counts()
        return [
            await self._group(topic, group, dead.get((group, topic), 0)) for group, topic in sorted(pairs)
        ]

    async def _group(self, topic: str, group: str, dead: int) -> GroupInfo:
        counts = _Counts()
        station = self._stations.station(topic, group)
        mine: set[int] = set()
        if station is not None:
            mine = set(station.place.parts)
            await self._count_here(station, counts)
        if len(mine) < len(PARTITIONS):
            await self._count_there(topic, group, mine, counts)
        now = self._office.clock.time()
        return GroupInfo(
            group=group,
            topic=topic,
            ready=counts.ready,
            in_flight=counts.in_flight,
            waiting=counts.waiting,
            dead=dead,
            oldest_age_s=None if counts.oldest is None else max(0.0, now - counts.oldest),
        )

    async def _count_here(self, station: Station, counts: _Counts) -> None:
        """Count what this process has, and what it has not read yet."""
        unread = await station.unread()
        place = station.place
        counts.in_flight += place.in_flight
        counts.waiting += place.waiting
        counts.ready += place.known - place.in_flight - place.waiting + unread
        for entry in place.unsettled():
            counts.see(available(entry.message))
        if unread and counts.oldest is None:
            first = min((min(part.read) for part in place.parts.values()), default=0)
            message = await self._first(place.topic, first + 1)
            counts.see(None if message is None else available(message))

    async def _count_there(self, topic: str, group: str, mine: set[int], counts: _Counts) -> None:
        """Count the partitions of others, as they are written."""
        units = await self.units(topic, group)
        origin = await self._registry.origin(topic, group)
        now = self._office.clock.time()
        stream = self._layout.stream(topic)
        asked = []
        for number in set(PARTITIONS) - mine:
            unit = units.get(number, (Unit(tops=(origin - 1,) * 3), 0))[0]
            waiting = sum(not held.out and held.due > now for held in unit.held) + unit.parked
            out = sum(held.out for held in unit.held) + len(numbers(unit.out))
            counts.waiting += waiting
            counts.in_flight += out
            unsettled = unit.unsettled()
            counts.ready += max(0, len(unsettled) - waiting - out)
            asked += [self._api.get(stream, number) for number in sorted(unsettled)[:1]]
            plain, urgent = self._layout.read_by(topic, group, {number})
            for subject, lane in ((plain[0], NORMAL), (plain[1], AGAIN), (urgent[0], URGENT)):
                asked.append(self._beyond(stream, subject, unit.tops[lane] + 1, counts))
        for stored in await asyncio.gather(*asked):
            if stored is not None:
                counts.see(available(self._message(topic, stored)))

    async def _beyond(self, stream: str, subject: str, start: int, counts: _Counts) -> Stored | None:
        stored, count = await self._api.next(stream, subject, start)
        counts.ready += count
        return stored

    async def units(self, topic: str, group: str) -> dict[int, tuple[Unit, int]]:
        """Return a group's places in the partitions of a topic, with their revisions."""
        found = {}
        for stored in await self._api.keys(self._layout.unit(topic, group, "*")):
            number = int(self._layout.parts(stored.subject)[-1])
            found[number] = (msgspec.json.decode(stored.body, type=Unit), stored.sequence)
        return found

    # --- moving a place ------------------------------------------------------------------------------------------

    async def seek(
        self, group: str, pattern: str, start: Start, *, dry_run: bool, moved: Callable[[str, str], object]
    ) -> list[SeekInfo]:
        """Move a group's place; say what that means for each topic.

        Args:
            moved: Called with the topic and the group of each place that has moved.

        Raises:
            ConfigurationError: The group does not exist or reads no such topic, or the time has no zone.
        """
        subscribed = await self._registry.groups()
        names = await self._registry.topics()
        read = [
            topic
            for topic in names
            if any(each.group == group and matches(each.pattern, topic) for each in subscribed)
        ]
        chosen = [topic for topic in read if matches(pattern, topic)]
        if not chosen:
            there = [
                _nothing_there(each.group, topic)
                for each in subscribed
                for topic in names
                if matches(each.pattern, topic)
            ]
            raise no_such_place(group, pattern, there)
        infos = []
        for topic in chosen:
            first = await self._registry.find(topic, start)
            infos.append(await self._seek(topic, group, first, dry_run=dry_run))
            if not dry_run:
                moved(topic, group)
        return infos

    async def _seek(self, topic: str, group: str, first: int, *, dry_run: bool) -> SeekInfo:
        station = self._stations.station(topic, group)
        for _ in range(CONFLICTS_COUNT_MAX):
            if station is not None:
                await station.flush()
            origin = await self._registry.origin(topic, group)
            written = await self.units(topic, group)
            units = {n: written.get(n, (Unit(tops=(origin - 1,) * 3), 0)) for n in PARTITIONS}
            info, stay = await self._outlook(topic, group, {n: unit for n, (unit, _) in units.items()}, first)
            if dry_run or await self._rewrite(topic, group, units, stay, first):
                if not dry_run:
                    await self._api.put(self._layout.place(topic, group), Place(first))
                return info
        raise no_such_place(group, topic, [])

    async def _outlook(
        self, topic: str, group: str, units: dict[int, Unit], first: int
    ) -> tuple[SeekInfo, dict[int, list[Held]]]:
        """Say what would come again, what would be skipped, and what stays."""
        owed: set[int] = set()
        stay: dict[int, list[Held]] = {}
        taken_back = 0
        for number, unit in units.items():
            owed |= unit.unsettled()
            taken_back += len(numbers(unit.out)) + sum(held.out for held in unit.held)
            stay[number] = [
                Held(held.sequence, held.attempts - held.out, held.due)
                for held in unit.held
                if held.attempts - held.out > 0
            ]
        subjects = [*self._layout.messages(topic), self._layout.again(topic, "*", group)]
        begin = min([first, *(min(unit.tops) + 1 for unit in units.values()), *owed])
        comes: set[int] = set()
        brought_back: set[int] = set()
        for stored in await self._api.scan(
            self._layout.stream(topic), subjects, begin, limit=_SCAN_MAX, headers_only=True
        ):
            lane, partition = self._layout.lane_and_partition(stored.subject)
            sequence, unit = stored.sequence, units[partition]
            beyond = sequence > unit.tops[lane]
            if beyond:
                owed.add(sequence)
            if lane == AGAIN:
                if beyond or sequence in owed:
                    brought_back.add(sequence)
            elif sequence >= first:
                comes.add(sequence)
        for number, held in stay.items():
            stay[number] = [each for each in held if each.sequence not in comes]
        staying = {each.sequence for held in stay.values() for each in held} | brought_back
        info = SeekInfo(
            group=group,
            topic=topic,
            again=len(comes - owed),
            skipped=len(owed - comes - staying),
            taken_back=taken_back,
            lag=len(comes) + len(staying),
        )
        return info, stay

    async def _rewrite(
        self,
        topic: str,
        group: str,
        units: dict[int, tuple[Unit, int]],
        stay: dict[int, list[Held]],
        first: int,
    ) -> bool:
        """Write the places anew, of which nobody is the owner then; False: somebody else was writing, too."""
        for number, (unit, revision) in units.items():
            tops = (first - 1, first - 1, unit.tops[AGAIN])
            moved = Unit("", tops, held=stay[number])  # it stands where nobody has read: no stamp
            key = self._layout.unit(topic, group, number)
            if await self._api.put(key, moved, revision=revision) is None:
                return False
        return True


def _nothing_there(group: str, topic: str) -> GroupInfo:
    return GroupInfo(group=group, topic=topic, ready=0, in_flight=0, waiting=0, dead=0, oldest_age_s=None)
