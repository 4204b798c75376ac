"""Media by their URLs, for as long as they are copied."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .._core.ports import Clock, Transport
from .._core.url import parse_url
from .._runtime.clock import SystemClock
from .._runtime.resolve import find_transport

#: The world's time.
SYSTEM_CLOCK = SystemClock()


@asynccontextmanager
async def opened(url: str, *, clock: Clock) -> AsyncIterator[Transport]:
    """Connect to a medium, and disconnect at the end.

    Raises:
        ConfigurationError: No transport serves the URL.
        TransportError: It cannot be reached.
    """
    transport = find_transport(parse_url(url), clock=clock)
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


def mark_of(url: str) -> str:
    """Return a short name for a medium, the same for each URL that differs only in secrets and options."""
    parsed = parse_url(url)
    place = f"{parsed.scheme}://{parsed.parts.netloc.rpartition('@')[2]}/{parsed.path}"
    return hashlib.blake2s(place.encode(), digest_size=4).hexdigest()
