"""`redis://` keeps the rules, on a real server."""

from itertools import count

import pytest

from waystation._servers.desk import Server
from waystation.testing.conformance import TransportConformance

_numbers = count()


class TestRedis(TransportConformance):
    @pytest.fixture(autouse=True)
    def _prefix(self, redis_server: Server) -> None:
        self.url = f"{redis_server.url}?prefix=conformance-{next(_numbers)}"
