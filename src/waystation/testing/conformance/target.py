"""The suite as `waystation conform` runs it: each test on a medium that was made for it."""

from __future__ import annotations

import pytest

from . import TransportConformance


class TestTarget(TransportConformance):
    """All rules, on what `waystation_medium` names."""

    @pytest.fixture(autouse=True)
    def _medium(self, waystation_medium: str) -> None:
        self.url = waystation_medium
