"""Looking in: what is on the broker, and where groups are. Those of other processes are read from their marks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..._core.errors import ConfigurationError, TransportError
from ..._core.inspection import GroupInfo, SeekInfo, TopicInfo
from ..._core.message import Message, available
from ..._core.ports import Clock, Start
from ..._core.topic import is_pattern, matches
from .broker import Broker
from .control import Declared
from .ledger import Ledger
from .marks import Mark
from .member import Member
from .names import Spot
from .place import Place
from .positions import number, positions
from .records import message_of

Bounds = Mapping[Spot, tuple[int, int]]


@dataclass(slots=True)
class Standing:
    """A group on one topic: its places there, with the dead letters that it gets again.

    Attributes:
        places: By partition; those that are not this process's are as their owners have left them.
        ours: Partitions that are this process's.
        ends: Where each ends.
    """

    group: str
    topic: str
    places: dict[Spot, Place] = field(default_factory=dict)
    ours: set[Spot] = field(default_factory=set)
    ends: dict[Spot, int] = field(default_factory=dict)


class Looker:
    """Answers for one transport.

    Args:
        members: This process's, by group.
    """

    def __init__(self, broker: Broker, members: Mapping[str, Member], *, clock: Clock) -> None:
        self._broker = broker
        self._members = members
        self._clock = clock

    def topics_of_users(self) -> dict[str, str]:
        """Return topics by our name, with the broker's."""
        found = {self._broker.names.ours(name): name for name in self._broker.known}
        return {ours: name for ours, name in sorted((o or "", n) for o, n in found.items()) if ours}

    async def topics(self, declared: Iterable[Declared]) -> list[TopicInfo]:
        """Return every topic, by name. The driver does not tell how many bytes there are."""
        found = self.topics_of_users()
        spots = [spot for name in found.values() for spot in self._broker.spots(name)]
        bounds = await self._broker.bounds(spots)
        groups = list(declared)
        return [
            TopicInfo(
                name=ours,
                messages=sum(bounds[spot][1] - bounds[spot][0] for spot in self._broker.spots(name)),
                next_offset=sum(bounds[spot][1] for spot in self._broker.spots(name)),
                bytes=0,
                oldest=await self._time(name, bounds, first=True),
                newest=await self._time(name, bounds, first=False),
                groups=tuple(sorted({each.group for each in groups if matches(each.pattern, ours)})),
            )
            for ours, name in found.items()
        ]

    async def _time(self, name: str, bounds: Bounds, *, first: bool) -> float | None:
        times = []
        for spot in self._broker.spots(name):
            low, high = bounds[spot]
            if low < high:
                at = low if first else high - 1
                times += [
                    record.timestamp()[1] / 1000
                    for record in await self._broker.read(spot, at, high, limit=1)
                ]
        return (min if first else max)(times, default=None)

    async def standings(
        self, declared: Sequence[Declared], *, group: str | None = None, pattern: str = "#"
    ) -> list[Standing]:
        """Return groups on the topics that they read: of one group or all, of topics that fit."""
        topics = self.topics_of_users()
        found: dict[tuple[str, str], Standing] = {}
        for each in declared:
            if group not in (None, each.group):
                continue
            for ours in topics:
                if matches(each.pattern, ours) and (ours == pattern or matches(pattern, ours)):
                    found.setdefault((each.group, ours), Standing(each.group, ours))
        for standing in found.values():
            await self._fill(standing, topics[standing.topic], declared)
        return [standing for _, standing in sorted(found.items())]

    async def _fill(self, standing: Standing, name: str, declared: Sequence[Declared]) -> None:
        broker = self._broker
        spots = broker.spots(name)
        try:
            spots += broker.spots(broker.names.again(standing.group, standing.topic))
        except ConfigurationError:
            pass  # too long a name for a topic of letters to get again, so there is none
        member = self._members.get(standing.group)
        bounds = await broker.bounds(spots)
        standing.ends = {spot: bounds[spot][1] for spot in spots}
        ours = {spot: member.places[spot] for spot in spots if member is not None and spot in member.places}
        standing.places, standing.ours = dict(ours), set(ours)
        others = [spot for spot in spots if spot not in ours]
        marks = await broker.marks(broker.names.group(standing.group), others)
        for spot in others:
            mark = marks.get(spot)
            if mark is None:
                starts = [
                    each.start_of(standing.topic, spot) for each in declared if each.group == standing.group
                ]
                start = next((each for each in starts if each is not None), 0)
                mark = Mark(floor=max(start, bounds[spot][0]) if spot[0] == name else bounds[spot][0])
            standing.places[spot] = await self._as_left(standing, spot, mark, bounds[spot][1])

    async def _as_left(self, standing: Standing, spot: Spot, mark: Mark, end: int) -> Place:
        """Return a place as its owner, or the last one, has left it."""
        place = Place(standing.topic, spot, standing.group, mark, ordered=True, end=end)
        names = self._broker.names
        if mark.state_from >= 0 and names.state in self._broker.known:
            ledger = Ledger(
                names.group(standing.group),
                names.state,
                self._broker.known[names.state].partitions,
                clock=self._clock,
            )
            there = ledger.spot(spot)
            _, stop = (await self._broker.bounds([there]))[there]
            records = await self._broker.read(there, mark.state_from, stop)
            held = ledger.read(spot, mark.owner, records)
            place.restore(held, mark.state_from, mark.owner, self._clock.monotonic())
        place.tick(self._clock.monotonic())
        return place

    async def info(self, standing: Standing, dead: int) -> GroupInfo:
        """Return what there is to say about a group on a topic."""
        places = standing.places
        ready = sum(place.ready + place.unread(standing.ends[spot]) for spot, place in places.items())
        oldest = await self._oldest(standing)
        return GroupInfo(
            group=standing.group,
            topic=standing.topic,
            ready=ready,
            in_flight=sum(place.in_flight for place in places.values()),
            waiting=sum(place.waiting for place in places.values()),
            dead=dead,
            oldest_age_s=None if oldest is None else max(0.0, self._clock.time() - oldest),
        )

    async def _oldest(self, standing: Standing) -> float | None:
        times = []
        for spot, place in standing.places.items():
            if (oldest := place.oldest()) is not None:
                times.append(oldest)
            if not place.fresh and place.unread(standing.ends[spot]):
                records = await self._broker.read(spot, place.cursor, standing.ends[spot], limit=1)
                times += [available(message_of(record, standing.topic)) for record in records]
        return min(times, default=None)

    async def browse(self, pattern: str, start: Start, limit: int) -> list[tuple[int, Message]]:
        """Return messages with their numbers, topic by topic."""
        found: list[tuple[int, Message]] = []
        for ours, name in self.topics_of_users().items():
            if not (ours == pattern or (is_pattern(pattern) and matches(pattern, ours))):
                continue
            spots = self._broker.spots(name)
            bounds = await self._broker.bounds(spots)
            begins = await positions(self._broker, spots, start, bounds)
            rows = []
            for spot in spots:
                for record in await self._broker.read(spot, begins[spot], bounds[spot][1], limit=limit):
                    key = record.key()
                    message = message_of(
                        record, ours, key=None if key is None else key.decode(errors="replace")
                    )
                    rows.append((number(record.offset(), spot[1], len(spots)), message))
            found += sorted(rows, key=lambda row: row[0])
            if len(found) >= limit:
                break
        return found[:limit]

    # --- seeking ---------------------------------------------------------------------------------------------

    async def seek(self, standing: Standing, start: Start, *, dry_run: bool) -> SeekInfo:
        """Move a group on one topic; dead letters that it gets again stay."""
        name = self._broker.names.topic(standing.topic)
        places = {spot: place for spot, place in standing.places.items() if spot[0] == name}
        bounds = await self._broker.bounds(places)
        to = await positions(self._broker, list(places), start, bounds)
        found = self._outlook(standing, places, to, {spot: bounds[spot][1] for spot in places})
        if not dry_run:
            await self._move(standing, places, to)
        return found

    def _outlook(
        self,
        standing: Standing,
        places: Mapping[Spot, Place],
        to: Mapping[Spot, int],
        ends: Mapping[Spot, int],
    ) -> SeekInfo:
        again = skipped = taken_back = lag = 0
        for spot, place in places.items():
            comes = max(0, ends[spot] - to[spot])
            owed = place.owed(ends[spot])
            behind = sum(offset >= to[spot] for offset in owed)
            stay = len(place.staying(to[spot]))
            again += comes - behind
            skipped += len(owed) - behind - stay
            taken_back += place.in_flight
            lag += comes + stay
        return SeekInfo(
            group=standing.group,
            topic=standing.topic,
            again=again,
            skipped=skipped,
            taken_back=taken_back,
            lag=lag,
        )

    async def _move(self, standing: Standing, places: Mapping[Spot, Place], to: Mapping[Spot, int]) -> None:
        member = self._members.get(standing.group)
        if member is not None:
            await member.settle_in([spot for spot in places if spot not in standing.ours])
            for spot in places:
                if spot in member.places:
                    standing.ours.add(spot)
        others = {spot: place for spot, place in places.items() if spot not in standing.ours}
        if others:
            marks = {}
            for spot, place in others.items():
                place.seek(to[spot], self._clock.monotonic())
                marks[spot] = place.last_mark()
            try:
                await self._broker.place(self._broker.names.group(standing.group), marks)
            except TransportError as error:
                raise TransportError(
                    f"group {standing.group!r} is at work in other processes and cannot be moved from here: stop them "
                    f"first ({error})"
                ) from error
        for spot in standing.ours:
            if spot in places and member is not None:
                member.seek(spot, to[spot])
        if member is not None:
            await member.tell()
