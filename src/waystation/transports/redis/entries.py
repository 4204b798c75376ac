"""A message as an entry of a stream, and back: `data` is its body, everything else as CloudEvents' attributes.

An entry that somebody else has added is a message too. Its `data` is the body; without one, its fields are, as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from ..._broker.attributes import REDIS, from_headers, headers_of, text
from ..._core.message import JSON, Message
from .limits import FIELDS_COUNT_MAX

#: Field and value in turns, as scripts pass them on.
Fields: TypeAlias = list[str]

#: The field with the body: scripts put it last.
BODY = "data"

_KEY = REDIS.names["key"]
_HEADERS = REDIS.names["headers"]


def fields_of(messages: Sequence[Message]) -> list[Fields]:
    """Return messages as entries, without their bodies. A key comes first: scripts look there."""
    return [
        _fields(message, headers)
        for message, headers in zip(messages, headers_of(messages, REDIS), strict=True)
    ]


def _fields(message: Message, headers: dict[str, str]) -> Fields:
    if len(headers) * 2 + 2 > FIELDS_COUNT_MAX:
        plain = msgspec.structs.replace(message, headers={})
        (headers,) = headers_of([plain], REDIS)
        headers[_HEADERS] = msgspec.json.encode(message.headers).decode()
    found: Fields = []
    if message.key is not None:
        found += (_KEY, headers.pop(_KEY))
    for item in headers.items():
        found += item
    return found


def message_of(topic: str, entry_id: bytes, fields: Sequence[Any]) -> Message:
    """Return the message that an entry is."""
    found = {text(name): value for name, value in zip(fields[::2], fields[1::2], strict=True)}
    body = found.pop(BODY, None)
    headers = {name: text(value) for name, value in found.items()}
    content_type = ""
    if body is None:
        own = {name: value for name, value in headers.items() if REDIS.field(name) is None}
        headers = {name: value for name, value in headers.items() if name not in own}
        body, content_type = msgspec.json.encode(own), JSON
    place = entry_id.decode()
    return from_headers(
        headers,
        body,
        REDIS,
        topic=topic,
        message_id=f"{topic}:{place}",
        time=int(place.partition("-")[0]) / 1000,
        content_type=content_type,
    )


def entry_id_in(name: bytes) -> bytes:
    """Return the id of the entry that a held message was."""
    return name.split(b":", 2)[1]
