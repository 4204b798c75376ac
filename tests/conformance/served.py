"""A transport served on a socket for one test, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from waystation._core.capabilities import Capabilities
from waystation._core.ports import Clock, Gate, Transport
from waystation._core.url import parse_url
from waystation._runtime.resolve import find_gate, find_transport
from waystation.testing import VirtualClock
from waystation.testing.conformance import TransportConformance


class ServedConformance(TransportConformance):
    """One server for each test, on the event loop and under the clock of the test; every transport is a client of it.

    Attributes:
        listen: Where it listens.
    """

    listen = "tcp://127.0.0.1:0"
    _clock: VirtualClock
    _gate: Gate

    def inner(self, clock: Clock) -> Transport:
        """Build what is served."""
        raise NotImplementedError

    @asynccontextmanager
    async def surroundings(self) -> AsyncIterator[None]:
        self._clock = VirtualClock()
        transport = self.inner(self._clock)
        self._gate = find_gate(parse_url(self.listen))
        await transport.open()
        try:
            await self._gate.open(transport)
            self.url = self._gate.address
            yield
        finally:
            await self._gate.close()
            await transport.close()

    def clock(self) -> VirtualClock:
        return self._clock

    def make(self, clock: Clock) -> Transport:
        return find_transport(parse_url(self.url), clock=clock)

    @property
    def capabilities(self) -> Capabilities:
        return self.inner(VirtualClock()).capabilities
