"""What a peer sends, whatever it is: frames or a protocol error, and no more memory than the limits allow.

A fuzzer would spend its life on checksums. So every second input is taken as a list of frames without them: type,
flags, two bytes of length, and the payload; header and checksum are put around each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.wire.pair import WELCOME, written
from tests.wire.vectors import FILE
from waystation._core.errors import RemoteProtocolError
from waystation._core.limits import FRAME_BYTES_MAX, WHOLE_BYTES_MAX, WHOLES_COUNT_MAX
from waystation._wire.connection import Connection
from waystation._wire.failures import error_of
from waystation._wire.frames import Ended, Failed, Frame, Hello
from waystation._wire.framing import encode
from waystation._wire.states import Role, State

#: Of a first byte: who hears, whether the peers know each other, whether headers are put in, how long the pieces are.
_SERVER, _GREETED, _FRAMED, _PIECES = 1, 2, 4, 8


def attempt(data: bytes) -> None:
    """Let one peer hear this.

    Raises:
        Exception: Anything but `RemoteProtocolError` is a fault that was found.
    """
    how, said = data[0] if data else 0, data[1:]
    role = Role.SERVER if how & _SERVER else Role.CLIENT
    connection = Connection(role)
    if how & _GREETED:
        _greet(connection, role)
    stream = b"".join(_framed(said)) if how & _FRAMED else said
    size = how // _PIECES or len(stream) or 1
    try:
        for place in range(0, len(stream), size):
            _look(connection.received(stream[place : place + size]))
            _weigh(connection)
    except RemoteProtocolError:
        if connection.state is not State.FAILED or connection.received(stream):
            raise AssertionError("after a fault nothing is heard any more") from None


def seeds() -> Iterator[bytes]:
    """What to begin with: the test vectors, as they are and without their headers."""
    for vector in json.loads(FILE.read_text(encoding="utf-8")):
        stream = bytes.fromhex(vector["bytes"])
        for how in range(_PIECES):
            yield bytes([how]) + (b"".join(_bare(stream)) if how & _FRAMED else stream)


def _greet(connection: Connection, role: Role) -> None:
    hello = Hello("waystation", (1, 1))
    if role is Role.CLIENT:
        connection.say(hello)
        connection.received(_bytes(WELCOME))
    else:
        connection.received(_bytes(hello))
        connection.say(WELCOME)


def _bytes(frame: Frame) -> bytes:
    data = encode(frame)
    assert isinstance(data, bytes)
    return data


def _framed(said: bytes) -> Iterator[bytes]:
    while len(said) >= 4:
        size = int.from_bytes(said[2:4], "big")
        yield written(said[0], said[4 : 4 + size], flags=said[1])
        said = said[4 + size :]


def _bare(stream: bytes) -> Iterator[bytes]:
    while len(stream) >= 10:
        size = int.from_bytes(stream[:4], "big")
        payload = stream[10 : 10 + size][:0xFFFF]
        yield stream[4:6] + len(payload).to_bytes(2, "big") + payload
        stream = stream[10 + size :]


def _look(frames: list[Frame]) -> None:
    """What was heard can be shown, said again, and understood."""
    for frame in frames:
        assert repr(frame)
        assert encode(frame)
        if isinstance(frame, (Failed, Ended)):
            assert str(error_of(frame)) is not None


def _weigh(connection: Connection) -> None:
    decoder = connection._decoder
    assert len(decoder._pending or b"") < FRAME_BYTES_MAX + 10
    assert len(decoder._wholes) <= WHOLES_COUNT_MAX
    assert sum(len(whole.come) for whole in decoder._wholes.values()) <= decoder.whole_bytes
    assert decoder.whole_bytes <= WHOLES_COUNT_MAX * WHOLE_BYTES_MAX
