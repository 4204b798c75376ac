"""What fault tests share."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from .disk import Disk, why_no_disk
from .town import Town


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """Processes, with a file of theirs."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    town = Town(tmp_path, tmp_path / "bus.db", seed)
    yield town
    town.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small disk of our own."""
    if reason := why_no_disk():
        pytest.skip(reason)
    disk = Disk(tmp_path)
    yield disk
    disk.unmount()
