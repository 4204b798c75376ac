"""Processes say which groups they serve, and groups of one instance are forgotten when nobody does."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from ..._core.inspection import MemberInfo
from ..._core.limits import TEMPORARY_GROUP_LEASE_S
from .catalogue import Catalogue, GroupEntry, group_of
from .ground import drop_group
from .roll import Roll
from .works import Works


class Roster(Works):
    """The transport, as something by which processes know of each other."""

    _name = ""

    async def announce(self, members: Sequence[MemberInfo], /) -> Sequence[str]:
        """Say how this process is; see `Roster` in the core. Temporary groups that it serves are kept on."""
        self.check_open()
        self._name = self._name or secrets.token_urlsafe(9)
        now = self.clock.time()
        async with self.roll.held() as page:
            said = {name: each for name, each in page.found.said.items() if name != self._name}
            if members:
                said[self._name] = [replace(member, heard=now) for member in members]
            page.new = Roll(said).recent(now)
        served = {member.group for member in members}
        catalogue = await self._keep_on(served, now) if served else await self.catalogue.read()
        known = {entry.name for entry in catalogue.groups.values()}
        return [name for name in dict.fromkeys(member.group for member in members) if name not in known]

    async def _keep_on(self, served: set[str], now: float) -> Catalogue:
        """Let temporary groups that are served last on, and forget those that were served by nobody for long."""
        async with self.catalogue.held() as page:
            kept = page.found
            for entry in page.found.groups.values():
                if entry.until is None:
                    continue
                if entry.name in served:
                    if entry.until < now + TEMPORARY_GROUP_LEASE_S * _RENEWED_AT:
                        kept = kept.with_group(temporary(entry, now))
                elif entry.until <= now:
                    await self.with_channel(drop_group, group_of(entry, self.names))
                    kept = kept.without_group(entry.name)
            page.new = kept
            return kept

    async def members(self) -> Sequence[MemberInfo]:
        """Return what processes have said lately, by group, pattern and process."""
        self.check_open()
        roll = (await self.roll.read()).recent(self.clock.time())
        found = [member for said in roll.said.values() for member in said]
        return sorted(found, key=lambda member: (member.group, member.pattern, member.pid))


def temporary(entry: GroupEntry, now: float) -> GroupEntry:
    """Return a group that is forgotten unless somebody says in time that he serves it."""
    return msgspec.structs.replace(entry, until=now + TEMPORARY_GROUP_LEASE_S)


#: A temporary group is written down anew when so much of its time is left: not at each announcement.
_RENEWED_AT = 0.7
