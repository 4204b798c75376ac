"""Taking a segment that has just been written, of which a bell has said where it is.

A claim looks at every partition of a topic. That is little for a thousand messages and much for one, so a member that
has taken all that was free goes straight to what came after that: one row of the log and one cursor are read, and one
cursor is written. Whatever is not as simple as that is left to `claim`. Runs inside its caller's transaction.
"""

from __future__ import annotations

from typing import Final

import apsw

from .claim import Claim, deliveries_of
from .leases import Member, RangeLease
from .log import Fresh
from .rows import fetch_one
from .segment import DamagedSegment, decode_segment

_FIND: Final = """
    SELECT s.first, s.count, s.checksum, s.messages, c.next, c.done, c.owner, c.token, c.deadline,
           EXISTS (SELECT 1 FROM bus_pending WHERE group_id = ?1 AND topic = ?2 AND partition = ?3 AND key IS NOT NULL)
    FROM bus_segment s JOIN bus_cursor c ON c.group_id = ?1 AND c.topic = s.topic AND c.partition = s.partition
    WHERE s.id = ?4 AND s.topic = ?2 AND s.partition = ?3"""
_TAKE: Final = """
    UPDATE bus_cursor SET leased_to = ?, owner = ?, token = ?, deadline = ?
    WHERE group_id = ? AND topic = ? AND partition = ?"""


def claim_fresh(
    connection: apsw.Connection, member: Member, fresh: Fresh, limit: int, now: float, deadline: float
) -> Claim | None:
    """Lease a segment until `deadline`, if it is the next in its partition and nobody holds that.

    Returns:
        What was taken; nothing, if it is settled, or in a partition whose holder will tell when it has settled; None,
        if the topic has to be looked at as a whole.
    """
    row = fetch_one(connection, _FIND, (member.group, fresh.topic, fresh.partition, fresh.segment_id))
    if row is None:
        return None
    first, count, checksum, data, place, done, owner, token, ends, keys_wait = row
    if place >= first + count or (owner not in (None, member.owner) and ends > now):
        return Claim()
    if owner is not None or done or place != first or count > limit or (member.ordered and keys_wait):
        return None
    try:
        messages = decode_segment(fresh.segment_id, first, count, checksum, data)
    except DamagedSegment:
        return None
    lease = RangeLease(member.group, fresh.topic, fresh.partition, token + 1, first, first + count, 0)
    cursor = (lease.group, lease.topic, lease.partition)
    connection.execute(_TAKE, (lease.leased_to, member.owner, lease.token, deadline, *cursor))
    return Claim(deliveries_of(lease, first, messages), [lease], count=count)
