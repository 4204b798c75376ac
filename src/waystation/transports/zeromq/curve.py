"""CURVE on sockets: who reads and writes is who he must be, and nobody else does (RFC 25, 26)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from ..._core.errors import ConfigurationError
from ..._core.extras import import_driver
from .doorkeeper import DOMAIN


def key_pair(zmq: Any, secret: bytes | None) -> tuple[bytes, bytes]:
    """Return a public key and its secret one, in Z85; without one, a pair that nobody knows.

    Raises:
        ConfigurationError: The key is none, or this libzmq was built without CURVE.
    """
    if not zmq.has("curve"):
        raise ConfigurationError(
            "the libzmq that is installed has no CURVE: pip install --force-reinstall pyzmq"
        )
    if secret is None:
        public, secret = zmq.curve_keypair()
        return public, secret
    try:
        return zmq.curve_public(secret), secret
    except zmq.ZMQError:
        raise ConfigurationError("the secret key in curve_key= is not one of CURVE") from None


def raw_keys(keys: Sequence[bytes]) -> frozenset[bytes]:
    """Return public keys as the 32 bytes that libzmq shows.

    Raises:
        ConfigurationError: One of them is none.
    """
    z85 = import_driver("zmq.utils.z85", extra="zmq")
    try:
        return frozenset(z85.decode(key) for key in keys)
    except (ValueError, struct.error):
        raise ConfigurationError("one of the keys in curve_client_keys= is not one of CURVE") from None


def serve_curve(zmq: Any, socket: Any, pair: tuple[bytes, bytes], *, asked: bool) -> None:
    """Let only those in who know this socket's public key; `asked`: and of whose own somebody is asked."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, pair[0])
    socket.setsockopt(zmq.CURVE_SECRETKEY, pair[1])
    if asked:
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def use_curve(zmq: Any, socket: Any, server_key: bytes, pair: tuple[bytes, bytes]) -> None:
    """Connect only to who has the secret key of this public one."""
    socket.setsockopt(zmq.CURVE_PUBLICKEY, pair[0])
    socket.setsockopt(zmq.CURVE_SECRETKEY, pair[1])
    socket.setsockopt(zmq.CURVE_SERVERKEY, server_key)
