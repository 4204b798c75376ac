"""What there is in a memory: topics, groups, what waits for its time; how it is looked at, moved and cleared away."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..._core.delivery import DeadLetter
from ..._core.duration import Instant, unix_time
from ..._core.inspection import (
    DeadInfo,
    GroupInfo,
    MemberInfo,
    RecurringInfo,
    ScheduledInfo,
    SeekInfo,
    TopicInfo,
    no_such_place,
)
from ..._core.limits import MEMBER_LEASE_S, TEMPORARY_GROUP_LEASE_S
from ..._core.message import Message
from ..._core.ports import Clock, Start, Subscription, Timer
from ..._core.topic import check_name, is_pattern, matches
from .dead import DeadLetters
from .dedupe import DedupeKeys
from .feed import GroupFeed
from .log import Log
from .place import Place
from .schedule import Calendar, Schedule


class World:
    """Topics and groups as Python objects; for one event loop. As an `Inspector` and a `Roster`, all but `facts`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._logs: dict[str, Log] = {}
        self._subscriptions: dict[tuple[str, str], Subscription] = {}
        self._feeds: list[GroupFeed] = []
        self._temporary: dict[str, float] = {}  # groups of one instance each, and until when, monotonic
        self._schedule = Schedule()
        self._calendar = Calendar()
        self._dead = DeadLetters()
        self._dedupe_keys = DedupeKeys()
        self._members: list[MemberInfo] = []
        self._alarm: Timer | None = None
        self._alarm_at = math.inf  # by the monotonic clock

    # --- topics and groups -----------------------------------------------------------------------------------

    def _subscribe(self, subscription: Subscription, group: str) -> None:
        pattern = subscription.pattern
        if not is_pattern(pattern):
            self._log(pattern)
        for log in self._logs.values():
            if matches(pattern, log.name):
                self._join(log, group, log.position(subscription.start), ordered=subscription.ordered)
        self._subscriptions[group, pattern] = subscription
        if subscription.temporary and group not in self._temporary:
            self._keep([group])

    def _log(self, name: str) -> Log:
        """Return a topic's log. Groups whose pattern fits a new one read it from its beginning."""
        log = self._logs.get(name)
        if log is None:
            log = self._logs[name] = Log(check_name(name))
            for (group, pattern), subscription in self._subscriptions.items():
                if matches(pattern, name):
                    self._join(log, group, 0, ordered=subscription.ordered)
        return log

    def _join(self, log: Log, group: str, position: int, *, ordered: bool) -> None:
        if group in log.places:
            return  # a group keeps its place
        place = log.places[group] = Place(log, group, position, ordered=ordered, bury=self._bury)
        for feed in self._feeds:
            if feed.group == group and matches(feed.pattern, log.name):
                feed.join(place)

    def _bury(self, place: Place, message: Message, attempts: int, outcome: DeadLetter) -> None:
        self._dead.bury(place, message, attempts, outcome, self.clock.time())

    # --- time ------------------------------------------------------------------------------------------------

    def ring_at(self, instant: float) -> None:
        """Look around at this instant of the monotonic clock, or earlier. One timer, whatever the number of waits."""
        if instant >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = instant
        self._alarm = self.clock.call_later(max(0.0, instant - self.clock.monotonic()), self._look_around)

    def _rest(self) -> None:
        """Look around no more, until somebody does."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = None, math.inf

    def _look_around(self) -> None:
        """Deliver what is due and take back what was leased for too long."""
        self._alarm, self._alarm_at = None, math.inf
        now, wall = self.clock.monotonic(), self.clock.time()
        for message in self._schedule.take_due(wall):
            log = self._log(message.topic)
            log.add(message)
            log.has_priorities = log.has_priorities or message.priority > 0
            log.wake()
        for place in self._places():
            self.ring_at(place.tick(now))
            place.wake_if_ready()
        for group in [group for group, end in self._temporary.items() if end <= now]:
            self._forget_group(group)
        self._ring_for_schedule()

    def _ring_for_schedule(self) -> None:
        self.ring_at(self.clock.monotonic() + self._schedule.next_due - self.clock.time())

    def _places(self, group: str | None = None) -> list[Place]:
        places = [place for log in self._logs.values() for place in log.places.values()]
        return places if group is None else [place for place in places if place.group == group]

    # --- members ---------------------------------------------------------------------------------------------

    async def announce(self, said: Sequence[MemberInfo], /) -> Sequence[str]:
        """Say how this process's subscriptions are, in place of what it said before; return groups that are gone."""
        self._members = [replace(member, heard=self.clock.time()) for member in said]
        self._keep(member.group for member in said if member.group in self._temporary)
        known = {group for group, _ in self._subscriptions}
        return [group for group in dict.fromkeys(member.group for member in said) if group not in known]

    async def members(self) -> Sequence[MemberInfo]:
        """Return what this process has said lately: there is no other."""
        recent = self.clock.time() - MEMBER_LEASE_S
        found = [member for member in self._members if member.heard >= recent]
        return sorted(found, key=lambda member: (member.group, member.pattern))

    # --- looking in ------------------------------------------------------------------------------------------

    async def topics(self) -> Sequence[TopicInfo]:
        """Return every topic, by name."""
        return [log.info() for _, log in sorted(self._logs.items())]

    async def groups(self) -> Sequence[GroupInfo]:
        """Return every group on every topic."""
        now = self.clock.time()
        found = [place.info(now, self._dead.count(place.group, place.log.name)) for place in self._places()]
        return sorted(found, key=lambda info: (info.group, info.topic))

    async def browse(self, pattern: str, *, start: Start, limit: int) -> Sequence[tuple[int, Message]]:
        """Return offsets and messages, topic by topic, without taking anything from any group."""
        logs = [log for name, log in sorted(self._logs.items()) if matches(pattern, name)]
        rows = ((offset, log) for log in logs for offset in range(log.position(start), log.end))
        return [(offset, log.at(offset)) for offset, log in itertools.islice(rows, limit)]

    async def dead(self, *, group: str | None = None, limit: int = 100, after: int = 0) -> Sequence[DeadInfo]:
        """Return dead letters with a number over `after`, oldest first."""
        return self._dead.find(group, limit, after)

    async def retry_dead(self, numbers: Sequence[int]) -> int:
        """Give dead letters back to their group as new first attempts; return how many there were."""
        letters = self._dead.take(numbers)
        for letter in letters:
            place = self._logs[letter.topic].places[letter.group]
            place.put_back(letter.message, self.clock.monotonic())
            place.wake_if_ready()
        return len(letters)

    async def purge_dead(self, numbers: Sequence[int]) -> int:
        """Delete dead letters for good; return how many there were."""
        return len(self._dead.take(numbers))

    async def scheduled(
        self, *, pattern: str = "#", before: Instant | None = None, limit: int = 100
    ) -> Sequence[ScheduledInfo]:
        """Return messages that wait for their time, the next one first: of topics that fit, due before a time."""
        return self._schedule.find(
            pattern, math.inf if before is None else unix_time(before, name="before"), limit
        )

    async def move_scheduled(self, message_id: str, at: Instant) -> bool:
        """Let a message wait for another time; False if it is not there (any more)."""
        found = self._schedule.move(message_id, unix_time(at, name="at"))
        self._ring_for_schedule()
        return found

    async def cancel_scheduled(self, message_id: str) -> bool:
        """Delete a message that waits for its time; False if it is not there (any more)."""
        cancelled = self._schedule.cancel(message_id)
        for message in cancelled:
            self._dedupe_keys.unmark(message)
        return bool(cancelled)

    async def recurring(self) -> Sequence[RecurringInfo]:
        """Return messages that recur, the next one first."""
        return self._calendar.find()

    async def pause_recurring(self, name: str, *, paused: bool = True) -> bool:
        """Let nothing be published at its times until that is undone; False if nothing recurs by this name."""
        return self._calendar.pause(name, paused=paused)

    async def remove_recurring(self, name: str) -> bool:
        """Forget a message that recurs; False if there is none."""
        return self._calendar.remove(name)

    async def seek(
        self, group: str, pattern: str, start: Start, *, dry_run: bool = False
    ) -> Sequence[SeekInfo]:
        """Move a group's place; see `Inspector.seek`."""
        places = [place for place in self._places(group) if matches(pattern, place.log.name)]
        if not places:
            raise no_such_place(group, pattern, await self.groups())
        places.sort(key=lambda place: place.log.name)
        positions = [place.log.position(start) for place in places]
        found = [place.outlook(position) for place, position in zip(places, positions, strict=True)]
        if not dry_run:
            for place, position in zip(places, positions, strict=True):
                place.seek(position, self.clock.monotonic())
                self.ring_at(place.next_due)
        return found

    async def remove_group(self, group: str) -> bool:
        """Forget a group with its place, retries and dead letters; False if there is none. Its feeds are closed."""
        return self._forget_group(group)

    def _keep(self, groups: Iterable[str]) -> None:
        """Keep groups of one instance each for a while."""
        end = self.clock.monotonic() + TEMPORARY_GROUP_LEASE_S
        self._temporary.update(dict.fromkeys(groups, end))
        self.ring_at(end)

    def _forget_group(self, group: str) -> bool:
        for feed in [feed for feed in self._feeds if feed.group == group]:
            feed.end()
        self._temporary.pop(group, None)
        places = self._places(group)
        for place in places:
            del place.log.places[group]
            place.log.trim()
        self._subscriptions = {key: value for key, value in self._subscriptions.items() if key[0] != group}
        self._dead.forget(group)
        return bool(places)
