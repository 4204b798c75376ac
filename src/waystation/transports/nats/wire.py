"""What NATS clients and servers say to each other: bytes in, words out, no I/O.

The client protocol is lines, some of which are followed by a payload whose length they tell
(https://docs.nats.io/reference/reference-protocols/nats-protocol). It is read here because nearly all of a client's
time goes into that: a batch of messages is one pass over one buffer, without a task or a queue for a message.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from ..._core.errors import RemoteProtocolError

#: The first line of a block of headers; a status may follow on the same line.
HEADER_LINE: Final = b"NATS/1.0"

#: Longest line that a server may send, in bytes: it tells its clients of a whole cluster in one (`INFO`).
LINE_BYTES_MAX: Final = 1024 * 1024

#: Longest payload that a server may announce, in bytes: no server lets its `max_payload` be larger.
PAYLOAD_BYTES_MAX: Final = 64 * 1024 * 1024 + LINE_BYTES_MAX


class Msg(NamedTuple):
    """A message for one subscription of this connection.

    Attributes:
        sid: The subscription's number.
        header: The block of headers as it came; empty: none.
    """

    sid: int
    subject: bytes
    reply: bytes
    header: bytes
    body: bytes


class Word(NamedTuple):
    """Anything else: `INFO`, `PING`, `PONG`, `+OK`, `-ERR`, with what follows it."""

    name: bytes
    text: bytes


Said: TypeAlias = Msg | Word


class Reader:
    """Bytes as they come, to what they say."""

    __slots__ = ("_have", "_need", "_parts")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._have = self._need = 0

    def feed(self, data: bytes) -> list[Said]:
        """Return what is complete by now.

        Raises:
            RemoteProtocolError: This is not what a server says.
        """
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []  # of a large payload nothing is copied until it is here
            data = b"".join(self._parts)
            self._parts.clear()
        said, position = self._read(data)
        if position < len(data):
            self._parts.append(data[position:] if position else data)
            self._have = len(self._parts[0])
            self._need -= position
        return said

    def _read(self, data: bytes) -> tuple[list[Said], int]:
        """Return what is said in these bytes, and where what is not complete begins; set what it needs to be."""
        said: list[Said] = []
        position, size, find = 0, len(data), data.find
        self._need = 0
        try:
            while position < size:
                end = find(b"\r\n", position)
                if end < 0:
                    if size - position > LINE_BYTES_MAX:
                        raise RemoteProtocolError("a NATS server sent a line that is too long")
                    break
                line = data[position:end]
                kind = line[:4]
                if kind == b"HMSG":
                    fields = line.split()
                    head, total = int(fields[-2]), int(fields[-1])
                    reply = fields[3] if len(fields) == 6 else b""
                elif kind == b"MSG ":
                    fields = line.split()
                    head, total = 0, int(fields[-1])
                    reply = fields[3] if len(fields) == 5 else b""
                else:
                    name, _, text = line.partition(b" ")
                    said.append(Word(name.upper(), text))
                    position = end + 2
                    continue
                sid, start = int(fields[2]), end + 2
                stop = start + total
                if not 0 <= head <= total <= PAYLOAD_BYTES_MAX:
                    raise RemoteProtocolError("a NATS server sent a length that cannot be")
                if stop + 2 > size:
                    self._need = stop + 2
                    break
                body = start + head
                said.append(Msg(sid, fields[1], reply, data[start:body], data[body:stop]))
                position = stop + 2
        except (ValueError, IndexError):
            raise RemoteProtocolError(f"this is not what a NATS server says: {line[:80]!r}") from None
        return said, position


def publication(subject: str, reply: str, header: bytes, body: bytes) -> bytes:
    """Return a message on its way to the server. Without a header it is a plain one."""
    if header:
        return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
            subject.encode(),
            reply.encode(),
            len(header),
            len(header) + len(body),
            header,
            body,
        )
    return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(body), body)


def header_block(headers: dict[str, str]) -> bytes:
    """Write headers. Their names and values must have no line breaks."""
    if not headers:
        return b""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return b"NATS/1.0\r\n%b\r\n" % lines.encode()


def read_headers(block: bytes) -> dict[str, str]:
    """Read a block of headers; the last of those with one name counts. What is no header is passed over."""
    if not block:
        return {}
    lines = block.decode(errors="replace").split("\r\n")
    found: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            found[name] = value.strip(" \t")
    return found


def status_of(block: bytes) -> int:
    """Return the status in a block's first line, such as 503 for "nobody is there"; 0: it has none."""
    status = block[len(HEADER_LINE) : len(HEADER_LINE) + 4].strip()
    return int(status) if status.isdigit() else 0
