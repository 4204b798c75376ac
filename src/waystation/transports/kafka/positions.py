"""Offsets of a topic as one number each, though every partition counts for itself.

Of the message with offset *n* in partition *p* of *P* it is *n·P + p*: distinct, rising within each partition, and in a
topic of one partition Kafka's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..._core.duration import unix_time
from ..._core.ports import Start
from .broker import Broker
from .names import Spot


def number(offset: int, partition: int, partitions: int) -> int:
    """Return the number of a message."""
    return offset * partitions + partition


def first_offset(start: int, partition: int, partitions: int) -> int:
    """Return the first offset of a partition whose number is not below `start`."""
    return max(0, -((partition - start) // partitions))


async def positions(
    broker: Broker, spots: Sequence[Spot], start: Start, bounds: Mapping[Spot, tuple[int, int]]
) -> dict[Spot, int]:
    """Return what a start position means in each partition now.

    Args:
        bounds: Where each partition begins and ends.

    Raises:
        ConfigurationError: It is a time without a zone.
    """
    if start == "earliest":
        return {spot: bounds[spot][0] for spot in spots}
    if start == "new":
        return {spot: bounds[spot][1] for spot in spots}
    if isinstance(start, int):
        counts = {spot[0]: broker.known[spot[0]].partitions for spot in spots}
        wanted = {spot: first_offset(start, spot[1], counts[spot[0]]) for spot in spots}
        return {spot: min(max(offset, bounds[spot][0]), bounds[spot][1]) for spot, offset in wanted.items()}
    since = unix_time(start, name="start")
    return await broker.since(spots, since) if spots else {}
