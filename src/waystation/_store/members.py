"""Members: which processes serve a group, and what they say of themselves. Inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from .._core.inspection import MemberInfo
from .._core.limits import MEMBER_LEASE_S
from .rows import fetch


def announce(connection: apsw.Connection, owner: str, members: Sequence[MemberInfo], now: float) -> None:
    """Replace what one process has said of its subscriptions, or of those of others that it serves.

    Args:
        owner: The process, by a name that begins with its id and a dash.
    """
    connection.execute(
        "DELETE FROM bus_member WHERE owner = ?1 OR substr(owner, 1, length(?1) + 1) = ?1 || '/'", (owner,)
    )
    connection.executemany(
        "INSERT INTO bus_member VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [
            (
                f"{owner}/{each.pid}",
                each.group,
                each.pattern,
                each.pid,
                each.state,
                each.reason,
                each.since,
                now,
            )
            for each in members
        ],
    )


def members(connection: apsw.Connection, now: float) -> list[MemberInfo]:
    """Return what processes have said lately, by group, pattern and process."""
    found = fetch(
        connection,
        """SELECT group_name, pattern, pid, state, reason, since, heard FROM bus_member
           WHERE heard >= ? ORDER BY group_name, pattern, pid""",
        (now - MEMBER_LEASE_S,),
    )
    return [
        MemberInfo(
            group=group, pattern=pattern, pid=pid, state=state, reason=reason, since=since, heard=heard
        )
        for group, pattern, pid, state, reason, since, heard in found
    ]


def forget(connection: apsw.Connection, pid: int) -> None:
    """Forget what a dead process has said, and let the groups that were for it alone end."""
    connection.execute(
        """UPDATE bus_groups SET expires = 0
           WHERE expires IS NOT NULL AND name IN (SELECT group_name FROM bus_member WHERE pid = ?)""",
        (pid,),
    )
    connection.execute("DELETE FROM bus_member WHERE pid = ?", (pid,))


def sweep(connection: apsw.Connection, now: float) -> None:
    """Forget what was not said again."""
    connection.execute("DELETE FROM bus_member WHERE heard < ?", (now - MEMBER_LEASE_S,))
