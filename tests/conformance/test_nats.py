"""The transport contract, held against `nats://`."""

import asyncio
import secrets

import pytest

from tests.brokers import Server
from waystation.testing import VirtualClock
from waystation.testing.conformance import TransportConformance

#: What a server gets for its answers each time that the clock is moved, in real seconds: on a busy machine a way there
#: and back may take that long, and what is measured is the gate, not the machine.
ANSWER_S = 0.01


class Patient(VirtualClock):
    """A clock that waits for the server, whose time is another."""

    async def advance(self, delay_s: float) -> None:
        """Let time pass."""
        await super().advance(delay_s)
        await asyncio.sleep(ANSWER_S)


class TestNats(TransportConformance):
    """All rules, at a real server; each test in a prefix of its own."""

    @pytest.fixture(autouse=True)
    def prefix(self, nats_server: Server) -> None:
        self.url = f"{nats_server.url}?prefix=t{secrets.token_hex(6)}"

    def clock(self) -> VirtualClock:
        """Return a clock that is moved by hand, and then gives the server time."""
        return Patient()
