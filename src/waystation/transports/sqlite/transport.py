"""The embedded engine as a transport."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import apsw

from ..._core.capabilities import Capabilities
from ..._core.delivery import Durability, SendOutcome
from ..._core.duration import Instant, unix_time
from ..._core.errors import ConfigurationError, Disconnected
from ..._core.inspection import (
    DeadInfo,
    GroupInfo,
    MemberInfo,
    RecurringInfo,
    ScheduledInfo,
    SeekInfo,
    TopicInfo,
    UnsettledInfo,
    no_such_place,
)
from ..._core.limits import TEMPORARY_GROUP_LEASE_S, WAL_ALARM_BYTES
from ..._core.message import Message
from ..._core.ports import Clock, Feed, Recurrence, Start, Subscription, Topology
from ..._store import groups, inspect, leases, members, recurring
from ..._store.database import connect, file_system_of, translated
from ..._store.leases import Member
from ..._store.log import is_reply_address
from ..._store.readers import readers_of
from ..._store.retention import Retention, declared
from ..._store.schema import VERSION
from ..._store.seek import seek
from ..._store.ticket import Ticket
from ..._store.unsettled import unsettled
from ..._store.wakeup import Heard
from .feed import GroupFeed
from .luggage import whole
from .opened import Opened
from .options import Options
from .replies import ReplyFeed
from .transaction import SqliteTransaction

T = TypeVar("T")

_CAPABILITIES = Capabilities(
    name="sqlite",
    send=Durability.FLUSHED,
    persistent=True,
    groups=True,
    multi_process=True,
    delayed_send=True,
    ordered_by_key=True,
    redelivers_unsettled=True,
    request_reply=True,
    transactions=True,
    inspectable=True,
    replay=True,
    members=True,
    broadcast=True,
    priority=True,
    deduplicates=True,
    recurring=True,
)


class SqliteTransport:
    """One process's access to one file."""

    def __init__(self, path: str, *, clock: Clock, options: Options | None = None) -> None:
        self._path = Path(os.path.abspath(path))
        self._clock = clock
        self._options = options or Options()
        self._open: Opened | None = None

    @property
    def capabilities(self) -> Capabilities:
        """The same before and after `open`: what cannot be kept is refused there."""
        return _CAPABILITIES

    async def open(self) -> None:
        """Create or migrate the file, and connect.

        Raises:
            ConfigurationError: The folder is missing, or on a network file system; or the file was open when this
                process was forked.
            StoreError: The file is damaged, newer than this program, or cannot be opened.
        """
        self._open = await asyncio.to_thread(Opened, self._path, self._clock, self._options)

    async def declare(self, topology: Topology) -> None:
        """Make topics and groups exist. A reply address, which has no group, needs nothing in the file."""
        desk, now = self._opened().desk, self._opened().clock.now()
        named = [subscription for subscription in topology.subscriptions if subscription.group is not None]

        def work() -> None:
            for topic in topology.topics:
                desk.log.topic_id(topic)
            for subscription in named:
                groups.declare(desk.connection, desk.log, subscription, expires=now + TEMPORARY_GROUP_LEASE_S)

        known = await desk.read(lambda: all(groups.is_declared(desk.connection, one) for one in named))
        if topology.topics or not known:
            await desk.write(work)
            self._opened().heard(Heard(None))

    async def send(self, messages: Sequence[Message]) -> Sequence[SendOutcome]:
        """Commit a batch. Sends of one process take turns; the runtime joins what is sent at the same time."""
        return await self._opened().sender.send(messages)

    async def open_feed(self, subscription: Subscription) -> Feed:
        """Become a member of a group, or the reader of a reply address."""
        opened = self._opened()
        opened.listen()
        feed: GroupFeed | ReplyFeed
        if subscription.group is None:
            if not is_reply_address(subscription.pattern):
                raise ConfigurationError(
                    f"only a reply address is read without a group, not {subscription.pattern!r}"
                )
            feed = ReplyFeed(opened.desk, subscription.pattern, clock=self._clock)
        else:
            name, desk = subscription.group, opened.desk
            group = await desk.read(lambda: groups.group_id(desk.connection, name))
            if group is None:
                raise ConfigurationError(f"group {subscription.group!r} was not declared")
            member = Member(group, opened.owner(), subscription.ordered)
            feed = GroupFeed(
                opened.desk,
                subscription,
                member,
                clock=self._clock,
                now=opened.clock.now,
                ring=opened.bell.ring,
                flush=self._options.flush_settlements,
            )
        opened.feeds = [other for other in opened.feeds if not other.closed]
        opened.feeds.append(feed)
        return feed

    async def recur(
        self, recurrence: Recurrence, due: float | None, next_due: float, messages: Sequence[Message]
    ) -> float | None:
        """Append what is due and put down when the next is, in one commit, flushed like any other that publishes.

        Raises:
            StoreUnavailable: The disk is full or failing; unless a flush failed, nothing of it happened.
        """
        opened = self._opened()
        desk = opened.desk
        if messages:
            opened.sender.check()
        now_due, _ = await desk.write(
            lambda: recurring.recur(
                desk.connection, desk.log, recurrence, due, next_due, messages, opened.clock.now()
            ),
            then=lambda result: opened.bell.ring(result[1]) if result[1] else None,
            flush=bool(messages),
        )
        return now_due

    async def begin(self, *, flush: bool) -> SqliteTransaction:
        """Begin a transaction on this file."""
        opened = self._opened()
        flush = flush or self._options.flush_settlements  # a transaction settles too
        return SqliteTransaction(opened.transactions, flush=flush, committed=opened.transaction_committed)

    async def release_process(self, pid: int) -> int:
        """End the leases of a dead process of this machine at once; return how many it held."""
        opened = self._opened()
        connection = opened.desk.connection

        def work() -> int:
            members.forget(connection, pid)
            return leases.release_process(connection, pid)

        ended = await opened.desk.write(work)
        if ended:
            opened.bell.ring(())
        return ended

    async def close(self) -> None:
        """Commit what was sent, give back what is unsettled, disconnect. May be called twice."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened.close()

    # --- Roster ------------------------------------------------------------------------------------------------

    async def announce(self, said: Sequence[MemberInfo], /) -> Sequence[str]:
        """Say how this process's subscriptions are, in place of what it said before; return groups that are gone."""
        opened = self._opened()
        connection, owner, now = opened.desk.connection, opened.name, opened.clock.now()

        def work() -> list[str]:
            members.announce(connection, owner, said, now)
            served = dict.fromkeys(member.group for member in said)
            return groups.keep(connection, served, now + TEMPORARY_GROUP_LEASE_S)

        return await opened.desk.write(work)

    async def members(self) -> Sequence[MemberInfo]:
        """Return what processes have said lately."""
        now = self._opened().clock.now()
        return await self._read(lambda connection: members.members(connection, now))

    # --- Inspector ---------------------------------------------------------------------------------------------

    async def topics(self) -> Sequence[TopicInfo]:
        """Return every topic, by name."""
        return await self._read(inspect.topics)

    async def groups(self) -> Sequence[GroupInfo]:
        """Return every group on every topic."""
        now = self._opened().clock.now()
        return await self._read(lambda connection: inspect.groups(connection, now))

    async def browse(self, pattern: str, *, start: Start, limit: int) -> Sequence[tuple[int, Message]]:
        """Return offsets and messages, without taking anything from any group."""
        found = await self._read(lambda connection: inspect.browse(connection, pattern, start, limit))
        return [(offset, await self._whole(message)) for offset, message in found]

    async def dead(self, *, group: str | None = None, limit: int = 100, after: int = 0) -> Sequence[DeadInfo]:
        """Return dead letters with a number over `after`, oldest first."""
        found = await self._read(lambda connection: inspect.dead(connection, group, limit, after))
        return [replace(info, message=await self._whole(info.message)) for info in found]

    async def unsettled(
        self, group: str, topic: str, *, after: int = -1, limit: int = 1000
    ) -> Sequence[UnsettledInfo]:
        """Return messages of a topic that a group has not settled, with positions over `after`."""
        found = await self._read(
            lambda connection: unsettled(connection, group, topic, after=after, limit=limit)
        )
        return [replace(info, message=await self._whole(info.message)) for info in found]

    async def retry_dead(self, numbers: Sequence[int]) -> int:
        """Give dead letters back to their group as new first attempts."""
        now = self._opened().clock.now()
        return await self._change(lambda connection: inspect.retry_dead(connection, numbers, now))

    async def purge_dead(self, numbers: Sequence[int]) -> int:
        """Delete dead letters for good."""
        return await self._change(lambda connection: inspect.purge_dead(connection, numbers))

    async def scheduled(
        self, *, pattern: str = "#", before: Instant | None = None, limit: int = 100
    ) -> Sequence[ScheduledInfo]:
        """Return messages that wait for their time, the next one first: of topics that fit, due before a time."""
        end = math.inf if before is None else unix_time(before, name="before")
        found = await self._read(lambda connection: inspect.scheduled(connection, limit, pattern, end))
        return [replace(info, message=await self._whole(info.message)) for info in found]

    async def move_scheduled(self, message_id: str, at: Instant) -> bool:
        """Let a message wait for another time; False if it is not there (any more)."""
        due = unix_time(at, name="at")
        return await self._change(lambda connection: inspect.move_scheduled(connection, message_id, due))

    async def cancel_scheduled(self, message_id: str) -> bool:
        """Delete a message that waits for its time; False if it is not there (any more)."""
        return await self._change(lambda connection: inspect.cancel_scheduled(connection, message_id))

    async def recurring(self) -> Sequence[RecurringInfo]:
        """Return messages that recur, the next one first."""
        return await self._read(recurring.recurring)

    async def pause_recurring(self, name: str, *, paused: bool = True) -> bool:
        """Let nothing be published at its times until that is undone; False if nothing recurs by this name."""
        return await self._change(lambda connection: recurring.pause(connection, name, paused=paused))

    async def remove_recurring(self, name: str) -> bool:
        """Forget a message that recurs; False if there is none."""
        return await self._change(lambda connection: recurring.remove(connection, name))

    async def seek(
        self, group: str, pattern: str, start: Start, *, dry_run: bool = False
    ) -> Sequence[SeekInfo]:
        """Move a group's place; see `Inspector.seek`."""
        if isinstance(start, datetime):
            unix_time(start, name="start")
        now = self._opened().clock.now()
        found = await self._change(
            lambda connection: seek(connection, group, pattern, start, now, dry_run=dry_run)
        )
        if not found:
            raise no_such_place(group, pattern, await self.groups())
        return found

    async def remove_group(self, group: str) -> bool:
        """Forget a group with its place, retries and dead letters; False if there is none."""
        return await self._change(lambda connection: groups.remove(connection, group))

    async def facts(self) -> dict[str, str]:
        """Return what `doctor` prints."""
        opened = self._opened()
        return {
            "file": str(self._path),
            "file system": await asyncio.to_thread(file_system_of, self._path.parent) or "unknown",
            "SQLite": f"{apsw.sqlite_lib_version()} (apsw {apsw.apsw_version()})",
            "schema": str(VERSION),
            "size": f"{self._path.stat().st_size:,} bytes",
            "write-ahead log": _log_size(opened.maintenance.wal_bytes(), self._path),
            "keeping": _kept(await self._read(declared)),
            "publishing once": f"a dedupe_key counts for {self._options.dedupe_window_s:g} s",
            "publishing": "FLUSHED: the write-ahead log is flushed after the commit, before the receipt",
            "settling": "FLUSHED"
            if self._options.flush_settlements
            else "WRITTEN: a power cut may undo it, never a process",
        }

    async def _read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Look, on a connection of its own and in a thread: some questions read the whole file."""
        self._opened()

        def look() -> T:
            with translated(self._path):
                connection = connect(self._path, patient=True)
                try:
                    return work(connection)
                finally:
                    connection.close()

        return await asyncio.to_thread(look)

    async def _whole(self, message: Message) -> Message:
        """Return a message with its body, wherever that lies."""
        if not isinstance(message.body, Ticket):
            return message
        return await asyncio.to_thread(whole, self._opened().desk.bodies, message)

    async def _change(self, work: Callable[[apsw.Connection], T]) -> T:
        opened = self._opened()
        changed = await opened.desk.write(lambda: work(opened.desk.connection))
        opened.bell.ring(())
        return changed

    def _opened(self) -> Opened:
        if self._open is None:
            raise Disconnected(f"{self._path.name} is not open: use `async with bus:`")
        if self._open.pid != os.getpid():
            raise Disconnected(
                f"{self._path.name} was opened before a fork, which SQLite does not survive: connect after it"
            )
        return self._open


def _log_size(size_bytes: int, path: Path) -> str:
    """Say how long the write-ahead log is; if it is longer than it should be, who may be the cause."""
    if size_bytes <= WAL_ALARM_BYTES:
        return f"{size_bytes:,} bytes"
    who = " and ".join(f"process {pid}" for pid in readers_of(path)) or "nobody that is known"
    return (
        f"{size_bytes:,} bytes, too long: whoever reads without end keeps it from shrinking; {who} reads now"
    )


def _kept(retention: Retention) -> str:
    settled = "until every group has settled it"
    if retention.keep_s is not None:
        settled = f"{retention.keep_s:g} s, and {settled}"
    size = (
        ""
        if retention.bytes_max is None
        else f"; settled messages go earlier above {retention.bytes_max:,} bytes"
    )
    return settled + size
