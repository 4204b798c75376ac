"""Who serves which group, as a document that processes write into."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..._core.inspection import MemberInfo
from ..._core.limits import MEMBER_LEASE_S


class Roll(msgspec.Struct, frozen=True):
    """What processes have said, each under a name of its own."""

    said: dict[str, list[MemberInfo]] = {}

    def recent(self, now: float) -> Roll:
        """Return it without what is to be believed no more."""
        return Roll(
            {name: said for name, said in self.said.items() if said and _heard(said) >= now - MEMBER_LEASE_S}
        )


def merged_rolls(one: Roll, other: Roll) -> Roll:
    """Return what each process has said last."""
    said = {**one.said}
    for name, members in other.said.items():
        if name not in said or _heard(members) > _heard(said[name]):
            said[name] = members
    return Roll(said)


def _heard(said: Sequence[MemberInfo]) -> float:
    return max((member.heard for member in said), default=0.0)
