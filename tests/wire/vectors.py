"""Write tests/wire/vectors.json: bytes and what they mean, for whoever writes this protocol in another language.

    python -m tests.wire.vectors

Each vector has a `name`, the `bytes` in hexadecimal, and either the `frames` that they are, or the `error` with which
they are refused. A payload is the array that MessagePack has; JSON lacks two things, so a binary is written as
{"bin": hexadecimal} and a map as {"map": [[key, value], …]}. An error's `field` is empty where no field is at fault.
Who reads them has heard nothing before, and takes frames of 1 MiB, and wholes of 66 MiB.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from tests.wire.pair import EXAMPLES, RUN, part, written
from waystation._core.errors import RemoteProtocolError
from waystation._core.limits import FRAME_BYTES_MAX, WHOLE_BYTES_MAX
from waystation._core.packed import pack
from waystation._wire.frames import CODES, Frame, Send
from waystation._wire.framing import Decoder, encode

FILE = Path(__file__).with_name("vectors.json")

#: Payloads of two frames that come cut into parts.
LARGE = msgspec.msgpack.encode(Send(8, 6, pack(RUN)))
PING, NIL = b"\x91\x01", b"\xc0"

GOOD: dict[str, bytes] = {
    "a run of messages as columns": written(16, LARGE),
    "two frames one after the other": written(5, PING) + written(6, PING),
    "missing fields have their defaults": written(5, b"\x90"),
    "unknown fields at the end are passed over": written(5, b"\x93\x01\xa3new\x81\x01\x02"),
    "an unknown type with the flag OPTIONAL is skipped": written(99, NIL, flags=1) + written(5, PING),
    "a known type may have the flag OPTIONAL": written(5, PING, flags=1),
    "parts": part(16, 1, len(LARGE), LARGE[:20]) + part(16, 1, len(LARGE), LARGE[20:]),
    "another frame between parts": part(16, 1, len(LARGE), LARGE[:20])
    + written(5, PING)
    + part(16, 1, len(LARGE), LARGE[20:]),
    "two wholes at the same time": b"".join(
        part(16, number, len(LARGE), LARGE[cut]) for cut in (slice(30), slice(30, None)) for number in (1, 2)
    ),
    "parts of an unknown type with the flag OPTIONAL are skipped": part(99, 1, 2**32 - 1, b"x", flags=3)
    + written(5, PING),
    "not yet complete": written(5, PING)[:-1],
}

BAD: dict[str, bytes] = {
    "a length of 4 GiB": b"\xff\xff\xff\xff" + written(5, PING)[4:],
    "a length that is too large by one": (FRAME_BYTES_MAX + 1).to_bytes(4, "big") + written(5, PING)[4:],
    "an unknown type": written(99, NIL),
    "an unknown flag": written(5, PING, flags=4),
    "a wrong checksum": written(5, PING)[:-1] + b"\x02",
    "a flag that the checksum does not know": written(5, PING)[:5] + b"\x01" + written(5, PING)[6:],
    "no MessagePack": written(5, b"\xc1"),
    "no array": written(5, NIL),
    "bytes behind the array": written(5, PING + NIL),
    "text that is not UTF-8": written(3, b"\x91\xa3\xed\xa0\x80"),
    "a field of another type": written(5, b"\x91\xa1x"),
    "a number below zero": written(5, b"\x91\xff"),
    "a number of 64 bits": written(5, b"\x91\xcf" + b"\xff" * 8),
    "a missing field": written(16, b"\x92\x01\x01"),
    "a batch whose columns have different lengths": written(
        16, msgspec.msgpack.encode([1, 1, [[], ["", "t", b""], ["m-1"], []]])
    ),
    "attempts that do not belong to the messages": written(
        34, msgspec.msgpack.encode([1, 0, [[], ["", "t", b""], ["m-1"], [b"x"]], [1, 1]])
    ),
    "no question at all": written(22, msgspec.msgpack.encode([1, 1, []])),
    "answers that do not belong to the questions": written(23, msgspec.msgpack.encode([[1, 2], [[b"x"]]])),
    "a settlement of an unknown kind": written(
        36, msgspec.msgpack.encode([1, 1, 1, [], [[0, "burn", 0.0, "", ""]]])
    ),
    "a part without bytes": part(16, 1, 10, b""),
    "a total that is too large": part(16, 1, WHOLE_BYTES_MAX + 1, b"x"),
    "parts that are longer than their total": part(16, 1, 2, b"xyz"),
    "parts with different totals": part(16, 1, 3, b"x") + part(16, 1, 4, b"x"),
    "parts of different types": part(16, 1, 3, b"x") + part(34, 1, 3, b"x"),
    "too many wholes at the same time": b"".join(part(16, number, 3, b"x") for number in range(5)),
}


def vectors() -> list[dict[str, Any]]:
    """Return all vectors, with what the code makes of them."""
    examples = {f"{type(frame).__name__}, all fields": _encoded(frame) for frame in EXAMPLES}
    good = [
        {"name": name, "bytes": data.hex(), "frames": heard(data)} for name, data in (examples | GOOD).items()
    ]
    return good + [{"name": name, "bytes": data.hex(), "error": error(data)} for name, data in BAD.items()]


def heard(data: bytes) -> list[dict[str, Any]]:
    """Return the frames that bytes are."""
    codes = {frame: code for code, frame in CODES.items()}
    return [
        {
            "type": codes[type(frame)],
            "frame": type(frame).__name__,
            "payload": _plain(msgspec.msgpack.decode(msgspec.msgpack.encode(frame))),
        }
        for frame in _decoder().feed(data)
    ]


def error(data: bytes) -> dict[str, str]:
    """Return why bytes are refused."""
    try:
        _decoder().feed(data)
    except RemoteProtocolError as found:
        return {"code": found.code, "field": found.field}
    raise AssertionError(f"{data.hex()} is not refused")


def text() -> str:
    """Return the file: a line for each vector."""
    lines = ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in vectors())
    return f"[\n{lines}\n]\n"


def _decoder() -> Decoder:
    return Decoder(frame_bytes_max=FRAME_BYTES_MAX, whole_bytes_max=WHOLE_BYTES_MAX)


def _encoded(frame: Frame) -> bytes:
    data = encode(frame)
    assert isinstance(data, bytes)
    return data


def _plain(value: Any) -> Any:
    """Return a value as JSON can have it."""
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    if isinstance(value, dict):
        return {"map": [[_plain(key), _plain(each)] for key, each in value.items()]}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def main() -> None:
    """Write the file."""
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
