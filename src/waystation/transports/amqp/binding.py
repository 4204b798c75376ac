"""A message on the wire: CloudEvents' binary binding for AMQP, and what copies of ours carry besides.

A message that comes again, waits or was given up is a copy of itself, published anew. What is known of it goes along in
headers that begin with `x-ws-`, which no application sees.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from ..._broker.attributes import AMQP, from_headers, text, to_headers
from ..._core.message import JSON, Message
from .channel import Arrival
from .suspicion import Standing, standing
from .tables import write_properties

#: A copy's topic, since its routing key is a queue.
TOPIC = "x-ws-topic"
#: How many attempts have been made.
ATTEMPTS = "x-ws-attempts"
#: How it must be handed out, because of what became of its holders; see `suspicion`.
SUSPECT = "x-ws-suspect"
#: Its place among those of its key.
POSITION = "x-ws-position"
#: When it may be delivered, in Unix seconds.
DUE = "x-ws-due"
#: The queue that it goes to when it is due; nothing: wherever its topic leads.
TO = "x-ws-to"
#: Which copy this is, for whoever waits for it.
COPY = "x-ws-copy"
#: Of a dead letter.
NUMBER, GROUP, REASON, DETAIL, DIED = "x-ws-number", "x-ws-group", "x-ws-reason", "x-ws-detail", "x-ws-died"
#: What a note of the gate to itself is.
NOTE = "x-ws-note"

#: How often the server had delivered it before, to whoever has gone away since.
_RETURNED = "x-delivery-count"


def properties_of(
    message: Message, extra: Mapping[str, str] | None = None, *, persistent: bool = True
) -> bytes:
    """Return a message's properties."""
    headers = to_headers(message, AMQP)
    if extra:
        headers |= extra
    return write_properties(
        headers, content_type=message.content_type, message_id=message.id, persistent=persistent
    )


def message_of(arrival: Arrival) -> Message:
    """Return the message that came, whoever published it.

    AMQP has no position by which a message could be known again. So one without an id gets another each time: an id
    made from what is in it would make two equal messages one.
    """
    properties = arrival.properties
    headers: dict[str, Any] = properties.get("headers") or {}
    topic = headers.get(TOPIC) or arrival.routing_key
    written = {name: value if type(value) is str else text(value) for name, value in headers.items()}
    message_id = properties.get("message_id") or ""
    return from_headers(
        written,
        arrival.body,
        AMQP,
        topic=text(topic),
        message_id=message_id or f"amqp-{secrets.token_urlsafe(12)}",
        time=float(properties.get("timestamp", 0)),
        content_type=properties.get("content_type") or JSON,
    )


def note(arrival: Arrival) -> str | None:
    """Return what a note says; None: it is a message."""
    headers = arrival.properties.get("headers")
    return None if not headers else headers.get(NOTE)


def vanished(headers: Mapping[str, Any]) -> int:
    """Return how often the server had to take a message back."""
    return number(headers, _RETURNED)


def standing_of(headers: Mapping[str, Any], *, forgiven: int = 0) -> Standing:
    """Return how a message stands.

    Args:
        forgiven: How often it was taken back from somebody who knows that he had not begun with it.
    """
    return standing(
        attempts=number(headers, ATTEMPTS),
        level=number(headers, SUSPECT),
        vanished=max(0, vanished(headers) - forgiven),
    )


def number(headers: Mapping[str, Any], name: str) -> int:
    """Return a header as a whole number; 0 if it is none."""
    try:
        return int(headers.get(name, 0))
    except (TypeError, ValueError):
        return 0


def instant(headers: Mapping[str, Any], name: str) -> float:
    """Return a header as a time; 0 if it is none."""
    try:
        return float(headers.get(name, 0.0))
    except (TypeError, ValueError):
        return 0.0
