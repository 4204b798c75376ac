"""Large bodies lie in files that nobody can guess, follow, replace or read, and come back as they were."""

from __future__ import annotations

import os
import resource
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from waystation._core.errors import StoreUnavailable
from waystation._store.bodies import Bodies, LostBody

BODY = bytes(range(256)) * 16


@pytest.fixture
def bodies(tmp_path: Path) -> Bodies:
    database = tmp_path / "shop.db"
    database.touch()
    return Bodies(database)


def only_file(bodies: Bodies) -> Path:
    (name,) = bodies.names()
    return bodies.folder / name


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_body_comes_back_as_it_was(bodies: Bodies) -> None:
    first, second = bodies.put(BODY), bodies.put(b"other")
    assert bodies.get(first) == BODY
    assert bodies.get(second) == b"other"
    assert bodies.has(first)


def test_without_a_large_body_there_is_no_folder(bodies: Bodies) -> None:
    assert bodies.names() == []
    bodies.remove(["0" * 32])
    assert not bodies.folder.exists()


def test_only_the_owner_may_enter_the_folder_or_read_a_file(bodies: Bodies) -> None:
    before = os.umask(0)
    try:
        bodies.put(BODY)
    finally:
        os.umask(before)
    assert bodies.folder.name == "shop.db-bodies"
    assert mode(bodies.folder) == 0o700
    assert mode(only_file(bodies)) == 0o600


def test_two_equal_bodies_have_names_of_their_own(bodies: Bodies) -> None:
    names = {bodies.put(BODY).name for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in names)


def test_a_folder_that_is_a_link_is_not_followed(bodies: Bodies, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    bodies.folder.symlink_to(elsewhere)
    with pytest.raises(StoreUnavailable, match="could not be written"):
        bodies.put(BODY)
    assert list(elsewhere.iterdir()) == []


def test_a_folder_in_which_others_may_write_is_refused(bodies: Bodies) -> None:
    ticket = bodies.put(BODY)
    bodies.folder.chmod(0o777)
    with pytest.raises(StoreUnavailable, match="chmod 700"):
        bodies.put(BODY)
    with pytest.raises(LostBody, match="chmod 700"):
        bodies.get(ticket)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_that_belongs_to_somebody_else_is_refused(bodies: Bodies) -> None:
    bodies.folder.mkdir(mode=0o700)
    os.chown(bodies.folder, 12345, 12345)
    with pytest.raises(StoreUnavailable, match="chown"):
        bodies.put(BODY)


def link(file: Path) -> None:
    """The right bytes, by way of a link."""
    file.rename(file.parent.parent / "moved")
    file.symlink_to(file.parent.parent / "moved")


def fifo(file: Path) -> None:
    """Opening one waits for a writer, unless told not to."""
    file.unlink()
    os.mkfifo(file)


def flip(file: Path) -> None:
    """One bit."""
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)


def grow(file: Path) -> None:
    """A file of a terabyte must not be read to see that it is wrong."""
    os.truncate(file, 1 << 40)


def shrink(file: Path) -> None:
    """What a crash leaves of a file that was not flushed."""
    os.truncate(file, 10)


@pytest.mark.parametrize("damage", [link, fifo, flip, grow, Path.unlink, shrink])
def test_what_is_not_what_was_written_is_lost_and_nothing_else(
    bodies: Bodies, damage: Callable[[Path], object]
) -> None:
    ticket = bodies.put(BODY)
    damage(only_file(bodies))
    other = bodies.put(b"other")
    with pytest.raises(LostBody, match=ticket.name):
        bodies.get(ticket)
    assert bodies.get(other) == b"other"


def test_a_body_that_cannot_be_written_leaves_nothing(bodies: Bodies) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(StoreUnavailable, match="check disk and folder"):
            bodies.put(bytes(1 << 17))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert bodies.names() == []
    assert bodies.get(bodies.put(BODY)) == BODY
