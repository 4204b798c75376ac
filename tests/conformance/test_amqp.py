"""`amqp://` keeps the rules, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from waystation._core.inspection import Inspector
from waystation._core.url import parse_url
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation._servers.desk import Server
from waystation.testing import VirtualClock
from waystation.testing.clock import MovableClock
from waystation.testing.conformance import TransportConformance

_numbers = count()


#: Real time that the server has for what becomes due at each step of virtual time, in seconds.
_STEP_S = 0.01


class _Unhurried(VirtualClock):
    """Does not run away from the server: what waits lies in one of its queues, and has a way there and back."""

    async def advance(self, delay_s: float) -> None:
        """Let virtual time pass, and a moment of real time."""
        await super().advance(delay_s)
        await asyncio.sleep(_STEP_S)


class TestRabbitMQ(TransportConformance):
    def clock(self) -> MovableClock:
        """Return a clock that waits for the server."""
        return _Unhurried()

    @pytest.fixture(autouse=True)
    def _prefix(self, rabbitmq_server: Server) -> None:
        self.url = f"{rabbitmq_server.url}?prefix=conformance-{next(_numbers)}"

    @asynccontextmanager
    async def surroundings(self) -> AsyncIterator[None]:
        """Leave no queues behind: a server has a process for each."""
        try:
            yield
        finally:
            transport = find_transport(parse_url(self.url), clock=SystemClock())
            await transport.open()
            assert isinstance(transport, Inspector)
            for name in {info.group for info in await transport.groups()}:
                await transport.remove_group(name)
            await transport.close()
