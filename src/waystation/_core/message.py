"""`Message`: a value, the same on every transport.

Its attributes are those of CloudEvents 1.0 where they exist (`id`, `source`, `type`, `time`, `content_type` for
`datacontenttype`) and of the Enterprise Integration Patterns elsewhere (`correlation_id`, `reply_to`, `expires_at`).

It is a frozen msgspec Struct encoded as an array, because that is also how a store keeps it: a batch of messages
becomes bytes, and bytes a batch, in one call. The order of the fields is therefore a file format. New fields go to
the end and have a default; none is ever removed or moved.
"""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING

import msgspec

from .errors import ConfigurationError, MessageTooLarge
from .limits import HEADERS_BYTES_MAX, KEY_BYTES_MAX, MESSAGE_BODY_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JSON = "application/json"
MSGPACK = "application/msgpack"
BYTES = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message.

    Attributes:
        id: Unique among all publishers: a random prefix and a counter.
        topic: The concrete, dotted name of the place it was sent to.
        body: The encoded body; `content_type` says how.
        key: Messages with one key are handled in the order of their publishing. None: no order asked for.
        headers: Text to text, for applications; never read by Waystation.
        content_type: A media type, `application/json` by default.
        type: What the body is, for example the name of its class. A hint for people; never used to import.
        source: The program that sent it.
        time: When it was published, in Unix seconds.
        correlation_id: Shared by all messages of one conversation; None on a message that began it.
        causation_id: The id of the message whose handler published this one.
        reply_to: Where an answer is awaited.
        expires_at: Unix seconds after which its handler must not start.
        deliver_at: Unix seconds before which it must not be delivered.
        priority: Higher first; 0 is normal.
        dedupe_key: A second publish with this key inside the window is not stored.
        traceparent: W3C trace context.
        failure: On a reply only: the responder's exception as text.
    """

    id: str
    topic: str
    body: bytes
    key: str | None = None
    headers: dict[str, str] = {}  # msgspec copies it for each message
    content_type: str = JSON
    type: str = ""
    source: str = ""
    time: float = 0.0
    correlation_id: str | None = None
    causation_id: str | None = None
    reply_to: str | None = None
    expires_at: float | None = None
    deliver_at: float | None = None
    priority: int = 0
    dedupe_key: str | None = None
    traceparent: str | None = None
    failure: str | None = None


def available(message: Message) -> float:
    """Return when a message could first be delivered, in Unix seconds: its age as part of a lag counts from then."""
    return message.time if message.deliver_at is None else max(message.time, message.deliver_at)


def message_ids() -> Callable[[], str]:
    """Return a generator of identifiers for one publisher: 72 random bits, then a counter. For one thread.

    They begin with a letter, so that none is taken for an option on a command line.

    A random prefix per publisher costs one call to the system's entropy instead of one per message; two publishers
    share a prefix with a probability of 2^-72 per pair. The counter's last three digits come from a table, which is
    four times as fast as writing the number.
    """
    return _numbered("m" + secrets.token_urlsafe(9)).__next__


def _numbered(prefix: str) -> Iterator[str]:
    digits = [f"{low:03x}" for low in range(4096)]
    for high in itertools.count():
        head = f"{prefix}-{high:x}"
        for low in digits:
            yield head + low


def check_body(body: bytes, size_bytes_max: int = MESSAGE_BODY_BYTES_MAX) -> None:
    """Raise `MessageTooLarge` if a body is over the limit."""
    if len(body) > size_bytes_max:
        raise MessageTooLarge(
            f"the body has {len(body):,} bytes; at most {size_bytes_max:,} can be sent: store it and send a reference",
            size_bytes=len(body),
            size_bytes_max=size_bytes_max,
        )


def check_key(key: str) -> None:
    """Raise `MessageTooLarge` or `ConfigurationError` if an ordering key cannot be used."""
    if not isinstance(key, str):
        raise ConfigurationError(f"key={key!r} must be a str, not {type(key).__name__}: use key=str(...)")
    size = _utf8_bytes(key, "key")
    if size > KEY_BYTES_MAX:
        raise MessageTooLarge(
            f"the key has {size:,} bytes; at most {KEY_BYTES_MAX:,} are allowed",
            size_bytes=size,
            size_bytes_max=KEY_BYTES_MAX,
        )


def check_headers(headers: dict[str, str]) -> None:
    """Raise if headers are not text, carry control characters in a name, or are too large together.

    A carriage return, line feed or NUL is refused in names and values alike: one day they cross a protocol made of
    lines, and would become somebody else's header.
    """
    total = 0
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigurationError(f"header {name!r}: names and values must be str")
        if not name or any(c in name + value for c in "\r\n\0"):
            raise ConfigurationError(f"header {name!r} is empty or contains a line break or NUL")
        total += _utf8_bytes(name, "header name") + _utf8_bytes(value, f"header {name!r}")
    if total > HEADERS_BYTES_MAX:
        raise MessageTooLarge(
            f"the headers have {total:,} bytes; at most {HEADERS_BYTES_MAX:,} are allowed",
            size_bytes=total,
            size_bytes_max=HEADERS_BYTES_MAX,
        )


def _utf8_bytes(text: str, what: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{what} contains a lone surrogate, which is not text") from error
