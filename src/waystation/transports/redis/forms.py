"""A message as the fields of an entry: what many have in common, their form, is handed to a script once.

The body is not among them: it may be any bytes, travels apart, and is put last. Nor is what goes without saying:
each field of an entry is work for the server's memory, its file, every reader and what they send each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from ..._broker.attributes import REDIS, rfc3339, to_headers
from ..._core.message import JSON, Message
from ..._core.run import MessageRun
from .limits import FIELDS_COUNT_MAX

_KEY: Final = REDIS.names["key"]
_HEADERS: Final = REDIS.names["headers"]
_NOTHING: Final = (None,) * 8

#: What an entry is taken to say that does not say it.
_UNSAID: Final = {REDIS.names["specversion"]: "1.0", "content-type": JSON}


class Form(NamedTuple):
    """Fields and values in turns, with gaps.

    Attributes:
        gaps: Places that differ from message to message, the first field being 1, as Lua counts.
    """

    fields: tuple[str, ...]
    gaps: tuple[int, ...]


#: A form, and what belongs into its gaps.
Written: TypeAlias = tuple[Form, tuple[str, ...]]


def write(messages: Sequence[Message]) -> Iterator[Written]:
    """Write messages, in order. A key comes first: scripts look there."""
    if not isinstance(messages, MessageRun) or not _is_plain(messages.shared):
        return map(_write, messages)
    shared = messages.shared
    time, plain, keyed = rfc3339(shared.time), _form_of(shared), _form_of(shared, keyed=True)
    keys: Sequence[str | None] | repeat[None] = repeat(None) if messages.keys is None else messages.keys
    return iter(
        [
            (plain, (each, time)) if key is None else (keyed, (key, each, time))
            for each, key in zip(messages.ids, keys, strict=False)
        ]
    )


def filled(written: Written) -> list[str]:
    """Return all fields of a message."""
    form, values = written
    fields = list(form.fields)
    for gap, value in zip(form.gaps, values, strict=True):
        fields[gap - 1] = value
    return fields


def _write(message: Message) -> Written:
    if not _is_plain(message):
        return Form(_fields(message), ()), ()
    if message.key is None:
        return _form_of(message), (message.id, rfc3339(message.time))
    return _form_of(message, keyed=True), (message.key, message.id, rfc3339(message.time))


def _is_plain(message: Message) -> bool:
    """Say whether a message has an id and a time of its own, perhaps a key, and else what others have too."""
    own = (
        message.correlation_id, message.causation_id, message.reply_to, message.expires_at, message.deliver_at,
        message.dedupe_key, message.traceparent, message.failure,
    )  # fmt: skip
    return own == _NOTHING and not message.headers and not message.priority


def _form_of(message: Message, *, keyed: bool = False) -> Form:
    key = "" if keyed else None
    return _form(message.topic, message.source, message.type, message.content_type, key)


@lru_cache(maxsize=256)
def _form(topic: str, source: str, type_: str, content_type: str, key: str | None) -> Form:
    fields = _fields(Message("", topic, b"", key, source=source, type=type_, content_type=content_type))
    names = [each for each in ("key", "id", "time") if key is not None or each != "key"]
    return Form(fields, tuple(fields.index(REDIS.names[each]) + 2 for each in names))


def _fields(message: Message) -> tuple[str, ...]:
    headers = to_headers(message, REDIS)
    if len(headers) * 2 + 2 > FIELDS_COUNT_MAX:
        headers = to_headers(msgspec.structs.replace(message, headers={}), REDIS)
        headers[_HEADERS] = msgspec.json.encode(message.headers).decode()
    found: list[Any] = [] if message.key is None else [_KEY, headers.pop(_KEY)]
    for name, value in headers.items():
        if _UNSAID.get(name) != value:
            found += (name, value)
    return tuple(found)
