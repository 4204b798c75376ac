"""AMQP's field tables and properties as bytes: the part of a message that is written and read for each.

The driver (`pamqp`) does the rare frames. These are here because they are the cost of a message, and because what is
written is only ever text.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

_U16, _U32, _U64 = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">Q")
_TEXT = struct.Struct(">sI")

#: How many bytes a value has, and how it is read, by its letter.
_FIXED: Final[dict[int, tuple[int, struct.Struct]]] = {
    ord(letter): (size, struct.Struct(form))
    for letter, size, form in (
        ("t", 1, ">?"), ("b", 1, ">b"), ("B", 1, ">B"), ("s", 2, ">h"), ("u", 2, ">H"), ("I", 4, ">i"),
        ("i", 4, ">I"), ("l", 8, ">q"), ("L", 8, ">q"), ("f", 4, ">f"), ("d", 8, ">d"), ("T", 8, ">Q"),
    )
}  # fmt: skip

_LONG_TEXT, _BYTES, _TABLE, _LIST, _NOTHING, _DECIMAL = b"SxFAVD"

#: Properties by their bit, the highest first: name, and whether it is text, a table, a byte or a time.
_PROPERTIES: Final = (
    (0x8000, "content_type", "text"), (0x4000, "content_encoding", "text"), (0x2000, "headers", "table"),
    (0x1000, "delivery_mode", "byte"), (0x0800, "priority", "byte"), (0x0400, "correlation_id", "text"),
    (0x0200, "reply_to", "text"), (0x0100, "expiration", "text"), (0x0080, "message_id", "text"),
    (0x0040, "timestamp", "time"), (0x0020, "type", "text"), (0x0010, "user_id", "text"), (0x0008, "app_id", "text"),
    (0x0004, "cluster_id", "text"),
)  # fmt: skip

#: What a message of ours has: content type, headers, delivery mode, message id.
_FLAGS: Final = _U16.pack(0x8000 | 0x2000 | 0x1000 | 0x0080)


def short(text: str) -> bytes:
    """Return text of at most 255 bytes as AMQP's short string; longer text is cut."""
    raw = text.encode()
    if len(raw) > 255:
        raw = raw[:255].decode(errors="ignore").encode()
    return bytes((len(raw),)) + raw


def write_properties(
    headers: Mapping[str, str], *, content_type: str, message_id: str, persistent: bool
) -> bytes:
    """Return the properties of a message: its content type, headers, whether it is to be kept, and its id."""
    parts = []
    for name, value in headers.items():
        raw_name, raw = name.encode(), value.encode()
        parts.append(bytes((len(raw_name),)))
        parts.append(raw_name)
        parts.append(_TEXT.pack(b"S", len(raw)))
        parts.append(raw)
    table = b"".join(parts)
    return b"".join((
        _FLAGS, short(content_type), _U32.pack(len(table)), table, b"\2" if persistent else b"\1", short(message_id),
    ))  # fmt: skip


def read_properties(data: bytes) -> dict[str, Any]:
    """Return the properties of a message, whoever wrote them; its headers by their names, of any type.

    Raises:
        ValueError: They end too early, or hold what AMQP does not have.
    """
    found: dict[str, Any] = {}
    try:
        flags = _U16.unpack_from(data)[0]
        at = 2
        for bit, name, kind in _PROPERTIES:
            if not flags & bit:
                continue
            if kind == "text":
                end = at + 1 + data[at]
                found[name] = data[at + 1 : end].decode(errors="replace")
                at = end
            elif kind == "table":
                end = at + 4 + _U32.unpack_from(data, at)[0]
                found[name] = _read_table(data, at + 4, end)
                at = end
            elif kind == "byte":
                found[name] = data[at]
                at += 1
            else:
                found[name] = _U64.unpack_from(data, at)[0]
                at += 8
    except (struct.error, IndexError) as error:
        raise ValueError("the properties of a message end too early") from error
    return found


def _read_table(data: bytes, at: int, end: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    while at < end:
        name_end = at + 1 + data[at]
        name = data[at + 1 : name_end].decode(errors="replace")
        if data[name_end] == _LONG_TEXT:
            start = name_end + 5
            at = start + _U32.unpack_from(data, name_end + 1)[0]
            table[name] = data[start:at].decode(errors="replace")
        else:
            table[name], at = _read_value(data, name_end)
    return table


def _read_value(data: bytes, at: int) -> tuple[Any, int]:
    """Return the value whose letter stands at a place, and where it ends."""
    letter = data[at]
    at += 1
    if letter in _FIXED:
        size, form = _FIXED[letter]
        return form.unpack_from(data, at)[0], at + size
    if letter in (_LONG_TEXT, _BYTES, _TABLE, _LIST):
        start = at + 4
        end = start + _U32.unpack_from(data, at)[0]
        if letter == _TABLE:
            return _read_table(data, start, end), end
        if letter == _LIST:
            values = []
            while start < end:
                value, start = _read_value(data, start)
                values.append(value)
            return values, end
        raw = data[start:end]
        return (raw.decode(errors="replace") if letter == _LONG_TEXT else raw), end
    if letter == _NOTHING:
        return None, at
    if letter == _DECIMAL:
        return _U32.unpack_from(data, at + 1)[0] / 10 ** data[at], at + 5
    raise ValueError(f"a header of a type that AMQP does not have: {letter:#x}")
