"""A forked child is kept from files that its parent has open."""

import os
from pathlib import Path

import pytest

from waystation import Bus, ConfigurationError
from waystation.transports.sqlite import forks
from waystation.transports.sqlite.forks import Entry


@pytest.fixture(autouse=True)
def book(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """An empty book, as in a new process."""
    empty: list[Entry] = []
    monkeypatch.setattr(forks, "_OPEN", empty)
    return empty


def test_a_process_may_open_a_file_twice(tmp_path: Path, book: list[Entry]) -> None:
    first, second = forks.enter(tmp_path), forks.enter(tmp_path)
    forks.leave(first)
    forks.leave(second)
    assert book == []


def test_what_another_process_had_open_at_the_fork_is_refused(tmp_path: Path, book: list[Entry]) -> None:
    book.append(Entry(tmp_path / "bus.db", os.getppid()))
    with pytest.raises(ConfigurationError, match=r"bus\.db was open when this process was forked"):
        forks.enter(tmp_path / "bus.db")
    forks.leave(forks.enter(tmp_path / "other.db"))


async def test_a_bus_in_a_forked_child_is_refused_by_whatever_name(tmp_path: Path, book: list[Entry]) -> None:
    (tmp_path / "name.db").symlink_to(tmp_path / "bus.db")
    book.append(Entry(tmp_path / "bus.db", os.getppid()))
    with pytest.raises(ConfigurationError, match="forked"):
        await Bus(f"sqlite:///{tmp_path}/name.db").__aenter__()
    assert not (tmp_path / "bus.db").exists()


async def test_what_was_closed_before_the_fork_may_be_opened(tmp_path: Path, book: list[Entry]) -> None:
    async with Bus(f"sqlite:///{tmp_path}/bus.db"):
        assert book == [Entry(tmp_path / "bus.db", os.getpid())]
    assert book == []
    with pytest.raises(ConfigurationError):
        await Bus(f"sqlite:///{tmp_path}/missing/bus.db").__aenter__()
    assert book == []
