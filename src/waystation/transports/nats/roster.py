"""What processes say of the groups that they serve, and groups that end with the process that they are for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import msgspec

from ..._core.inspection import MemberInfo
from ..._core.limits import MEMBER_LEASE_S, TEMPORARY_GROUP_LEASE_S
from .office import Office
from .records import Said
from .registry import Registry


class Roster:
    """Who serves what.

    Args:
        remove: Forgets a group.
    """

    def __init__(self, office: Office, registry: Registry, remove: Callable[[str], Awaitable[bool]]) -> None:
        self._office, self._registry, self._remove = office, registry, remove
        self._api, self._layout = office.api, office.layout
        self._said = False

    async def announce(self, members: Sequence[MemberInfo]) -> list[str]:
        """Say how this process is, in place of what it said before; return the groups that are not there."""
        key = self._layout.key("member", self._office.me)
        now = self._office.clock.time()
        if members:
            await self._api.put(key, Said([replace(member, heard=now) for member in members]))
            self._said = True
        elif self._said:
            await self._api.forget(key)
            self._said = False
        served = {member.group for member in members}
        await self._keep(served)
        there = {each.group for each in await self._registry.groups()}
        return sorted(served - there)

    async def members(self) -> list[MemberInfo]:
        """Return what processes have said lately, by group, pattern and process."""
        since = self._office.clock.time() - MEMBER_LEASE_S
        found: list[MemberInfo] = []
        for stored in await self._api.keys(self._layout.key("member", "*")):
            said = msgspec.json.decode(stored.body, type=Said).members
            if said and said[0].heard < since - MEMBER_LEASE_S:
                await self._api.forget(stored.subject)
            found += [member for member in said if member.heard >= since]
        return sorted(found, key=lambda member: (member.group, member.pattern, member.pid))

    async def _keep(self, served: set[str]) -> None:
        """Keep temporary groups that somebody serves, and forget those whom nobody has served for too long."""
        now = self._office.clock.time()
        for each in await self._registry.groups():
            if not each.until:
                continue
            if each.group in served:
                kept = msgspec.structs.replace(each, until=now + TEMPORARY_GROUP_LEASE_S)
                await self._api.put(self._layout.subscription(each.group, each.pattern), kept)
            elif each.until < now:
                await self._remove(each.group)

    async def sweep(self) -> None:
        """Forget groups whose time is over."""
        await self._keep(set())
