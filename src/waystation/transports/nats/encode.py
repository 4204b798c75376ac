"""Messages as NATS carries them, and read back: CloudEvents' binding, in one block of headers."""

from __future__ import annotations

from collections.abc import Sequence

from ..._broker.attributes import NATS, from_headers, headers_of, seconds, to_headers
from ..._core.message import Message
from .wire import header_block, read_headers


def heads_of(messages: Sequence[Message]) -> list[bytes]:
    """Return the headers of a batch."""
    return [header_block(headers) for headers in headers_of(messages, NATS)]


def head_of(message: Message, extra: dict[str, str] | None = None) -> bytes:
    """Return the headers of a message, and others beside them."""
    headers = to_headers(message, NATS)
    if extra:
        headers |= extra
    return header_block(headers)


def message_of(
    topic: str, stream: str, sequence: int, head: bytes, body: bytes, stamp: float = 0.0
) -> Message:
    """Return a message that a stream has, whoever sent it.

    Args:
        stamp: When the server stored it, in Unix seconds.
    """
    return message_from(topic, stream, sequence, read_headers(head), body, stamp)


def message_from(
    topic: str, stream: str, sequence: int, headers: dict[str, str], body: bytes, stamp: float = 0.0
) -> Message:
    """As `message_of`, of headers that were read."""
    if not stamp:
        stamp = seconds(headers.get("Nats-Time-Stamp")) or 0.0
    return from_headers(headers, body, NATS, topic=topic, message_id=f"{stream}-{sequence}", time=stamp)


def to_headers_of(message: Message) -> dict[str, str]:
    """Return the headers of a message, before they are written."""
    return to_headers(message, NATS)
