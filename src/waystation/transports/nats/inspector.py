"""`NatsInspector`: what people and tools ask of a transport while it works, each answered by whoever knows it."""

from __future__ import annotations

from collections.abc import Sequence

from ..._core.duration import Instant, unix_time
from ..._core.errors import Disconnected
from ..._core.inspection import (
    DeadInfo,
    GroupInfo,
    MemberInfo,
    RecurringInfo,
    ScheduledInfo,
    SeekInfo,
    TopicInfo,
)
from ..._core.message import Message
from ..._core.ports import Clock, Start
from .dead import Dead
from .facts import facts
from .later import Later
from .look import Looking
from .office import Office
from .options import Options
from .recurring import Calendar
from .registry import Registry
from .roster import Roster
from .special import Specials
from .station import Station


class NatsInspector:
    """The questions, and those who answer them. Whoever inherits this serves the groups."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self.clock = clock
        self._options = options
        self._is_open = False
        self._office = Office(options, clock)
        self._registry = Registry(self._office)
        self._specials = Specials(self._office)
        self._dead = Dead(self._office, self._registry)
        self._looking = Looking(self._office, self._registry, self._dead, self)
        self._later = Later(self._office, self._registry, self._specials)
        self._calendar = Calendar(self._office, self._registry)
        self._roster = Roster(self._office, self._registry, self.remove_group)

    def station(self, topic: str, group: str) -> Station | None:
        """Return a group on a topic, if it is served here."""
        raise NotImplementedError

    async def remove_group(self, group: str) -> bool:
        """See `Inspector`."""
        raise NotImplementedError

    def _check_open(self) -> None:
        if not self._is_open:
            raise Disconnected(f"{self._options.place} is not open")

    async def topics(self) -> Sequence[TopicInfo]:
        """See `Inspector`."""
        self._check_open()
        return await self._looking.topics()

    async def groups(self) -> Sequence[GroupInfo]:
        """See `Inspector`."""
        self._check_open()
        return await self._looking.groups()

    async def browse(self, pattern: str, *, start: Start, limit: int) -> Sequence[tuple[int, Message]]:
        """See `Inspector`."""
        self._check_open()
        return await self._looking.browse(pattern, start, limit)

    async def dead(self, *, group: str | None = None, limit: int = 100, after: int = 0) -> Sequence[DeadInfo]:
        """See `Inspector`."""
        self._check_open()
        return await self._dead.find(group, limit, after)

    async def retry_dead(self, numbers: Sequence[int]) -> int:
        """See `Inspector`."""
        self._check_open()
        return await self._dead.retry(numbers)

    async def purge_dead(self, numbers: Sequence[int]) -> int:
        """See `Inspector`."""
        self._check_open()
        return await self._dead.purge(numbers)

    async def scheduled(
        self, *, pattern: str = "#", before: Instant | None = None, limit: int = 100
    ) -> Sequence[ScheduledInfo]:
        """See `Inspector`."""
        self._check_open()
        return await self._later.find(pattern, before, limit)

    async def move_scheduled(self, message_id: str, at: Instant) -> bool:
        """See `Inspector`."""
        self._check_open()
        return await self._later.move(message_id, unix_time(at))

    async def cancel_scheduled(self, message_id: str) -> bool:
        """See `Inspector`."""
        self._check_open()
        return await self._later.cancel(message_id)

    async def recurring(self) -> Sequence[RecurringInfo]:
        """See `Inspector`."""
        self._check_open()
        return await self._calendar.find()

    async def pause_recurring(self, name: str, *, paused: bool = True) -> bool:
        """See `Inspector`."""
        self._check_open()
        return await self._calendar.pause(name, paused=paused)

    async def remove_recurring(self, name: str) -> bool:
        """See `Inspector`."""
        self._check_open()
        return await self._calendar.remove(name)

    async def seek(
        self, group: str, pattern: str, start: Start, *, dry_run: bool = False
    ) -> Sequence[SeekInfo]:
        """See `Inspector`."""
        self._check_open()
        moved: list[tuple[str, str]] = []
        found = await self._looking.seek(
            group, pattern, start, dry_run=dry_run, moved=lambda topic, name: moved.append((topic, name))
        )
        for topic, name in moved:
            station = self.station(topic, name)
            if station is not None:
                await station.reload()
            self._office.link.tell([(self._office.layout.bell(topic, name), b"", b"")])
        return found

    async def facts(self) -> dict[str, str]:
        """See `Inspector`."""
        self._check_open()
        return await facts(self._office)

    async def announce(self, members: Sequence[MemberInfo], /) -> Sequence[str]:
        """See `Roster`."""
        self._check_open()
        return await self._roster.announce(members)

    async def members(self) -> Sequence[MemberInfo]:
        """See `Roster`."""
        self._check_open()
        return await self._roster.members()
