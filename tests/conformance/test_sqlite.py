"""`sqlite://` keeps the rules."""

from pathlib import Path

import pytest

from waystation.testing.conformance import TransportConformance


class TestSqlite(TransportConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.url = f"sqlite:///{tmp_path}/bus.db"
