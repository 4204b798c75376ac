"""The transport contract, held against `nats://`."""

import secrets

import pytest

from tests.brokers import Server
from waystation.testing.conformance import TransportConformance


class TestNats(TransportConformance):
    """All rules, at a real server; each test in a prefix of its own."""

    @pytest.fixture(autouse=True)
    def prefix(self, nats_server: Server) -> None:
        self.url = f"{nats_server.url}?prefix=t{secrets.token_hex(6)}"
