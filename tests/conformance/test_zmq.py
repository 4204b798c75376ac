"""`zmq+tcp://` and `zmq+ipc://` keep the rules: straight to a bus in another's memory, or to a store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from waystation._core.inspection import Inspector
from waystation._core.ports import Clock, Transport
from waystation._core.url import parse_url
from waystation._runtime.resolve import find_transport
from waystation.testing import VirtualClock
from waystation.transports.sqlite import SqliteTransport

from .served import ServedConformance

pytest.importorskip("zmq")


class TestDirect(ServedConformance):
    def inner(self, clock: Clock) -> Transport:
        return find_transport(parse_url("zmq+tcp://127.0.0.1:0?listen"), clock=clock)

    @asynccontextmanager
    async def surroundings(self) -> AsyncIterator[None]:
        self._clock = VirtualClock()
        transport = self.inner(self._clock)
        await transport.open()
        try:
            assert isinstance(transport, Inspector)
            self.url = (await transport.facts())["served at"]
            yield
        finally:
            await transport.close()


class TestServed(ServedConformance):
    listen = "zmq+tcp://127.0.0.1:0"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self._path = f"{tmp_path}/bus.db"

    def inner(self, clock: Clock) -> Transport:
        return SqliteTransport(self._path, clock=clock)


class TestIpc(TestServed):
    @pytest.fixture(autouse=True)
    def _socket(self, tmp_path: Path) -> None:
        self.listen = f"zmq+ipc://{tmp_path}/bus.sock"
