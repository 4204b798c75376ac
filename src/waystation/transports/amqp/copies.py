"""Copies: a message that comes again, waits, or was given up, published anew before its delivery is settled."""

from __future__ import annotations

import secrets

from ..._core.delivery import DeadLetter
from ..._core.limits import REASON_CHARS_MAX
from . import binding
from .lines import Line
from .names import Names
from .place import Held
from .sender import Parcel, to_queue
from .tables import write_properties


def again(
    held: Held, line: Line, names: Names, *, attempts: int, due: float, wall: float, level: int = 0
) -> tuple[Parcel, str]:
    """Return a copy that comes again, not before it is due, and how it is known when it comes.

    Args:
        level: How it must be handed out; see `suspicion`.
    """
    message = held.message
    extra = {binding.TOPIC: message.topic, binding.ATTEMPTS: str(attempts)}
    queue, copy = line.again, ""
    if level:
        extra[binding.SUSPECT] = str(level)
    if line.keyed or level:
        copy = extra[binding.COPY] = secrets.token_urlsafe(9)
    if line.keyed:
        extra[binding.POSITION] = str(held.position)
    if due > wall:
        extra[binding.DUE] = repr(due)
        if not line.keyed:
            queue = names.later
            extra[binding.TO] = line.again
    return (
        Parcel(message.id, to_queue(queue), binding.properties_of(message, extra), message.body, needed=True),
        copy,
    )


def dead(held: Held, line: Line, outcome: DeadLetter, *, number: int, attempts: int, wall: float) -> Parcel:
    """Return a dead letter."""
    message = held.message
    extra = {
        binding.TOPIC: message.topic,
        binding.NUMBER: str(number),
        binding.GROUP: line.group,
        binding.ATTEMPTS: str(attempts),
        binding.REASON: outcome.reason[:REASON_CHARS_MAX],
        binding.DETAIL: outcome.detail[:REASON_CHARS_MAX],
        binding.DIED: repr(wall),
    }
    properties = binding.properties_of(message, extra)
    return Parcel(message.id, to_queue(line.dead), properties, message.body, needed=True)


def note(queue: str, text: str) -> Parcel:
    """Return a note of the gate to itself or its like."""
    properties = write_properties(
        {binding.NOTE: text}, content_type="text/plain", message_id="", persistent=True
    )
    return Parcel("", to_queue(queue), properties, b"")
