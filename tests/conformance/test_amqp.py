"""`amqp://` keeps the rules, on a real server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from tests.store.tier import TIER
from waystation._core.inspection import Inspector
from waystation._core.url import parse_url
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation._servers.desk import Server
from waystation.testing.conformance import TransportConformance

_numbers = count()


class TestRabbitMQ(TransportConformance):
    @pytest.fixture(autouse=True)
    def _steady(self) -> None:
        """C-30, C-34, C-36 and C-49 are broken now and then on a busy machine: `make conformance` asks them."""
        if TIER == "pr":
            pytest.skip("amqp:// does not keep all rules on a busy machine yet: run `make conformance`")

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
