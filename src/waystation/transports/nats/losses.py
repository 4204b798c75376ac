"""What a server has lost in a power cut, and how a place goes on then: its numbers are given to new messages.

The times at which messages were stored tell: whatever was stored since the newest one that was read here, is new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from .api import Api
from .records import Unit


async def rewound(
    api: Api, stream: str, found: Mapping[int, tuple[Unit, int]]
) -> dict[int, tuple[Unit, int]]:
    """Return those units, by partition and with their revisions, that are ahead of their stream, as they should be.

    Raises:
        TransportError: That could not be found out.
    """
    numbers = [number for number, (unit, _) in found.items() if unit.stamp]
    firsts = await first_new(api, stream, [found[number][0].stamp for number in numbers])
    ahead = {}
    for number, first in zip(numbers, firsts, strict=True):
        unit, revision = found[number]
        if first <= max(unit.tops):
            ahead[number] = (unit.before(first), revision)
    return ahead


async def first_new(api: Api, stream: str, stamps: Sequence[int]) -> list[int]:
    """Return the number of the first message that was, or will be, stored after each time, in nanoseconds.

    Raises:
        TransportError: That could not be found out.
    """
    if not stamps:
        return []
    info = await api.stream_info(stream)
    if info is None:
        return [1] * len(stamps)
    past = int(info["state"]["last_seq"]) + 1
    found = await asyncio.gather(*(api.since(stream, stamp) for stamp in stamps))
    return [past if first is None else min(past, first.sequence) for first in found]
