"""An entry of a stream as a message: `data` is its body, everything else are CloudEvents' attributes.

An entry that somebody else has added is a message too. Its `data` is the body; without one, its fields are, as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias, overload

import msgspec

from ..._broker.attributes import REDIS, from_headers, seconds, text
from ..._core.delivery import Delivery
from ..._core.message import JSON, Message
from ..._core.run import MessageRun

#: An entry as the server gives it: its id, and its fields and values in turns.
Entry: TypeAlias = tuple[bytes, list[bytes]]

#: The field with the body: scripts put it last.
BODY = "data"

_KEY_BYTES: Final = REDIS.names["key"].encode()
_BODY_BYTES: Final = BODY.encode()


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
        """Return a message's key without reading the rest of it. What Waystation writes begins with it."""
        fields = self._entries[index][1]
        if _KEY_BYTES not in fields:
            return None
        if fields[0] == _KEY_BYTES:
            return fields[1].decode(errors="replace")
        return self[index].key

    def deliveries(self, token: object, attempts: Mapping[int, int]) -> list[Delivery]:
        """Return deliveries of all messages: the first ones, but for those at some places."""
        found = []
        for place, (_, fields) in self._entries.items():
            attempt = attempts.get(place, 1)
            layout = _layout(tuple(fields[::2]))
            if layout is None:
                found.append(Delivery.of(self[place], attempt, token, index=place))
                continue
            content_at, expires_at = layout
            content_type = _short(fields[content_at]) if content_at else JSON
            expires = seconds(fields[expires_at].decode(errors="replace")) if expires_at else None
            found.append(Delivery(self, place, fields[-1], content_type, attempt, token, expires))
        return found


@lru_cache(maxsize=1024)
def _layout(names: tuple[bytes, ...]) -> tuple[int, int] | None:
    """Return where an entry with these fields says how its body is written, and when it expires; 0: it does not.

    None: its body is not where it is in ours, or is not a body at all, so that all of it must be read.
    """
    if names[-1] != _BODY_BYTES or names.count(_BODY_BYTES) > 1:
        return None
    at = {REDIS.field(text(name)): 2 * place + 1 for place, name in enumerate(names)}
    return at.get("content_type", 0), at.get("expires_at", 0)


@lru_cache(maxsize=64)
def _short(value: bytes) -> str:
    """Return a text that many messages share."""
    return value.decode(errors="replace") or JSON
