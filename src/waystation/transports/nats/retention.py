"""What is not kept: messages that every group has settled."""

from __future__ import annotations

from collections import deque

from ..._core.limits import DEDUPE_WINDOW_S
from .layout import PARTITIONS, cell
from .limits import KEEP_S
from .look import Looking
from .office import Office
from .registry import Registry
from .station import Station


class Retention:
    """Deletes what nobody needs of topics that this process serves."""

    def __init__(self, office: Office, registry: Registry, looking: Looking) -> None:
        self._office, self._registry, self._looking = office, registry, looking
        self._api, self._layout = office.api, office.layout
        self._floors: dict[str, deque[tuple[float, int]]] = {}
        self._purged: dict[str, int] = {}

    async def look(self, station: Station) -> None:
        """See how far a topic is settled, and delete it up to there.

        Raises:
            TransportError: It could not be done; asking again does no harm.
        """
        await station.read_through()
        topic = station.topic
        floor = await self._floor(topic)
        if await self._api.read(self._layout.key("once", cell(topic))) is not None:
            floor = self._remembered(topic, floor)
        if floor > self._purged.get(topic, 0):
            await self._api.purge(self._layout.stream(topic), seq=floor + 1)
            self._purged[topic] = floor

    async def _floor(self, topic: str) -> int:
        """Return up to where all groups have settled everything; 0 while groups come or go.

        A group that is declared now wants what is published from now on, and that may be settled by all others before
        it is seen here. So the places are read first, and who has one afterwards.
        """
        before = await self._registry.readers(topic)
        floors = []
        for group in before:
            units = await self._looking.units(topic, group)
            if len(units) < len(PARTITIONS):
                floors.append(await self._registry.origin(topic, group) - 1)
            floors += [unit.floor() for unit, _ in units.values()]
        if await self._registry.readers(topic) != before:
            return 0
        return min(floors, default=0)

    def _remembered(self, topic: str, floor: int) -> int:
        """Return how far was settled a window ago: what has a dedupe_key is kept while its key is remembered."""
        now = self._office.clock.time()
        floors = self._floors.setdefault(topic, deque())
        if not floors or floors[-1][1] != floor:
            floors.append((now, floor))
        while len(floors) > 1 and floors[1][0] <= now - DEDUPE_WINDOW_S:
            floors.popleft()
        return floors[0][1] if floors[0][0] <= now - DEDUPE_WINDOW_S else 0

    async def sweep(self) -> None:
        """Delete what has been kept for long enough of topics that no group reads."""
        since = self._office.clock.time() - KEEP_S
        for topic in await self._registry.topics():
            if await self._registry.readers(topic):
                continue
            info = await self._api.stream_info(self._layout.stream(topic))
            if info is None or not info["state"]["messages"]:
                continue
            first = await self._registry.first_since(topic, since)
            if first > int(info["state"]["first_seq"]):
                await self._api.purge(self._layout.stream(topic), seq=first)
