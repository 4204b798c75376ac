"""A message as a client sees it that never heard of Waystation: the body untouched, everything else in headers.

These are CloudEvents' binary bindings: `id`, `source`, `type` and `time` under the prefix that the protocol has for
them, the content type in the protocol's own place. What CloudEvents has no attribute for is an extension attribute, by
the names of its documented extensions where there is one (`partitionkey`, `correlationid`, `causationid`,
`expirytime`, `traceparent`). The user's headers stand beside them under their own names.

A header that cannot stand there, because the name is an attribute's or the broker's own, or because the protocol
cannot carry its text, goes into one attribute (`wsheaders`) as JSON: a plain client sees it, nothing is lost, and
nobody's header becomes a command to the broker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from math import floor, isfinite
from urllib.parse import quote, unquote

import msgspec

from .._core.message import JSON, Message
from .._core.run import MessageRun

#: CloudEvents wants every event to have a source; this stands for none.
_NO_SOURCE = "waystation"

#: Message's fields that are text or None, with their attributes.
_TEXTS = {
    "key": "partitionkey",
    "correlation_id": "correlationid",
    "causation_id": "causationid",
    "reply_to": "replyto",
    "dedupe_key": "dedupekey",
    "traceparent": "traceparent",
    "failure": "failure",
}

#: The other fields, with theirs. `exact_source` and `exact_type` are written where the plain attribute would be
#: mistaken for what stands for nothing.
_OTHERS = {
    "specversion": "specversion",
    "id": "id",
    "source": "source",
    "type": "type",
    "time": "time",
    "expires_at": "expirytime",
    "deliver_at": "delivertime",
    "priority": "priority",
    "exact_source": "wssource",
    "exact_type": "wstype",
    "headers": "wsheaders",
}

#: Characters of a header's name that every protocol made of lines can carry (RFC 9110, token).
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

#: A header's value that such a protocol carries as it is: printable ASCII, no space at either end.
_LINE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")

#: What CloudEvents' HTTP binding writes as it is in an attribute; everything else is percent-encoded.
_SAFE = re.compile(r"[!#$&-~]*")
_SAFE_CHARS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEADERS = msgspec.json.Decoder(dict[str, str])


class Binding:
    """How one protocol carries attributes and headers.

    Attributes:
        names: The header in which each field of a message is written: `ce_partitionkey` for `key`.
        texts: Those of fields that are text or None.

    Args:
        prefix: Before each attribute's name: `ce_`.
        also: Prefixes that others use, which are read as well.
        content_type: The header that says how the body is written; None: the protocol has a place for that.
        lines: Whether the protocol is made of lines: attributes are then percent-encoded as in CloudEvents' HTTP
            binding, and a header that is not printable ASCII cannot stand there.
        reserved: Beginnings, in lower case, of headers that mean something to the broker. The user's are kept out of
            there, and the broker's are not taken for the user's.
        name_bytes_max: The longest name of a header that the protocol can carry, in bytes of UTF-8.
    """

    __slots__ = ("_fields", "content_type", "lines", "name_bytes_max", "names", "reserved", "texts")

    def __init__(
        self,
        *,
        prefix: str,
        also: Sequence[str] = (),
        content_type: str | None,
        lines: bool = False,
        reserved: tuple[str, ...] = (),
        name_bytes_max: int = 255,
    ) -> None:
        self.content_type = content_type
        self.lines = lines
        self.reserved = reserved
        self.name_bytes_max = name_bytes_max
        attributes = _TEXTS | _OTHERS
        self.names = {field: prefix + attribute for field, attribute in attributes.items()}
        self.texts = tuple((field, self.names[field]) for field in _TEXTS)
        self._fields = {
            (each + attribute).lower(): field
            for each in (prefix, *also)
            for field, attribute in attributes.items()
        }
        if content_type is not None:
            self._fields[content_type.lower()] = "content_type"
        # As written, too: found without making it lower case first.
        self._fields |= {name: field for field, name in self.names.items()}

    def field(self, header: str) -> str | None:
        """Return the field of a message that a header is about, whatever its case; None: there is none."""
        return self._fields.get(header) or self._fields.get(header.lower())

    def is_reserved(self, header: str) -> bool:
        """Say whether a header is the broker's."""
        return header.lower().startswith(self.reserved)


#: Kafka: names and values are bytes of any kind.
KAFKA = Binding(prefix="ce_", content_type="content-type", name_bytes_max=32_767)

#: AMQP 0-9-1: the content type is a property; `CC` and `BCC` would send the message elsewhere, `x-` is RabbitMQ's.
#: The newer prefix, which JMS can read too, is written; both are read.
AMQP = Binding(prefix="cloudEvents_", also=("cloudEvents:",), content_type=None, reserved=("cc", "bcc", "x-"))

#: NATS: lines, as in HTTP; the server obeys headers that begin with its name.
NATS = Binding(prefix="ce-", content_type="content-type", lines=True, reserved=("nats-",))

#: Redis Streams: fields of an entry, of any kind; the body is one of them.
REDIS = Binding(prefix="ce_", content_type="content-type", reserved=("data",), name_bytes_max=64 * 1024)


def to_headers(message: Message, binding: Binding) -> dict[str, str]:
    """Return everything of a message but its topic and its body as headers.

    If `binding.content_type` is None, the content type is not among them either.
    """
    name = binding.names
    headers = {
        name["specversion"]: "1.0",
        name["id"]: message.id,
        name["source"]: message.source or _NO_SOURCE,
        name["type"]: message.type or message.topic,
        name["time"]: rfc3339(message.time),
    }
    for field, attribute in binding.texts:
        value = getattr(message, field)
        if value is not None:
            headers[attribute] = value
    if message.expires_at is not None:
        headers[name["expires_at"]] = rfc3339(message.expires_at)
    if message.deliver_at is not None:
        headers[name["deliver_at"]] = rfc3339(message.deliver_at)
    if message.priority:
        headers[name["priority"]] = str(message.priority)
    if message.source == _NO_SOURCE:
        headers[name["exact_source"]] = message.source
    if message.type == message.topic:
        headers[name["exact_type"]] = message.type
    if binding.content_type is not None:
        headers[binding.content_type] = message.content_type
    if binding.lines and not _SAFE.fullmatch("".join(headers.values())):
        headers = {each: _percent_encoded(value) for each, value in headers.items()}
    if message.headers:
        _add(message.headers, headers, binding)
    return headers


def headers_of(messages: Sequence[Message], binding: Binding) -> list[dict[str, str]]:
    """Return `to_headers` of each message of a batch; what those of a run share is written once."""
    if not isinstance(messages, MessageRun):
        return [to_headers(message, binding) for message in messages]
    shared = to_headers(messages.shared, binding)
    id_name, key_name = binding.names["id"], binding.names["key"]
    shared.pop(key_name, None)
    written = _percent_encoded if binding.lines else str
    found = [{**shared, id_name: written(each)} for each in messages.ids]
    for headers, key in zip(found, messages.keys or (), strict=False):
        if key is not None:
            headers[key_name] = written(key)
    return found


def from_headers(
    headers: Mapping[str, str],
    body: bytes,
    binding: Binding,
    *,
    topic: str,
    message_id: str,
    time: float = 0.0,
    key: str | None = None,
    content_type: str = "",
) -> Message:
    """Return the message that a client published, whether it knew of Waystation or not.

    What cannot be read is as if it were not there: a stranger's message is a legal one, whatever its headers say.

    Args:
        topic: Where it was found.
        message_id: Its id if it says none. Made from the broker's own position, so that it is the same each time.
        time: When it was published if it does not say, in Unix seconds.
        key: Its key if it says none.
        content_type: How its body is written if no header says so; nothing: JSON.
    """
    attributes: dict[str, str] = {}
    own: dict[str, str] = {}
    for name, value in headers.items():
        field = binding.field(name)
        if field is not None:
            attributes[field] = unquote(value) if binding.lines and "%" in value else value
        elif not binding.is_reserved(name):
            own[name] = _without_breaks(value)
    if "headers" in attributes:
        own |= _unpacked(attributes["headers"])
    get = attributes.get
    published = seconds(get("time"))
    return Message(
        get("id") or message_id,
        topic,
        body,
        get("key", key),
        own,
        get("content_type") or content_type or JSON,
        get("exact_type") or _unless(get("type", ""), topic),
        get("exact_source") or _unless(get("source", ""), _NO_SOURCE),
        time if published is None else published,
        get("correlation_id"),
        get("causation_id"),
        get("reply_to"),
        seconds(get("expires_at")),
        seconds(get("deliver_at")),
        _whole(get("priority", "0")),
        get("dedupe_key"),
        get("traceparent"),
        get("failure"),
    )


def text(value: object) -> str:
    """Return what a driver found in a header as text: bytes as UTF-8, everything else as Python writes it."""
    if isinstance(value, str):
        return value
    return value.decode(errors="replace") if isinstance(value, (bytes, bytearray)) else str(value)


def rfc3339(unix_s: float) -> str:
    """Write a time so that reading gives the same number again.

    Seven digits tell apart all floats since 1987. What the calendar does not have is written as a number.
    """
    if not 0 <= unix_s < 253_402_300_799:  # the last second of the year 9999
        return repr(unix_s)
    whole = floor(unix_s)
    part = unix_s - whole
    if not part:
        return f"{_second(whole)}Z"
    ticks = round(part * 1e7)
    if ticks < 10_000_000 and whole + ticks / 1e7 == unix_s:
        return f"{_second(whole)}.{ticks:07d}Z"
    return repr(unix_s)


def seconds(written: str | None) -> float | None:
    """Read a time, in Unix seconds; None if it is none."""
    if not written:
        return None
    whole, _, part = written.partition(".")
    try:
        if part[-1:] == "Z" and part[:-1].isdecimal() and "T" in whole:
            return _unix(whole) + int(part[:-1]) / 10.0 ** (len(part) - 1)
        if written[-1] == "Z" and not part:
            return float(_unix(whole[:-1]))
        if "T" in written or "t" in written:
            return (datetime.fromisoformat(written) - _EPOCH).total_seconds()
        number = float(written)
        return number if isfinite(number) else None
    except (ValueError, TypeError, OverflowError):  # TypeError: a time without a zone
        return None


@lru_cache(maxsize=64)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=64)
def _unix(second: str) -> int:
    return round((datetime.fromisoformat(second + "+00:00") - _EPOCH).total_seconds())


def _add(own: Mapping[str, str], headers: dict[str, str], binding: Binding) -> None:
    """Put the user's headers beside the attributes, or where they can be."""
    packed = {}
    for name, value in own.items():
        if _can_stand(name, value, binding):
            headers[name] = value
        else:
            packed[name] = value
    if packed:
        written = msgspec.json.encode(packed).decode()
        headers[binding.names["headers"]] = _percent_encoded(written) if binding.lines else written


def _can_stand(name: str, value: str, binding: Binding) -> bool:
    if binding.field(name) or binding.is_reserved(name):
        return False
    if binding.lines:
        return bool(_TOKEN.fullmatch(name) and _LINE.fullmatch(value)) and len(name) <= binding.name_bytes_max
    return len(name.encode()) <= binding.name_bytes_max


def _unpacked(written: str) -> dict[str, str]:
    try:
        return _HEADERS.decode(written)
    except (msgspec.MsgspecError, UnicodeError):
        return {}


def _percent_encoded(value: str) -> str:
    return value if _SAFE.fullmatch(value) else quote(value, safe=_SAFE_CHARS)


def _without_breaks(value: str) -> str:
    """Return a header's value as it may be sent on: line breaks and NUL, which no publisher may use, as spaces."""
    return value.translate(_BREAKS) if not value.isprintable() else value


_BREAKS = str.maketrans("\r\n\0", "   ")


def _unless(value: str, nothing: str) -> str:
    return "" if value == nothing else value


def _whole(written: str) -> int:
    try:
        return int(written)
    except ValueError:
        return 0
