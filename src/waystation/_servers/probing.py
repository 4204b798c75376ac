"""Whether a server answers as one that can be used: a few bytes in its own protocol, without a driver."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from .plan import HOST, KindName

#: How long one answer may take, in seconds. Who does not answer now is asked again.
_ANSWER_S = 2.0

#: The most that is read of an answer, in bytes.
_ANSWER_BYTES_MAX = 64 * 1024


def somebody_listens(port: int) -> bool:
    """Say whether a port of this machine is taken."""
    try:
        socket.create_connection((HOST, port), _ANSWER_S).close()
    except OSError:
        return False
    return True


def answers(kind: KindName, port: int, nodes: int) -> bool:
    """Say whether a node is ready for clients, and knows of the others."""
    try:
        with socket.create_connection((HOST, port), _ANSWER_S) as line:
            line.settimeout(_ANSWER_S)
            return _PROBES[kind](line, nodes)
    except OSError:
        return False


def free_ports(count: int) -> tuple[int, ...]:
    """Return ports of this machine that nobody has now."""
    lines = [socket.socket() for _ in range(count)]
    try:
        for line in lines:
            line.bind((HOST, 0))
        return tuple(line.getsockname()[1] for line in lines)
    finally:
        for line in lines:
            line.close()


def _redis(line: socket.socket, _: int) -> bool:
    """A primary that is ready, or a replica that has what its primary has."""
    line.sendall(b"PING\r\nINFO replication\r\n")
    text = _until(line, lambda text: b"role:" in text and text.endswith(b"\r\n"))
    return text.startswith(b"+PONG") and (b"role:master" in text or b"master_link_status:up" in text)


def _nats(line: socket.socket, _: int) -> bool:
    """JetStream says how much it keeps; in a cluster it does so once it has a leader."""
    line.sendall(
        b'CONNECT {"verbose":false}\r\nSUB _INBOX.waystation 1\r\nPUB $JS.API.INFO _INBOX.waystation 0\r\n\r\n'
    )
    text = _until(line, lambda text: b"MSG _INBOX" in text and text.endswith(b"}\r\n"))
    return b"account_info_response" in text and b'"error"' not in text


def _rabbitmq(line: socket.socket, _: int) -> bool:
    """The server begins its handshake: `Connection.Start`."""
    line.sendall(b"AMQP\x00\x00\x09\x01")
    return line.recv(1) == b"\x01"


def _kafka(line: socket.socket, nodes: int) -> bool:
    """The metadata lists as many brokers as there are nodes."""
    body = struct.pack(">hhih", 3, 1, 1, 10) + b"waystation" + struct.pack(">i", 0)
    line.sendall(struct.pack(">i", len(body)) + body)
    text = _until(line, lambda text: len(text) >= 12)
    return len(text) >= 12 and struct.unpack(">i", text[8:12])[0] == nodes


def _until(line: socket.socket, enough: Callable[[bytes], bool]) -> bytes:
    """Read until there is enough, or the server says no more."""
    text = b""
    while not enough(text) and len(text) < _ANSWER_BYTES_MAX:
        more = line.recv(_ANSWER_BYTES_MAX)
        if not more:
            break
        text += more
    return text


_PROBES: dict[KindName, Callable[[socket.socket, int], bool]] = {
    "redis": _redis,
    "nats": _nats,
    "rabbitmq": _rabbitmq,
    "kafka": _kafka,
}
