"""Dead letters: records that a plain client can read, too; deleted by their keys."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..._broker.attributes import KAFKA, text
from ..._core.inspection import DeadInfo
from .lease import Letter
from .place import Place
from .records import TOPIC_HEADER, Fetched, Header, message_of, milliseconds, records_of
from .sender import Entry

_GROUP, _REASON, _DETAIL, _ATTEMPTS, _DIED = "wsgroup", "wsreason", "wsdetail", "wsattempts", "wsdied"
_HEADERS = frozenset((_GROUP, _REASON, _DETAIL, _ATTEMPTS, _DIED))
_KEY = KAFKA.names["key"]


def letter_of(topic: str, group: str, place: Place, letter: Letter, died: float) -> Entry:
    """Return a dead letter as a record. Its key is its origin, so that writing it twice is writing it once."""
    (written,) = records_of([letter.message])
    headers: list[Header] = [*written.items()]
    if letter.message.key is not None:
        headers.append((_KEY, letter.message.key))
    headers += [
        (TOPIC_HEADER, letter.message.topic),
        (_GROUP, group),
        (_REASON, letter.outcome.reason),
        (_DETAIL, letter.outcome.detail),
        (_ATTEMPTS, str(letter.attempts)),
        (_DIED, repr(died)),
    ]
    origin = (group, place.topic, place.spot[1], letter.offset, letter.message.id)
    return Entry(topic, 0, msgspec.json.encode(origin), letter.message.body, headers, milliseconds(died))


def read_letter(record: Fetched) -> DeadInfo | None:
    """Return the dead letter that a record is; None: a stranger's."""
    headers = {name: text(value) for name, value in record.headers() or () if value is not None}
    if not headers.keys() >= _HEADERS:
        return None
    topic = headers.get(TOPIC_HEADER, "")
    message = message_of(_Plain(record), topic)
    try:
        attempts, died = int(headers[_ATTEMPTS]), float(headers[_DIED])
    except ValueError:
        return None
    return DeadInfo(
        number=record.offset() + 1,
        group=headers[_GROUP],
        topic=topic,
        message=message,
        attempts=attempts,
        reason=headers[_REASON],
        detail=headers[_DETAIL],
        died=died,
    )


class _Plain:
    """A record without the headers that make it a dead letter."""

    def __init__(self, record: Fetched) -> None:
        self._record = record
        self.topic, self.partition, self.offset = record.topic, record.partition, record.offset
        self.key, self.value, self.timestamp, self.error = (
            record.key,
            record.value,
            record.timestamp,
            record.error,
        )

    def headers(self) -> list[tuple[str, bytes | None]]:
        """The others."""
        return [each for each in self._record.headers() or () if each[0] not in _HEADERS]


def find_letters(records: Sequence[Fetched], group: str | None, limit: int, after: int) -> list[DeadInfo]:
    """Return at most so many dead letters with a number over `after`, oldest first."""
    found: list[DeadInfo] = []
    for record in records:
        if record.offset() < after or len(found) >= limit:
            continue
        letter = read_letter(record)
        if letter is not None and group in (None, letter.group):
            found.append(letter)
    return found
