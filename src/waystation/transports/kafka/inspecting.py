"""Looking into a cluster, as the command line and a dashboard do; and what processes say of themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from ..._core.duration import Instant, unix_time
from ..._core.errors import Disconnected, TransportError
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
from ..._core.limits import MEMBER_LEASE_S
from ..._core.message import Message
from ..._core.ports import Clock, Start
from .broker import Broker
from .control import Declared, member_key, read_declared, read_said, write_said
from .letters import find_letters, read_letter
from .looking import Looker
from .names import Names
from .options import Options
from .records import records_of
from .schedule import Mover, find, message_in, row_of
from .sender import Entry, Sender
from .table import Table


class Inspecting:
    """The part of the transport that looks in. What it looks at is made when the transport opens."""

    clock: Clock
    _options: Options
    _names: Names
    _name: str
    _broker: Broker
    _sender: Sender
    _control: Table
    _letters: Table
    _waiting: Table
    _mover: Mover
    _looker: Looker
    _declared: dict[tuple[str, str], Declared]
    _is_open: bool

    def _check_open(self) -> None:
        if not self._is_open:
            raise Disconnected("kafka:// is not open")

    def _resubscribe(self) -> None:
        """Let every member read what has come."""
        raise NotImplementedError

    async def _read_declared(self) -> dict[tuple[str, str], Declared]:
        self._check_open()
        self._declared = read_declared((await self._control.refresh()).items())
        return self._declared

    async def _read_letters(self) -> Mapping[bytes, DeadInfo]:
        self._check_open()
        letters = {key: read_letter(row) for key, row in (await self._letters.refresh()).items()}
        return {key: letter for key, letter in letters.items() if letter is not None}

    # --- members ---------------------------------------------------------------------------------------------

    async def announce(self, said: Sequence[MemberInfo], /) -> Sequence[str]:
        """Say how this process's subscriptions are, in place of what it said before; return groups that are gone."""
        self._check_open()
        await self._control.put({member_key(self._name): write_said(said, self.clock.time())})
        known = {group for group, _ in await self._read_declared()}
        return [group for group in dict.fromkeys(member.group for member in said) if group not in known]

    async def members(self) -> Sequence[MemberInfo]:
        """Return what processes have said lately, by group, pattern and process."""
        rows = await self._control.refresh()
        return read_said(rows.items(), self.clock.time() - MEMBER_LEASE_S)

    # --- looking in ------------------------------------------------------------------------------------------

    async def topics(self) -> Sequence[TopicInfo]:
        """Return every topic, by name."""
        await self._broker.refresh()
        return await self._looker.topics((await self._read_declared()).values())

    async def groups(self) -> Sequence[GroupInfo]:
        """Return every group on every topic."""
        await self._broker.refresh()
        declared = list((await self._read_declared()).values())
        standings = await self._looker.standings(declared)
        letters = (await self._read_letters()).values()
        found = []
        for standing in standings:
            dead = sum((each.group, each.topic) == (standing.group, standing.topic) for each in letters)
            found.append(await self._looker.info(standing, dead))
        return found

    async def browse(self, pattern: str, *, start: Start, limit: int) -> Sequence[tuple[int, Message]]:
        """Return offsets and messages, topic by topic, without taking anything from any group."""
        await self._broker.refresh()
        return await self._looker.browse(pattern, start, limit)

    async def dead(self, *, group: str | None = None, limit: int = 100, after: int = 0) -> Sequence[DeadInfo]:
        """Return dead letters with a number over `after`, oldest first."""
        rows = await self._letters.refresh()
        return find_letters(list(rows.values()), group, limit, after)

    async def retry_dead(self, numbers: Sequence[int]) -> int:
        """Give dead letters back to their group as new first attempts; return how many there were."""
        found = await self._letters_of(numbers)
        for key, letter in found.items():
            name = self._names.again(letter.group, letter.topic)
            await self._broker.ensure(name, partitions=1)
            (headers,) = records_of([letter.message])
            entry = Entry(name, 0, letter.message.key, letter.message.body, headers)
            outcome = await self._sender.put([entry])
            if outcome.errors:
                raise TransportError("a dead letter could not be given back: try again")
            await self._letters.put({key: None})
        self._resubscribe()
        return len(found)

    async def purge_dead(self, numbers: Sequence[int]) -> int:
        """Delete dead letters for good; return how many there were."""
        found = await self._letters_of(numbers)
        if found:
            await self._letters.put(dict.fromkeys(found))
        return len(found)

    async def _letters_of(self, numbers: Sequence[int]) -> dict[bytes, DeadInfo]:
        wanted = set(numbers)
        return {
            key: letter for key, letter in (await self._read_letters()).items() if letter.number in wanted
        }

    async def scheduled(
        self, *, pattern: str = "#", before: Instant | None = None, limit: int = 100
    ) -> Sequence[ScheduledInfo]:
        """Return messages that wait for their time, the next one first: of topics that fit, due before a time."""
        end = math.inf if before is None else unix_time(before, name="before")
        return find(list((await self._waiting.refresh()).values()), pattern, end, limit)

    async def move_scheduled(self, message_id: str, at: Instant) -> bool:
        """Let a message wait for another time; False if it is not there (any more).

        If it comes due in that very moment, it may come then too.
        """
        due = unix_time(at, name="at")
        row = (await self._waiting.refresh()).get(message_id.encode())
        if row is None:
            return False
        message = msgspec.structs.replace(message_in(row), deliver_at=due)
        (headers,) = records_of([message])
        outcome = await self._sender.put([row_of(self._names.delay, message, headers)])
        if outcome.errors:
            raise TransportError("the new time was not confirmed: ask again")
        self._mover.join()
        return True

    async def cancel_scheduled(self, message_id: str) -> bool:
        """Delete a message that waits for its time; False if it is not there (any more).

        If it comes due in that very moment, it may come all the same.
        """
        key = message_id.encode()
        if key not in await self._waiting.refresh():
            return False
        await self._waiting.put({key: None})
        await self._waiting.refresh()
        return True

    async def recurring(self) -> Sequence[RecurringInfo]:
        """Return nothing: nothing recurs here."""
        return ()

    async def pause_recurring(self, name: str, *, paused: bool = True) -> bool:
        """Return False: nothing recurs here."""
        return False

    async def remove_recurring(self, name: str) -> bool:
        """Return False: nothing recurs here."""
        return False

    async def seek(
        self, group: str, pattern: str, start: Start, *, dry_run: bool = False
    ) -> Sequence[SeekInfo]:
        """Move a group's place; see `Inspector.seek`. Of a group whose members are in other processes it is refused."""
        await self._broker.refresh()
        declared = list((await self._read_declared()).values())
        standings = await self._looker.standings(declared, group=group, pattern=pattern)
        if not standings:
            raise no_such_place(group, pattern, await self.groups())
        return [await self._looker.seek(standing, start, dry_run=dry_run) for standing in standings]

    async def facts(self) -> dict[str, str]:
        """Return what `doctor` prints."""
        broker = self._broker
        await broker.refresh()
        how = "probed" if broker.settings else "the broker does not tell its settings: the least"
        return {
            "kept in": f"Kafka at {self._options.servers}, {broker.brokers} broker{'s' * (broker.brokers != 1)}",
            "TLS": "yes" if self._options.caller.tls is not None else "no",
            "durability of a send": f"{broker.promised.name} for topics made here ({how})",
            "groups": f"protocol {broker.protocol} ({'declared' if self._options.protocol else 'probed'})",
            "topics": str(len(self._looker.topics_of_users())),
        }
