"""A message as an entry of a stream, and back: `data` is its body, everything else as CloudEvents' attributes.

An entry that somebody else has added is a message too. Its `data` is the body; without one, its fields are, as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias, overload

import msgspec

from ..._broker.attributes import REDIS, from_headers, headers_of, rfc3339, seconds, text
from ..._core.delivery import Delivery
from ..._core.message import JSON, Message
from ..._core.run import MessageRun
from .limits import FIELDS_COUNT_MAX

#: Field and value in turns, as scripts pass them on.
Fields: TypeAlias = list[str]

#: An entry as the server gives it: its id, and its fields and values in turns.
Entry: TypeAlias = tuple[bytes, list[bytes]]

#: The field with the body: scripts put it last.
BODY = "data"

_KEY = REDIS.names["key"]
_NOTHING: Final = (None,) * 8
_KEY_BYTES: Final = _KEY.encode()
_FIRST_BYTES: Final = REDIS.names["specversion"].encode()
_BODY_BYTES: Final = BODY.encode()
_EXPIRES_BYTES: Final = REDIS.names["expires_at"].encode()
_CONTENT_TYPE_BYTES: Final = b"content-type"
_HEADERS = REDIS.names["headers"]


def fields_of(messages: Sequence[Message]) -> list[Fields]:
    """Return messages as entries, without their bodies. A key comes first: scripts look there."""
    if not isinstance(messages, MessageRun):
        return [_fields(message) for message in messages]
    headers = headers_of(messages, REDIS)
    return [_in_order(message, each) for message, each in zip(messages, headers, strict=True)]


def _fields(message: Message) -> Fields:
    """Return one message's fields: most have an id and a time of their own, and else what others have too."""
    own = (
        message.correlation_id, message.causation_id, message.reply_to, message.expires_at, message.deliver_at,
        message.dedupe_key, message.traceparent, message.failure,
    )  # fmt: skip
    if message.headers or message.priority or own != _NOTHING:
        (headers,) = headers_of([message], REDIS)
        return _in_order(message, headers)
    fields, id_at, time_at = _common(message.topic, message.source, message.type, message.content_type)
    found = [*fields] if message.key is None else [_KEY, message.key, *fields]
    found[id_at - len(fields)], found[time_at - len(fields)] = message.id, rfc3339(message.time)
    return found


@lru_cache(maxsize=256)
def _common(topic: str, source: str, type_: str, content_type: str) -> tuple[tuple[str, ...], int, int]:
    """Return the fields of a message that has nothing else, and where its id and its time go."""
    plain = Message("", topic, b"", source=source, type=type_, content_type=content_type)
    (headers,) = headers_of([plain], REDIS)
    names = list(headers)
    id_at, time_at = (2 * names.index(REDIS.names[each]) + 1 for each in ("id", "time"))
    return tuple(_in_order(plain, headers)), id_at, time_at


def _in_order(message: Message, headers: dict[str, str]) -> Fields:
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


class Entries(MessageRun):
    """Entries as a run of messages, each of which is read when somebody asks for it: most handlers want its body only.

    Args:
        entries: Each entry's id and fields, by its place.
    """

    __slots__ = ("_entries",)

    def __init__(self, topic: str, entries: dict[int, Entry]) -> None:
        super().__init__(Message("", topic, b""), [], [])
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Message]:
        return iter([self[place] for place in self._entries])

    @overload
    def __getitem__(self, index: int) -> Message: ...

    @overload
    def __getitem__(self, index: slice) -> MessageRun: ...

    def __getitem__(self, index: int | slice) -> Message | MessageRun:
        if isinstance(index, slice):
            return self.pick(list(self._entries)[index])
        entry_id, fields = self._entries[index]
        return message_of(self.shared.topic, entry_id, fields)

    def pick(self, indexes: Sequence[int]) -> MessageRun:
        """Return the entries at these places, in this order."""
        return Entries(self.shared.topic, {place: self._entries[place] for place in indexes})

    def id_at(self, place: int) -> bytes:
        """Return an entry's id."""
        return self._entries[place][0]

    def key_at(self, index: int) -> str | None:
        """Return a message's key without reading the rest of it."""
        fields = self._entries[index][1]
        if fields[0] == _KEY_BYTES:
            return fields[1].decode(errors="replace")
        return None if fields[0] == _FIRST_BYTES else self[index].key

    def deliveries(self, token: object) -> list[Delivery]:
        """Return first deliveries of all messages."""
        found = []
        for place, (_, fields) in self._entries.items():
            content_at, expires_at = _layout(tuple(fields[::2]))
            if content_at < 0:
                found.append(Delivery.of(self[place], 1, token, index=place))
                continue
            expires = seconds(fields[expires_at].decode(errors="replace")) if expires_at else None
            found.append(Delivery(self, place, fields[-1], _short(fields[content_at]), 1, token, expires))
        return found


@lru_cache(maxsize=1024)
def _layout(names: tuple[bytes, ...]) -> tuple[int, int]:
    """Return where an entry with these fields says how its body is written, and when it expires; 0: it does not.

    The first is negative if this is none of ours: then all of it must be read.
    """
    if names[-1] != _BODY_BYTES or _CONTENT_TYPE_BYTES not in names or names.count(_BODY_BYTES) > 1:
        return -1, 0
    expires = 2 * names.index(_EXPIRES_BYTES) + 1 if _EXPIRES_BYTES in names else 0
    return 2 * names.index(_CONTENT_TYPE_BYTES) + 1, expires


@lru_cache(maxsize=64)
def _short(value: bytes) -> str:
    """Return a text that many messages share."""
    return value.decode(errors="replace")
