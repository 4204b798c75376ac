"""Messages as Kafka records, and back: CloudEvents' binary binding, the key in the record's own place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol, overload

from ..._broker.attributes import KAFKA, from_headers, rfc3339, seconds, text, to_headers
from ..._core.message import JSON, Message
from ..._core.run import MessageRun
from .names import Spot

Header = tuple[str, "str | bytes | None"]

#: Where a message on its way through a topic of ours belongs.
TOPIC_HEADER: Final = "wstopic"

_EXPIRES = KAFKA.names["expires_at"]
_ID, _KEY, _TIME = KAFKA.names["id"], KAFKA.names["key"], KAFKA.names["time"]

_CONTENT_TYPE = "content-type"
_JSON = JSON.encode()


class Fetched(Protocol):
    """What the driver gives for a record."""

    def topic(self) -> str:
        """The broker's name of its topic."""

    def partition(self) -> int:
        """Its partition."""

    def offset(self) -> int:
        """Its place there."""

    def key(self) -> bytes | None:
        """Its key."""

    def value(self) -> bytes | None:
        """Its body."""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """Its headers."""

    def timestamp(self) -> tuple[int, int]:
        """The kind of its time, 0 for none, and milliseconds."""

    def error(self) -> Any:
        """What came in place of a record; None: it is one."""


class Record(MessageRun):
    """A record as it was fetched: what a handler needs is read, the rest when somebody asks for the message.

    To a `Delivery` it is a run with one message, whatever the index. It is made when the record is handed out: headers
    are most of the work and of the memory. What the driver gave is not kept, with ten things for the garbage collector.

    Attributes:
        offset: Its place in the partition.
        shared: A message of which only the topic means something: the one that this was sent to.
        key: What it keeps its order by.
        content_type: How the body is written.
        expires_at: Unix seconds after which a handler must not start.
    """

    __slots__ = (
        "_headers", "_message", "_milliseconds", "_spot", "body", "content_type", "expires_at", "key", "offset",
    )  # fmt: skip

    def __init__(self, raw: Fetched, shared: Message, spot: Spot) -> None:
        self._message: Message | None = None
        self._spot = spot
        self.shared = shared
        self.offset = raw.offset()
        self.body = raw.value() or b""
        key = raw.key()
        self.key = None if key is None else text(key)
        self._headers = headers = dict(raw.headers() or ())
        self._milliseconds = 0 if _TIME in headers else _milliseconds(raw)
        content_type = headers.get(_CONTENT_TYPE)
        self.content_type = JSON if content_type is None or content_type == _JSON else text(content_type)
        self.expires_at = seconds(text(headers[_EXPIRES])) if headers.get(_EXPIRES) is not None else None
        if headers.get(TOPIC_HEADER) is not None:
            self.shared = Message("", text(headers[TOPIC_HEADER]), b"")

    def __len__(self) -> int:
        return 1

    @overload
    def __getitem__(self, index: int) -> Message: ...

    @overload
    def __getitem__(self, index: slice) -> MessageRun: ...

    def __getitem__(self, index: int | slice) -> Message | MessageRun:
        if isinstance(index, slice):
            return MessageRun(self.message, [self.message.id], [self.body], [self.key])[index]
        return self.message

    def key_at(self, index: int) -> str | None:
        """Return the key."""
        return self.key

    @property
    def message(self) -> Message:
        """The message, built once."""
        if self._message is None:
            self._message = _message(
                self._headers,
                self.body,
                self._spot,
                self.offset,
                self._milliseconds,
                self.shared.topic,
                self.key,
            )
        return self._message


def message_of(raw: Fetched, topic: str, *, key: str | None = None) -> Message:
    """Return the message that a record is, whoever wrote it; a stranger's has an id made of its place."""
    spot, headers = (raw.topic(), raw.partition()), dict(raw.headers() or ())
    return _message(headers, raw.value() or b"", spot, raw.offset(), _milliseconds(raw), topic, key)


def _milliseconds(raw: Fetched) -> int:
    """Return when the broker says that a record was written; 0: it does not say."""
    kind, milliseconds = raw.timestamp()
    return milliseconds if kind else 0


def _message(
    found: Mapping[str, bytes | None],
    body: bytes,
    spot: Spot,
    offset: int,
    milliseconds: int,
    topic: str,
    key: str | None,
) -> Message:
    headers = {name: text(value) for name, value in found.items() if value is not None}
    headers.pop(TOPIC_HEADER, None)
    return from_headers(
        headers,
        body,
        KAFKA,
        topic=topic,
        message_id=f"{spot[0]}.{spot[1]}.{offset}",
        time=milliseconds / 1000,
        key=key,
    )


def records_of(messages: Sequence[Message]) -> Iterator[dict[str, str]]:
    """Yield the headers of each message of a batch. The key is not among them: it has a place of its own."""
    if isinstance(messages, MessageRun):
        shared = to_headers(messages.shared, KAFKA)
        del shared[_ID]
        shared.pop(_KEY, None)
        return ({_ID: each, **shared} for each in messages.ids)
    written = _Written()
    times = [
        written.time(each.time) for each in messages
    ]  # first, so that little is left to do between two records
    common = written.common
    return (
        {_ID: each.id, _TIME: time, **common(each)} if _is_plain(each) else _all_headers(each)
        for each, time in zip(messages, times, strict=True)
    )


def _is_plain(message: Message) -> bool:
    """Say whether a message has nothing that most do not have."""
    return (
        message.correlation_id is message.causation_id is message.reply_to is message.dedupe_key
        is message.traceparent is message.failure is None
        and message.expires_at is message.deliver_at is None
        and not (message.priority or message.headers)
    )  # fmt: skip


def _all_headers(message: Message) -> dict[str, str]:
    headers = to_headers(message, KAFKA)
    headers.pop(_KEY, None)
    return headers


class _Written:
    """What was written last: most messages of a batch have all but a fraction of a second in common."""

    __slots__ = ("_common", "_of", "_second", "_whole")

    def __init__(self) -> None:
        self._whole, self._second = -1, ""
        self._of: tuple[str, str, str, str] | None = None
        self._common: dict[str, str] = {}

    def time(self, unix_s: float) -> str:
        """As `rfc3339`."""
        whole = int(unix_s)
        if whole != self._whole:
            second = rfc3339(float(whole))
            if not second.endswith("Z"):  # beyond the calendar
                return rfc3339(unix_s)
            self._whole, self._second = whole, second[:-1] + "."
        ticks = int((unix_s - whole) * 1e7 + 0.5)
        if 0 < ticks < 10_000_000 and whole + ticks / 1e7 == unix_s:
            return self._second + str(10_000_000 + ticks)[1:] + "Z"
        return rfc3339(unix_s)

    def common(self, message: Message) -> dict[str, str]:
        """Return the headers of a plain message that others are likely to have too."""
        of = (message.topic, message.type, message.source, message.content_type)
        if of != self._of:
            self._of, self._common = of, _common(*of)
        return self._common


@lru_cache(maxsize=1024)
def _common(topic: str, kind: str, source: str, content_type: str) -> dict[str, str]:
    blank = Message("", topic, b"", type=kind, source=source, content_type=content_type)
    return {name: value for name, value in to_headers(blank, KAFKA).items() if name not in (_ID, _TIME)}


def milliseconds(unix_s: float) -> int:
    """Return a time as the broker keeps it; what it does not take is its own."""
    return int(unix_s * 1000 + 0.5) if unix_s > 0 else 0
