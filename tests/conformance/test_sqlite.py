"""`sqlite://` keeps the rules."""

from pathlib import Path

import pytest

from waystation._core.ports import Clock, Transport
from waystation._core.url import parse_url
from waystation.testing.conformance import TransportConformance
from waystation.transports.sqlite import transport


class TestSqlite(TransportConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.url = parse_url(f"sqlite:///{tmp_path}/bus.db")

    def make(self, clock: Clock) -> Transport:
        return transport(self.url, clock=clock)
