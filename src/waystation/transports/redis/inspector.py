"""Looking into a server: what `Inspector`, `Roster` and `Recurring` ask, as script calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from ..._broker.attributes import rfc3339
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
    no_such_place,
)
from ..._core.limits import MEMBER_LEASE_S, TEMPORARY_GROUP_LEASE_S
from ..._core.message import Message
from ..._core.ports import Recurrence, Start
from ..._core.topic import matches
from .entries import message_of
from .forms import filled, write
from .limits import PAGE_ENTRIES
from .opened import Opened, machine_name
from .sender import special
from .starts import seconds_of, start_text

_pack = msgspec.msgpack.Encoder().encode
_said = msgspec.json.Decoder(list[MemberInfo])

#: Fields before the message's own in the entry of a dead letter: group, topic, attempts, reason, detail, time, entry.
_LETTER_FIELDS = 14


class Looking:
    """The questions. Whoever inherits this says what is open."""

    def _opened(self) -> Opened:
        """Return what is open.

        Raises:
            Disconnected: Nothing is.
        """
        raise NotImplementedError

    async def _call(self, name: str, *arguments: bytes) -> Any:
        return await self._opened().link.call(name, *arguments)

    # --- topics and groups -------------------------------------------------------------------------------------

    async def topics(self) -> Sequence[TopicInfo]:
        """Return every topic, by name."""
        found = [
            TopicInfo(
                name=name.decode(),
                messages=messages,
                next_offset=next_offset,
                bytes=size,
                oldest=seconds_of(first) if messages else None,
                newest=seconds_of(last) if messages else None,
                groups=tuple(sorted(group.decode() for group in groups)),
            )
            for name, messages, next_offset, size, first, last, groups in await self._call("topics")
        ]
        return sorted(found, key=lambda info: info.name)

    async def groups(self) -> Sequence[GroupInfo]:
        """Return every group on every topic."""
        now, *places = await self._call("groups")
        found = []
        for group, topic, ready, in_flight, waiting, dead, oldest in places:
            since = seconds_of(oldest)
            age_s = None if since is None else max(0.0, float(now) - since)
            found.append(
                GroupInfo(
                    group=group.decode(),
                    topic=topic.decode(),
                    ready=ready,
                    in_flight=in_flight,
                    waiting=waiting,
                    dead=dead,
                    oldest_age_s=age_s,
                )
            )
        return sorted(found, key=lambda info: (info.group, info.topic))

    async def browse(self, pattern: str, *, start: Start, limit: int) -> Sequence[tuple[int, Message]]:
        """Return offsets and messages, topic by topic, without taking anything from any group."""
        found: list[tuple[int, Message]] = []
        begin = start_text(start)
        for info in await self.topics():
            place = begin
            while matches(pattern, info.name) and len(found) < limit:
                count = min(PAGE_ENTRIES, limit - len(found))
                offset, entries = await self._call(
                    "browse", info.name.encode(), place.encode(), b"%d" % count
                )
                found += [
                    (number, message_of(info.name, entry_id, fields))
                    for number, (entry_id, fields) in enumerate(entries, offset)
                ]
                if len(entries) < count:
                    break
                place = f"after {entries[-1][0].decode()} {offset + len(entries)}"
        return found

    async def seek(
        self, group: str, pattern: str, start: Start, *, dry_run: bool = False
    ) -> Sequence[SeekInfo]:
        """Move a group's place; see `Inspector.seek`."""
        where = (group.encode(), pattern.encode(), start_text(start).encode(), b"" if dry_run else b"1")
        found = [
            SeekInfo(
                group=group,
                topic=topic.decode(),
                again=max(0, again),
                skipped=max(0, skipped),
                taken_back=taken_back,
                lag=lag,
            )
            for topic, again, skipped, taken_back, lag in await self._call("seek", *where)
        ]
        if not found:
            raise no_such_place(group, pattern, await self.groups())
        return sorted(found, key=lambda info: info.topic)

    async def remove_group(self, group: str) -> bool:
        """Forget a group with its place, retries and dead letters; False if there is none. Its feeds end."""
        self._opened().forget_group(group)
        return bool(await self._call("remove", group.encode()))

    async def release_process(self, pid: int) -> int:
        """Give back at once what a dead process of this machine held; return how many leases that were."""
        owner = f"{machine_name()}:{pid}:".encode()
        found: int = await self._call("release", b"", owner, b"1")
        return found

    # --- dead letters ------------------------------------------------------------------------------------------

    async def dead(self, *, group: str | None = None, limit: int = 100, after: int = 0) -> Sequence[DeadInfo]:
        """Return dead letters with a number over `after`, oldest first."""
        found: list[DeadInfo] = []
        while len(found) < limit:
            count = min(PAGE_ENTRIES, limit - len(found))
            page = await self._call("dead", (group or "").encode(), b"%d" % after, b"%d" % count)
            found += [_letter(entry_id, fields) for entry_id, fields in page]
            if len(page) < count:
                break
            after = found[-1].number
        return found

    async def retry_dead(self, numbers: Sequence[int]) -> int:
        """Give dead letters back to their group as new first attempts; return how many there were."""
        found: int = await self._call("letters", b"retry", *(b"%d" % number for number in numbers))
        return found

    async def purge_dead(self, numbers: Sequence[int]) -> int:
        """Delete dead letters for good; return how many there were."""
        found: int = await self._call("letters", b"purge", *(b"%d" % number for number in numbers))
        return found

    # --- schedules ---------------------------------------------------------------------------------------------

    async def scheduled(
        self, *, pattern: str = "#", before: Instant | None = None, limit: int = 100
    ) -> Sequence[ScheduledInfo]:
        """Return messages that wait for their time, the next one first: of topics that fit, due before a time."""
        end = math.inf if before is None else unix_time(before, name="before")
        found = await self._call("scheduled", pattern.encode(), _score(end), b"%d" % limit)
        return [
            ScheduledInfo(message=message_of(topic.decode(), b"0-0", fields), due=float(due))
            for due, topic, fields in found
        ]

    async def move_scheduled(self, message_id: str, at: Instant) -> bool:
        """Let a message wait for another time; False if it is not there (any more)."""
        due = unix_time(at, name="at")
        moved = await self._call("reschedule", message_id.encode(), _score(due), rfc3339(due).encode())
        return bool(moved)

    async def cancel_scheduled(self, message_id: str) -> bool:
        """Delete a message that waits for its time; False if it is not there (any more)."""
        return bool(await self._call("reschedule", message_id.encode()))

    # --- what recurs -------------------------------------------------------------------------------------------

    async def recur(
        self, recurrence: Recurrence, due: float | None, next_due: float, messages: Sequence[Message], /
    ) -> float | None:
        """Publish what is due and put down when the next is, in one script.

        Raises:
            TransportError: It did not happen, or that is unknown: ask again.
        """
        batch = [
            (message.topic, filled(written), len(message.body), special(message)[0])
            for message, written in zip(messages, write(messages), strict=True)
        ]
        found = await self._call(
            "recur",
            recurrence.name.encode(),
            recurrence.topic.encode(),
            recurrence.rule.encode(),
            b"" if due is None else _score(due),
            _score(next_due),
            _pack(batch),
            b"".join([message.body for message in messages]),
        )
        return float(found) if found else None

    async def recurring(self) -> Sequence[RecurringInfo]:
        """Return messages that recur, the next one first."""
        found = [
            RecurringInfo(
                name=name.decode(),
                topic=topic.decode(),
                rule=rule.decode(),
                due=float(due),
                paused=bool(paused),
            )
            for name, topic, rule, due, paused in await self._call("recurring", b"list")
        ]
        return sorted(found, key=lambda info: (info.due, info.name))

    async def pause_recurring(self, name: str, *, paused: bool = True) -> bool:
        """Let nothing be published at its times until that is undone; False if nothing recurs by this name."""
        return bool(await self._call("recurring", b"pause" if paused else b"go on", name.encode()))

    async def remove_recurring(self, name: str) -> bool:
        """Forget a message that recurs; False if there is none."""
        return bool(await self._call("recurring", b"remove", name.encode()))

    # --- members -----------------------------------------------------------------------------------------------

    async def announce(self, said: Sequence[MemberInfo], /) -> Sequence[str]:
        """Say how this process's subscriptions are, in place of what it said before; return groups that are gone."""
        served = list(dict.fromkeys(member.group for member in said))
        gone = await self._call(
            "announce",
            self._opened().name.encode(),
            msgspec.json.encode(list(said)) if said else b"",
            _score(MEMBER_LEASE_S),
            _score(TEMPORARY_GROUP_LEASE_S),
            *(group.encode() for group in served),
        )
        return [group.decode() for group in gone]

    async def members(self) -> Sequence[MemberInfo]:
        """Return what processes have said lately."""
        found = [
            replace(member, heard=float(heard))
            for heard, said in await self._call("members", _score(MEMBER_LEASE_S))
            for member in _said.decode(said)
        ]
        return sorted(found, key=lambda member: (member.group, member.pattern, member.pid))

    # --- facts -------------------------------------------------------------------------------------------------

    async def facts(self) -> dict[str, str]:
        """Return what `doctor` prints: versions, settings, and how each was found out."""
        opened = self._opened()
        server, options = opened.link.server, opened.link.options
        if server is None:
            raise Disconnected(f"{options.place} is not connected")
        lost, topics = await self._call("facts")
        info = server.info
        return {
            "server": f"{options.place}, Redis {server.version}",
            "keys": f"{options.base}*, database {options.database}",
            "durability of a send": f"{server.durability.name} ({server.known})",
            "when memory is full": f"{info['maxmemory_policy']}; maxmemory {info.get('maxmemory_human', 'unknown')}",
            "replicas": _replicas(info.get("connected_slaves", "")),
            "time": "the server's" if opened.goes_by_server else "this program's clock",
            "keeping": f"{options.keep_s:g} s after every group has settled",
            "topics": str(topics),
            "deleted by others before they were settled": f"LOST {lost}" if lost else "none",
        }


def _replicas(count: str) -> str:
    if not count:
        return "unknown"
    if count == "0":
        return "none: what the server loses is lost"
    return f"{count}, which follow without being waited for: a failover may lose what has a receipt"


def _letter(entry_id: bytes, fields: list[bytes]) -> DeadInfo:
    group, topic, attempts, reason, detail, died, place = fields[1:_LETTER_FIELDS:2]
    name = topic.decode()
    return DeadInfo(
        number=int(entry_id.partition(b"-")[0]),
        group=group.decode(),
        topic=name,
        message=message_of(name, place, fields[_LETTER_FIELDS:]),
        attempts=int(attempts),
        reason=reason.decode(errors="replace"),
        detail=detail.decode(errors="replace"),
        died=float(died),
    )


def _score(number: float) -> bytes:
    """Return a number so that Redis and Lua read the same."""
    return b"+inf" if number == math.inf else repr(float(number)).encode()
