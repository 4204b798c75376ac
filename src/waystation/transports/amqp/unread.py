"""What nobody was there for: kept for some days, and given to each group that begins at the earliest message.

It is not taken away by that: it is as if the group had been there, and so it is for the next one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..._core.topic import matches
from . import binding
from .channel import Arrival
from .dead import letters
from .groups import Group
from .link import Link
from .names import Names
from .sender import Parcel, Sender, to_queue


async def hand_over(groups: Sequence[Group], names: Names, link: Link, sender: Sender) -> None:
    """Give groups that are new a copy of what nobody was there for.

    Raises:
        TransportError: It did not happen, or in part.
    """
    async with letters(names.unread, link, sender) as found:
        parcels = [
            _parcel(arrival, group) for arrival in found.all for group in groups if _fits(arrival, group)
        ]
        await sender.sent(parcels)


def _fits(arrival: Arrival, group: Group) -> bool:
    return matches(group.pattern, binding.message_of(arrival).topic)


def _parcel(arrival: Arrival, group: Group) -> Parcel:
    message = binding.message_of(arrival)
    properties = binding.properties_of(message, {binding.TOPIC: message.topic})
    return Parcel(message.id, to_queue(group.line_of(message.key).fresh), properties, message.body)
