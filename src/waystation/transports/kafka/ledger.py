"""Messages that come again: the records that keep them while they wait, and outlive whoever had them.

Each partition of each group has its records in one partition of one compacted topic, from the offset on that its
mark names. There is one writer at a time, the member that owns the partition. A member that was thought dead, and
writes a last time, is not believed: whoever comes to own a partition first writes an *entry mark* with a name that it
has made up, reads up to there, and writes again what is left under its own name. What another name has after it is
nobody's.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from ..._core.message import Message
from ..._core.ports import Clock
from .lease import Held, Letter
from .names import Spot
from .place import Place
from .records import Fetched
from .sender import Entry

#: In place of an offset, in the key of an entry mark.
_ENTRY: Final = -1

#: The settings of the topic, for the broker.
CONFIG: Final = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.2", "segment.ms": "3600000"}


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """What a record says. `due` is in Unix seconds."""

    attempts: int
    due: float
    stays: bool
    message: Message


_KEY = msgspec.json.Decoder(tuple[str, str, int, int, str])
_VALUE = msgspec.msgpack.Decoder(_Stored)


def lane(group: str, spot: Spot, partitions: int) -> int:
    """Return in which partition of the topic the records of a group's partition are."""
    return zlib.crc32(f"{group}\n{spot[0]}\n{spot[1]}".encode()) % partitions


class Ledger:
    """Reads and writes the records of one group.

    Args:
        group: As the broker calls it.
        topic: That of the records.
    """

    def __init__(self, group: str, topic: str, partitions: int, *, clock: Clock) -> None:
        self._group = group
        self._topic = topic
        self._partitions = partitions
        self._clock = clock

    def spot(self, spot: Spot) -> Spot:
        """Return where the records of a partition are."""
        return self._topic, lane(self._group, spot, self._partitions)

    def entry(self, spot: Spot, owner: str) -> Entry:
        """Return the entry mark of an owner."""
        return self._entry(spot, _ENTRY, owner, b"")

    def store(self, spot: Spot, owner: str, held: Held) -> Entry:
        """Return the record of a message that comes again."""
        due = self._clock.time() + held.due - self._clock.monotonic()
        stored = _Stored(held.attempts, due, held.stays, held.message)
        return self._entry(spot, held.offset, owner, msgspec.msgpack.encode(stored))

    def erase(self, spot: Spot, owner: str, offset: int) -> Entry:
        """Return what takes the place of such a record when nobody needs it any more."""
        return self._entry(spot, offset, owner, None)

    def farewell(self, spot: Spot, owner: str) -> Entry:
        """Return what takes the place of an entry mark."""
        return self._entry(spot, _ENTRY, owner, None)

    def read(self, spot: Spot, owner: str, records: Iterable[Fetched]) -> list[Held]:
        """Return what a partition's owner has left, by offset. Records of others, and damaged ones, are nobody's."""
        found: dict[int, Held] = {}
        wanted = (self._group, *spot)
        skew = self._clock.monotonic() - self._clock.time()
        for record in records:
            key = _key(record)
            if key is None or key[:3] != wanted or key[4] != owner or key[3] == _ENTRY:
                continue
            stored = _value(record)
            if stored is None:
                found.pop(key[3], None)
            else:
                found[key[3]] = Held(
                    key[3], stored.message, stored.attempts, stored.due + skew, stored.stays, stored=True
                )
        return [held for _, held in sorted(found.items())]

    def _entry(self, spot: Spot, offset: int, owner: str, value: bytes | None) -> Entry:
        key = msgspec.json.encode((self._group, *spot, offset, owner))
        return Entry(self._topic, lane(self._group, spot, self._partitions), key, value)


def _key(record: Fetched) -> tuple[str, str, int, int, str] | None:
    try:
        return _KEY.decode(record.key() or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _value(record: Fetched) -> _Stored | None:
    try:
        return _VALUE.decode(record.value() or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a place wants written: messages that come again, records that nobody needs any more, dead letters."""

    stores: list[Held]
    erases: list[Held]
    letters: list[Letter]


def take_wishes(place: Place) -> Wishes:
    """Take what a place wants written, to write it."""
    wishes = Wishes(list(place.to_store), list(place.to_erase), place.to_bury)
    place.to_store, place.to_erase, place.to_bury = {}, {}, []
    for held in wishes.stores:
        held.writing = True
    return wishes


def give_back(place: Place, wishes: Wishes) -> None:
    """It was not written, or that is unknown: it is still wanted. Writing it twice is writing it once."""
    for held in wishes.stores:
        held.writing = False
    place.to_store = dict.fromkeys(held for held in wishes.stores if not held.gone) | place.to_store
    place.to_erase = dict.fromkeys(wishes.erases) | place.to_erase
    place.to_bury = [*wishes.letters, *place.to_bury]
