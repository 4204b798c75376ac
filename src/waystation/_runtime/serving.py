"""Serving a bus's medium to other processes, for a while or until a signal."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from .._core.duration import Duration
from .._core.ports import Transport
from .._core.url import parse_url
from .resolve import find_gate

_log = logging.getLogger("waystation.serve")


class Servable(Protocol):
    """What of a bus is used here."""

    def serving(self, listen: str, *, drain: Duration) -> AbstractAsyncContextManager[str]:
        """Let other processes use its medium."""


@asynccontextmanager
async def serving(transport: Transport, listen: str, drain_s: float) -> AsyncIterator[str]:
    """Serve an open transport at an address; yield the URL for clients. At the end they may finish what is under way.

    Raises:
        ConfigurationError: Nobody can listen there, or it would let in strangers.
    """
    gate = find_gate(parse_url(listen))
    await gate.open(transport)
    try:
        _log.info("serving %s at %s", transport.capabilities.name, gate.address)
        yield gate.address
    finally:
        await gate.close(drain_s)


class Serving:
    """A bus that serves, as something that runs until it is stopped."""

    def __init__(self, bus: Servable, listen: str, drain_s: float) -> None:
        self._bus = bus
        self._listen = listen
        self._drain_s = drain_s

    def running(self) -> AbstractAsyncContextManager[str]:
        """Serve, and at the end let clients finish what is under way."""
        return self._bus.serving(self._listen, drain=self._drain_s)

    async def drain(self, deadline_s: float) -> int:
        """Nothing of its own: what clients began ends when `running` does."""
        return 0
