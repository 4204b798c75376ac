"""`Doorkeeper`: answers ZeroMQ's question whether a client's key is among those that are let in (ZAP, RFC 27)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .sockets import Watch

#: Where libzmq asks, within each context.
_ADDRESS: Final = "inproc://zeromq.zap.01"

#: The domain of our sockets: with one, nobody is let in without having been asked about.
DOMAIN: Final = b"waystation"


class Doorkeeper:
    """Lets in clients of these keys.

    Args:
        keys: Public keys of CURVE, 32 bytes each.
    """

    def __init__(self, zmq: Any, context: Any, keys: frozenset[bytes]) -> None:
        self._zmq, self._keys = zmq, keys
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(_ADDRESS)
        self._watch = Watch(zmq, self._socket, self._turn)

    def end(self) -> None:
        """Let nobody in any more."""
        self._watch.end()
        self._socket.close()

    def _turn(self) -> bool:
        zmq = self._zmq
        while self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            self._socket.send_multipart(
                judge(self._socket.recv_multipart(zmq.NOBLOCK), self._keys), zmq.NOBLOCK
            )
        return False


def judge(question: Sequence[bytes], keys: frozenset[bytes]) -> list[bytes]:
    """Answer a question: version, its number, domain, address, identity, mechanism, credentials.

    Who is let in is known by his key from then on: each message of his has it with it.
    """
    version, number, _, _, _, mechanism, *credentials = question
    known = mechanism == b"CURVE" and len(credentials) == 1 and credentials[0] in keys
    if not known:
        return [version, number, b"400", b"this key is not let in", b"", b""]
    return [version, number, b"200", b"OK", credentials[0].hex().encode(), b""]
