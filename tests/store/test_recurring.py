"""A recurring message and the time of the next one are one step, wherever a process dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from waystation._core.message import Message
from waystation._core.ports import Recurrence
from waystation._store import recurring
from waystation._store.database import connect, create
from waystation._store.log import Log
from waystation._store.rows import fetch
from waystation._store.segment import decode_segment

HOURLY = Recurrence("hourly", "reports.hourly", "0 * * * * (UTC)")
NOW = 1_700_000_000.0


class Died(Exception):
    """Stands for the death of the process."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "bus.db"
    create(file)
    return file


@contextmanager
def connected(path: Path) -> Iterator[apsw.Connection]:
    connection = connect(path, patient=True)
    try:
        yield connection
    finally:
        connection.close()  # rolls back what is open, as the next process would


def recur(path: Path, due: float | None, next_due: float, *, dies_after: int | None = None) -> float | None:
    """Publish for `due` in a process of its own, which may die after so many statements."""
    count = 0

    def statement(cursor: apsw.Cursor, sql: str, bindings: Any) -> bool:
        nonlocal count
        if count == dies_after:
            raise Died
        count += 1
        return True

    with connected(path) as connection:
        connection.exec_trace = statement
        connection.execute("BEGIN IMMEDIATE")
        message = Message(f"hourly@{due}", HOURLY.topic, b"{}")
        messages = [] if due is None else [message]
        found, _ = recurring.recur(connection, Log(connection), HOURLY, due, next_due, messages, NOW)
        connection.execute("COMMIT")
        if dies_after is not None and count == dies_after:
            raise Died
    return found


def published(path: Path) -> list[str]:
    with connected(path) as connection:
        rows = fetch(connection, "SELECT id, first, count, checksum, messages FROM bus_segment ORDER BY id")
        return [message.id for row in rows for message in decode_segment(*row)]


def test_wherever_a_process_dies_a_time_is_neither_lost_nor_published_twice(path: Path) -> None:
    due = recur(path, None, NOW)
    expected: list[str] = []
    for dies_after in range(100):
        assert due is not None
        try:
            recur(path, due, due + 3600.0, dies_after=dies_after)
        except Died:
            assert published(path) in (expected, [*expected, f"hourly@{due}"])
        else:
            break
        expected.append(f"hourly@{due}")
        due = recur(path, due, due + 3600.0)
        assert published(path) == expected
    else:
        pytest.fail("it never came to its end")
    assert dies_after > 6, "every statement was the last of some process"


def test_wherever_a_process_dies_while_it_declares_the_next_one_begins(path: Path) -> None:
    for dies_after in range(4):
        with pytest.raises(Died):
            recur(path, None, NOW + dies_after, dies_after=dies_after)
    assert recur(path, None, NOW + 10) in (NOW + 3, NOW + 10)
