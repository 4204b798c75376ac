"""How many values a payload has, found out without making one of them.

A map of empty words is 66 MiB on the wire and gigabytes in memory, and seconds go by until it is read. So a payload
that came in parts is walked first. An honest one has few values, of which the walk sees no more than where each ends.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Of the types with a fixed length: how many bytes follow the first.
_FIXED: Mapping[int, int] = {
    0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8,
    0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip

#: Of the others: how many bytes say how much follows, how many come besides, how many values each is (0: it is bytes).
_SIZED: Mapping[int, tuple[int, int, int]] = {
    0xC4: (1, 0, 0), 0xC5: (2, 0, 0), 0xC6: (4, 0, 0), 0xC7: (1, 1, 0), 0xC8: (2, 1, 0), 0xC9: (4, 1, 0),
    0xD9: (1, 0, 0), 0xDA: (2, 0, 0), 0xDB: (4, 0, 0),
    0xDC: (2, 0, 1), 0xDD: (4, 0, 1), 0xDE: (2, 0, 2), 0xDF: (4, 0, 2),
}  # fmt: skip


def has_at_most(values_max: int, payload: bytes | bytearray) -> bool:
    """Say whether a payload has no more values than this, those announced but missing included.

    What is no MessagePack is not found out here: as far as it is any, it counts.
    """
    place, end = 0, len(payload)
    seen, to_come = 0, 1
    while to_come and place < end:
        first = payload[place]
        place += 1
        seen += 1
        to_come -= 1
        if first < 0x80 or first >= 0xE0:
            continue
        if first >= 0xC0:
            if first in _SIZED:
                size_bytes, more, each = _SIZED[first]
                size = int.from_bytes(payload[place : place + size_bytes], "big")
                place += size_bytes + more
                if each:
                    to_come += size * each
                else:
                    place += size
            else:
                place += _FIXED.get(first, 0)
        elif first >= 0xA0:
            place += first & 0x1F
        else:
            to_come += (first & 0x0F) * (1 if first >= 0x90 else 2)
        if seen + to_come > values_max:
            return False
    return True
