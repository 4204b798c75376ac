"""`Mark`: where a group is in a partition, as it is kept by the broker with the committed offset.

An offset alone would say that everything below is settled and nothing above. The mark says more in the 4,096 bytes of
metadata that come with it: which offsets above the floor are settled too, which were handed out, so that a crash
counts as an attempt, and where in the topic of what is put off this partition's records begin.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from .limits import METADATA_BYTES_MAX, WINDOW_OFFSETS_MAX

#: What the metadata of this form begin with. Those of a stranger do not, and mean nothing to us.
_FORM = "ws1:"

Ranges: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A group's place in a partition.

    What is not settled below `suspects` was begun twice or more and not finished, below `claimed` once; it was in the
    hands of members that died. `alone` is an exception: an offset, and how often it was begun.

    Attributes:
        floor: The offset below which everything is settled.
        settled: Ranges of offsets above it that are settled too, each with the offset past its last.
        claimed: See above.
        suspects: See above.
        alone: See above.
        state_from: The offset in the topic of what is put off from which on records of this partition may be; -1: there
            are none.
        owner: Who wrote them.
    """

    floor: int
    settled: Ranges = ()
    claimed: int = 0
    suspects: int = 0
    alone: tuple[int, int] | None = None
    state_from: int = -1
    owner: str = ""


def gaps(offsets: Iterable[int], first: int, past: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges between offsets, which are in order, from `first` up to `past`."""
    for offset in offsets:
        if first < offset:
            yield first, offset
        first = offset + 1
    if first < past:
        yield first, past


def ranges(parts: Iterable[tuple[int, int]]) -> Ranges:
    """Return ranges, which are in order, with those that touch each other as one."""
    found: list[tuple[int, int]] = []
    for first, past in parts:
        if found and found[-1][1] >= first:
            found[-1] = found[-1][0], max(past, found[-1][1])
        else:
            found.append((first, past))
    return tuple(found)


def write(mark: Mark) -> str:
    """Return the metadata for a mark. If they would be too long, the highest settled offsets are left out."""
    settled = [(max(first, mark.floor), past) for first, past in mark.settled if past > mark.floor]
    while True:
        packed = min(b"r" + _runs(settled, mark.floor), b"b" + _bits(settled, mark.floor), key=len)
        text = _text(mark, packed)
        if len(text) <= METADATA_BYTES_MAX:
            return text
        settled = settled[: len(settled) * 3 // 4]


def read(offset: int, metadata: str | None) -> Mark:
    """Return the mark for a committed offset. Metadata of a stranger's, or damaged ones, are as if there were none."""
    if not metadata or not metadata.startswith(_FORM):
        return Mark(floor=offset)
    try:
        values = _DECODER.decode(base64.b85decode(metadata[len(_FORM) :]))
    except (ValueError, msgspec.MsgspecError):
        return Mark(floor=offset)
    claimed, suspects, alone, attempts, state_from, owner, packed = values
    unpack = _of_bits if packed[:1] == b"b" else _of_runs
    return Mark(
        floor=offset,
        settled=ranges(unpack(packed[1:], offset)),
        claimed=offset + claimed if claimed else 0,
        suspects=offset + suspects if suspects else 0,
        alone=(offset + alone, attempts) if attempts else None,
        state_from=state_from,
        owner=owner,
    )


_DECODER = msgspec.msgpack.Decoder(tuple[int, int, int, int, int, str, bytes])


def _text(mark: Mark, packed: bytes) -> str:
    alone, attempts = mark.alone or (mark.floor, 0)
    values = (
        max(0, mark.claimed - mark.floor),
        max(0, mark.suspects - mark.floor),
        max(0, alone - mark.floor),
        attempts if alone >= mark.floor else 0,
        mark.state_from,
        mark.owner,
        packed,
    )
    return _FORM + base64.b85encode(msgspec.msgpack.encode(values)).decode()


def _runs(settled: Ranges | list[tuple[int, int]], floor: int) -> bytes:
    """Write how many are not settled, how many are, and so on."""
    written = bytearray()
    for first, past in settled:
        for number in (first - floor, past - first):
            rest = number
            while rest > 127:
                written.append(rest & 127 | 128)
                rest >>= 7
            written.append(rest)
        floor = past
    return bytes(written)


def _of_runs(packed: bytes, offset: int) -> Iterator[tuple[int, int]]:
    limit = offset + 2 * WINDOW_OFFSETS_MAX  # nobody of ours writes more
    number = shift = 0
    is_settled = False
    for byte in packed:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            if offset + number > limit:
                return
            if is_settled:
                yield offset, offset + number
            offset += number
            number = shift = 0
            is_settled = not is_settled


def _bits(settled: Ranges | list[tuple[int, int]], floor: int) -> bytes:
    """Write a bit for each offset: as a number, of which a range is the difference of two powers of two."""
    if not settled:
        return b""
    bits = 0
    if settled[-1][1] - floor <= 2 * WINDOW_OFFSETS_MAX:
        for first, past in settled:
            bits |= (1 << (past - floor)) - (1 << (first - floor))
        return bits.to_bytes((settled[-1][1] - floor) // 8 + 1, "little")
    return bytes(METADATA_BYTES_MAX)  # too long, and so never chosen


def _of_bits(packed: bytes, offset: int) -> Iterator[tuple[int, int]]:
    for index, byte in enumerate(packed):
        for bit in range(8):
            if byte >> bit & 1:
                place = offset + index * 8 + bit
                yield place, place + 1
