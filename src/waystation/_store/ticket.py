"""`Ticket`: what stands in a row in place of a body that lies in a file of its own (the claim check pattern).

A message with a ticket is like any other to whatever moves it: from a schedule to the log, from there to a row of its
own, to the dead letters and back. In MessagePack a ticket is an extension, so an ordinary body costs nothing: the
encoder asks what a ticket is only when it meets one, and the decoder stumbles over it.

A ticket never leaves the store. Whoever receives or looks gets the body; whoever publishes that body again gets a
file of its own, here or in another database.
"""

from __future__ import annotations

from typing import Any, Final, Self

import msgspec

#: The extension's number in MessagePack. A file format.
_CODE: Final = 1

_NAME_BYTES: Final = 16
_SIZE_BYTES: Final = 8
_CHECKSUM_BYTES: Final = 4


class Ticket(bytes):
    """A body's place: empty bytes, and where the real ones are.

    Attributes:
        name: Of its file: random, in hexadecimal, so that it can be nothing but a name.
        size: In bytes.
        checksum: crc32 of the body.
    """

    name: str
    size: int
    checksum: int

    def __new__(cls, name: str, size: int, checksum: int) -> Self:
        ticket = super().__new__(cls)
        ticket.name, ticket.size, ticket.checksum = name, size, checksum
        return ticket


def write_ticket(value: Any) -> msgspec.msgpack.Ext:
    """Return a ticket as it is stored: what msgspec asks about a value that it does not know."""
    if not isinstance(value, Ticket):
        raise NotImplementedError
    name = bytes.fromhex(value.name)
    numbers = value.size.to_bytes(_SIZE_BYTES, "big") + value.checksum.to_bytes(_CHECKSUM_BYTES, "big")
    return msgspec.msgpack.Ext(_CODE, name + numbers)


def read_ticket(code: int, data: memoryview) -> Ticket:
    """Read what `write_ticket` wrote.

    Raises:
        ValueError: It is something else.
    """
    if code != _CODE or len(data) != _NAME_BYTES + _SIZE_BYTES + _CHECKSUM_BYTES:
        raise ValueError(f"extension {code} of {len(data)} bytes is no ticket")
    numbers = bytes(data[_NAME_BYTES:])
    return Ticket(
        bytes(data[:_NAME_BYTES]).hex(),
        int.from_bytes(numbers[:_SIZE_BYTES], "big"),
        int.from_bytes(numbers[_SIZE_BYTES:], "big"),
    )
