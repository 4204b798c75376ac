"""What a server insists on in messages of a stranger: what a publisher of ours insists on before it sends them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from .._core.errors import ConfigurationError
from .._core.limits import KEY_BYTES_MAX, PRIORITY_MAX
from .._core.message import Message, check_body, check_headers, check_key
from .._core.run import MessageRun
from .._core.topic import check_name, is_reply_address

#: Longest id or address, in characters.
_TEXT_CHARS_MAX = 1024

#: Types, sources and addresses together, and causes, links and traces together, in characters.
_ATTRIBUTES_CHARS_MAX = 4 * 1024

_PRIORITIES = range(PRIORITY_MAX + 1)

#: What is later, in Unix seconds, is no time: 30,000 years.
_TIME_MAX = 1e12


def check_messages(messages: Sequence[Message], *, body_bytes_max: int) -> None:
    """Refuse messages that no publisher of ours would send.

    Raises:
        ConfigurationError: A name, header, priority, time or address is not legal.
        MessageTooLarge: A body, key or header block is over its limit.
    """
    if isinstance(messages, MessageRun):
        _check_shared(messages.shared)
        _check_keys(messages.keys or ())
        _check_ids(messages.ids)
        for body in messages.bodies:
            if len(body) > body_bytes_max:
                check_body(body, body_bytes_max)
        return
    for message in messages:
        _check_message(message, body_bytes_max)


def check_question(question: Message, *, body_bytes_max: int) -> None:
    """Refuse a question that no bus of ours would ask.

    Raises:
        ConfigurationError: As `check_messages`; or nobody waits for its answer.
        MessageTooLarge: As `check_messages`.
    """
    _check_message(question, body_bytes_max)
    if question.reply_to is None:
        raise ConfigurationError("a question has no reply address")


def _check_message(message: Message, body_bytes_max: int) -> None:
    if message.key is not None:
        _check_keys((message.key,))
    if not 0 < len(message.id) <= _TEXT_CHARS_MAX:
        _check_ids((message.id,))
    _check_shared(message)
    if len(message.body) > body_bytes_max:
        check_body(message.body, body_bytes_max)


def _check_shared(message: Message) -> None:
    _check_place(message.topic, message.content_type, message.type, message.source, message.reply_to)
    if message.headers:
        check_headers(message.headers)
    if message.priority not in _PRIORITIES:
        raise ConfigurationError(f"priority={message.priority} must be from 0 to {PRIORITY_MAX}")
    links = (message.correlation_id, message.causation_id, message.dedupe_key, message.traceparent)
    for each in links:
        if each is not None and (len(each) > _TEXT_CHARS_MAX or "\0" in each):
            _check_text("".join([each for each in links if each]))
    expires_at, deliver_at = message.expires_at or 0.0, message.deliver_at or 0.0
    if not (0 <= message.time < _TIME_MAX and 0 <= expires_at < _TIME_MAX and 0 <= deliver_at < _TIME_MAX):
        raise ConfigurationError("a time of a message is not a point in time")


@lru_cache(maxsize=256)  # what was legal once is; of no more than a client's own places, since names are long
def _check_place(topic: str, content_type: str, kind: str, source: str, reply_to: str | None) -> None:
    if not is_reply_address(topic):
        check_name(topic)
    elif len(topic) > _TEXT_CHARS_MAX:
        raise ConfigurationError("a reply address is too long")
    if reply_to is not None and not is_reply_address(reply_to):
        raise ConfigurationError("reply_to is no reply address: replies go to nothing else")
    _check_text("".join((content_type, kind, source, reply_to or "")))


def _check_text(text: str) -> None:
    if len(text) > _ATTRIBUTES_CHARS_MAX or "\0" in text:
        raise ConfigurationError("the attributes of a message are too long, or contain NUL")


def _check_keys(keys: Iterable[str | None]) -> None:
    for key in keys:
        if key is not None and len(key) * 4 > KEY_BYTES_MAX:
            check_key(key)


def _check_ids(ids: Sequence[str]) -> None:
    lengths = set(map(len, ids))
    if lengths and not (min(lengths) > 0 and max(lengths) <= _TEXT_CHARS_MAX):
        raise ConfigurationError("a message has no id, or one that is too long")
