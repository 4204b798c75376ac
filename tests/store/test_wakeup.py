"""Datagrams between processes: who is told what, and what is left behind."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from waystation._store import wakeup
from waystation._store.log import Fresh
from waystation._store.wakeup import Bell, Ear, wake_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return wake_folder(tmp_path / "bus.db")


@pytest.fixture
def bell(folder: Path) -> Iterator[Bell]:
    bell = Bell(folder)
    yield bell
    bell.close()


@pytest.fixture
def ear(folder: Path) -> Iterator[Ear]:
    ear = Ear(folder)
    yield ear
    ear.close()


def sockets(folder: Path) -> list[Path]:
    return [name for name in folder.iterdir() if stat.S_ISSOCK(name.stat().st_mode)]


def test_each_listener_hears_which_topics(folder: Path, bell: Bell, ear: Ear) -> None:
    other = Ear(folder)
    bell.ring({3, 5})
    bell.ring({5, 7})
    assert ear.hear().topics == {3, 5, 7}
    assert other.hear().topics == {3, 5, 7}
    assert ear.hear().topics == set()
    other.close()


@pytest.mark.parametrize("topic", [0, -1, 1, 2**62])
def test_every_number_arrives_the_special_ones_too(bell: Bell, ear: Ear, topic: int) -> None:
    bell.ring({topic})
    assert ear.hear().topics == {topic}


def test_where_a_single_segment_is_is_heard_beside_topics(bell: Bell, ear: Ear) -> None:
    bell.ring({3}, Fresh(3, 5, 2**62))
    bell.ring({4})
    bell.ring({0}, Fresh(7, 15, 1))
    heard = ear.hear()
    assert heard.fresh == [Fresh(3, 5, 2**62), Fresh(7, 15, 1)]
    assert heard.topics == {4}


@pytest.mark.parametrize("note", [b"1/2", b"1/2/3/4", b"1/2/x", b"//", b"-1/2/3", b"x", b"1 x 2/3"])
def test_a_datagram_of_strange_bytes_says_nothing_of_segments(folder: Path, ear: Ear, note: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(note, str(sockets(folder)[0]))
    assert ear.hear().fresh == []


def test_a_ring_without_topics_means_look_everywhere(bell: Bell, ear: Ear) -> None:
    bell.ring({4})
    bell.ring(())
    assert ear.hear().topics is None


@pytest.mark.parametrize("count", [100, 101, 5000])
def test_many_topics_are_named_or_mean_everywhere_and_never_get_lost(
    bell: Bell, ear: Ear, count: int
) -> None:
    topics = set(range(2**40, 2**40 + count))
    bell.ring(topics)
    heard = ear.hear().topics
    assert heard is None if count > 100 else heard == topics


def test_nobody_listening_is_no_error(tmp_path: Path) -> None:
    bell = Bell(tmp_path / "nowhere")
    bell.ring({1})
    bell.close()


def test_the_socket_of_a_dead_process_is_removed(folder: Path, bell: Bell, ear: Ear) -> None:
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = sockets(folder)[0].name
    dead.bind(str(folder / ("1" + name)))
    dead.close()
    assert len(sockets(folder)) == 2
    bell.ring({1})
    assert [path.name for path in sockets(folder)] == [name]
    assert ear.hear().topics == {1}


def test_files_that_are_no_sockets_are_left_alone(folder: Path, bell: Bell, ear: Ear) -> None:
    # A datagram to a plain file is refused exactly like one to the socket of a dead process.
    for name in ("maintenance.lock", "writer.lock", "notes.txt"):
        (folder / name).touch()
    bell.ring({1})
    assert {path.name for path in folder.iterdir()} >= {"maintenance.lock", "writer.lock", "notes.txt"}


def test_a_listener_that_does_not_listen_blocks_nobody(folder: Path, bell: Bell, ear: Ear) -> None:
    other = Ear(folder)
    for _ in range(2000):
        bell.ring({1})
        other.hear()
    bell.ring({2})
    assert other.hear().topics == {2}
    assert ear.hear().topics == {1}, "its buffer was full, so it is awake"
    other.close()


def test_closing_removes_the_name_and_twice_is_no_error(folder: Path) -> None:
    ear = Ear(folder)
    assert len(sockets(folder)) == 1
    ear.close()
    ear.close()
    assert sockets(folder) == []


def test_the_folder_is_the_owners_alone(folder: Path, ear: Ear) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("depth", [1, 40, 60, 70, 80, 200])
def test_a_path_of_any_length_can_be_bound(tmp_path: Path, depth: int) -> None:
    database = tmp_path / ("d" * depth) / ("n" * 30 + ".db")
    database.parent.mkdir()
    folder = wake_folder(database)
    ear, bell = Ear(folder), Bell(folder)
    try:
        bell.ring({1})
        assert ear.hear().topics == {1}
    finally:
        ear.close()
        bell.close()
        if folder.parent != database.parent:
            folder.rmdir()


def test_the_folder_is_the_same_for_every_process_and_another_one_for_each_file(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    assert wake_folder(deep / "a.db") == wake_folder(deep / "a.db")
    assert wake_folder(deep / "a.db") != wake_folder(deep / "b.db")
    assert str(os.getuid()) in wake_folder(deep / "a.db").name


def test_a_path_of_wide_characters_is_measured_in_bytes(tmp_path: Path) -> None:
    folder = wake_folder(tmp_path / ("\N{SNOWMAN}" * 20) / "bus.db")
    assert len(os.fsencode(folder)) + 32 <= wakeup._SOCKET_PATH_BYTES_MAX
