"""`redis://` and `rediss://`: Redis Streams, from version 7.0 on, or Valkey."""

from __future__ import annotations

from ..._core.ports import Clock
from ..._core.url import TransportURL
from .options import read_options
from .transport import RedisTransport


def transport(url: TransportURL, *, clock: Clock) -> RedisTransport:
    """Build a transport for a server.

    Raises:
        ConfigurationError: The URL is not right.
    """
    return RedisTransport(read_options(url), clock=clock)
