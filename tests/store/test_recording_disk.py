"""The disk that writes down, and the states worked out from what it wrote: a wrong model would let everything pass."""

from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest

from tests.store.crash_states import SECTOR_BYTES, Image, states
from tests.store.recording_disk import (
    Flush,
    FlushFolder,
    Link,
    Operation,
    ShortWrite,
    Truncate,
    Unlink,
    Write,
    recording_disk,
)

MADE: list[Operation] = [Link("a", 1), FlushFolder(1)]


def last(*log: Operation) -> list[Image]:
    """What the folder may hold after all of it."""
    return [image for _, image in states(log, random.Random(1), points=[len(log)])]


def of(name: str, images: list[Image]) -> set[bytes | None]:
    return {image.get(name) for image in images}


def test_what_was_flushed_is_there_and_what_was_not_may_be_in_part() -> None:
    written: list[Operation] = [*MADE, Write(1, 0, b"x" * 3 * SECTOR_BYTES)]
    found = of("a", last(*written))
    assert {b"", b"x" * SECTOR_BYTES, b"x" * 3 * SECTOR_BYTES} <= found
    assert bytes(3 * SECTOR_BYTES) in found, "longer, and not yet written"
    assert bytes(SECTOR_BYTES) + b"x" * 2 * SECTOR_BYTES in found, "the back without the front"
    assert of("a", last(*written, Flush(1, 3))) == {b"x" * 3 * SECTOR_BYTES}


def test_a_flush_is_for_what_was_written_before_it_began() -> None:
    assert of("a", last(*MADE, Write(1, 0, b"x"), Write(1, 1, b"y"), Flush(1, 3))) == {b"x", b"xy", b"x\0"}


def test_a_later_write_may_be_there_without_an_earlier_one() -> None:
    assert b"\0y" in of("a", last(*MADE, Write(1, 0, b"x"), Write(1, 1, b"y")))


def test_a_torn_write_changes_nothing_beside_itself() -> None:
    old = b"o" * 2 * SECTOR_BYTES
    log = (*MADE, Write(1, 0, old), Flush(1, 3), Write(1, 10, b"n" * SECTOR_BYTES))
    for found in of("a", last(*log)):
        assert found is not None
        assert (found[:10], found[10 + SECTOR_BYTES :]) == (old[:10], old[10 + SECTOR_BYTES :])


def test_a_name_is_there_for_good_once_the_folder_was_flushed() -> None:
    written: list[Operation] = [Link("a", 1), Write(1, 0, b"x"), Flush(1, 2)]
    assert of("a", last(*written)) == {None, b"x"}
    assert of("a", last(*written, FlushFolder(3))) == {b"x"}
    assert of("a", last(*written, FlushFolder(3), Unlink("a"))) == {None, b"x"}
    assert of("a", last(*written, FlushFolder(3), Unlink("a"), FlushFolder(5))) == {None}


def test_a_name_used_again_is_another_file() -> None:
    log = (
        *MADE,
        Write(1, 0, b"old"),
        Flush(1, 3),
        Unlink("a"),
        Link("a", 2),
        Write(2, 0, b"new"),
        Flush(2, 7),
    )
    assert of("a", last(*log)) == {b"old", None, b"new"}


def test_a_file_may_have_been_cut_or_not() -> None:
    assert of("a", last(*MADE, Write(1, 0, b"xy"), Flush(1, 3), Truncate(1, 1))) == {b"xy", b"x"}


def test_after_a_failed_flush_no_other_makes_it_good_unless_it_is_written_again() -> None:
    failed = (*MADE, Write(1, 0, b"x"), Flush(1, 3, failed=True))
    later = (*failed, Write(1, 1, b"y"), Flush(1, 5))
    assert of("a", last(*failed)) == of("a", last(*failed, Flush(1, 4))) == {b"", b"x", b"\0"}
    assert of("a", last(*later)) == {b"\0y", b"xy"}
    assert of("a", last(*later, Write(1, 0, b"x"), Flush(1, 7))) == {b"xy"}


def test_of_many_states_the_extremes_are_kept_and_the_rest_is_a_choice() -> None:
    log = [*MADE, *(Write(1, number, b"x") for number in range(20))]
    everything, nothing, *others = [
        image["a"] for _, image in states(log, random.Random(1), points=[len(log)], at_most=5)
    ]
    assert (everything, nothing, len(others)) == (b"x" * 20, b"", 3)


@pytest.mark.parametrize(
    ("journal", "level", "is_lost"),
    [("wal", "OFF", True), ("wal", "NORMAL", True), ("wal", "FULL", False), ("delete", "EXTRA", False)],
)
def test_a_commit_is_lost_with_the_settings_with_which_it_may_be(
    tmp_path: Path, journal: str, level: str, is_lost: bool
) -> None:
    with recording_disk(tmp_path) as disk:
        connection = apsw.Connection(str(tmp_path / "bus.db"))
        connection.pragma("journal_mode", journal)
        connection.execute("CREATE TABLE t (x)")
        connection.pragma("synchronous", level)
        connection.execute("INSERT INTO t VALUES (1)")
        images = last(*disk.log)
        there = {name: (tmp_path / name).read_bytes() for name in images[0]}
        connection.close()
    assert images[0] == there, "the log does not say what was done"
    folder = tmp_path / "ruins"
    folder.mkdir()
    rows = []
    for image in images:
        for name, data in image.items():
            (folder / name).write_bytes(data)
        connection = apsw.Connection(str(folder / "bus.db"))
        rows.append(connection.execute("SELECT count(*) FROM t").get)
        connection.close()
        for file in folder.iterdir():
            file.unlink()
    assert rows[0] == 1, "without a power cut nothing is lost"
    assert (0 in rows) == is_lost


def test_a_short_write_is_written_down_as_it_is(tmp_path: Path) -> None:
    with recording_disk(tmp_path) as disk:
        connection = apsw.Connection(str(tmp_path / "bus.db"))
        connection.pragma("journal_mode", "wal")
        connection.execute("CREATE TABLE t (x)")

        def short(operation: Operation) -> None:
            if isinstance(operation, Write) and len(operation.data) > SECTOR_BYTES:
                raise ShortWrite("half of it")

        disk.fault = short
        with pytest.raises(apsw.FullError):
            connection.execute("INSERT INTO t VALUES (1)")
        disk.heal()
        (everything, *_) = last(*disk.log)
        assert everything["bus.db-wal"] == (tmp_path / "bus.db-wal").read_bytes()
        connection.close()
