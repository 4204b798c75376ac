"""A key and its message are stored together or not at all, and a key is forgotten when its window is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from waystation._core.limits import DEDUPE_WINDOW_S
from waystation._core.message import Message
from waystation._store import inspect
from waystation._store.clock import StoreClock
from waystation._store.database import connect, create
from waystation._store.log import NEW_TOPIC, OTHERS, Log
from waystation._store.maintenance import Maintenance


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "bus.db"
    create(path)
    return path


@pytest.fixture
def connection(path: Path) -> Iterator[apsw.Connection]:
    opened = connect(path, patient=True)
    yield opened
    opened.close()


def message(id_: str, key: str | None = "a", *, deliver_at: float | None = None) -> Message:
    return Message(id_, "t", b"", dedupe_key=key, deliver_at=deliver_at)


def stored(connection: apsw.Connection) -> list[str]:
    return [found.id for _, found in inspect.browse(connection, "t", "earliest", 100)]


def test_a_message_that_was_rolled_back_leaves_no_key(connection: apsw.Connection) -> None:
    log = Log(connection)
    connection.execute("BEGIN IMMEDIATE")
    log.append([message("m1")], 1.0)
    connection.execute("ROLLBACK")
    log.forget()
    assert log.append([message("m2")], 2.0).firsts == {}
    assert stored(connection) == ["m2"]


def test_the_window_ends_to_the_moment(connection: apsw.Connection) -> None:
    log = Log(connection, dedupe_window_s=10.0)
    log.append([message("m1")], 1.0)
    assert log.append([message("m2")], 10.999).firsts == {0: "m1"}
    assert log.append([message("m3")], 11.0).firsts == {}
    assert log.append([message("m4")], 20.999).firsts == {0: "m3"}
    assert stored(connection) == ["m1", "m3"]


def test_a_window_of_nothing_stores_everything(connection: apsw.Connection) -> None:
    log = Log(connection, dedupe_window_s=0.0)
    assert log.append([message("m1"), message("m2")], 1.0).firsts == {}
    assert stored(connection) == ["m1", "m2"]


def test_a_second_try_with_the_same_id_is_a_duplicate_of_itself(connection: apsw.Connection) -> None:
    log = Log(connection)
    log.append([message("m1")], 1.0)
    assert log.append([message("m1")], 2.0).firsts == {0: "m1"}
    assert stored(connection) == ["m1"]


def test_a_batch_of_duplicates_touches_nothing(connection: apsw.Connection) -> None:
    log = Log(connection)
    log.append([message("m1")], 1.0)
    assert log.append([message("m2"), message("m3")], 2.0).touched == set()


@pytest.mark.parametrize("deliver_at", [0.0, 60.0])
def test_a_topic_that_is_made_by_a_key_is_announced(connection: apsw.Connection, deliver_at: float) -> None:
    touched = Log(connection).append([message("m1", deliver_at=deliver_at)], 1.0).touched
    assert NEW_TOPIC in touched
    assert (OTHERS in touched) is (deliver_at > 1.0)


def test_what_was_scheduled_is_not_its_own_duplicate(connection: apsw.Connection) -> None:
    log = Log(connection)
    log.append([message("m1", deliver_at=60.0)], 1.0)
    assert log.promote_due(60.0, 10)
    assert stored(connection) == ["m1"]


def test_cancelling_frees_no_key_that_another_message_has_by_now(connection: apsw.Connection) -> None:
    log = Log(connection, dedupe_window_s=10.0)
    log.append([message("m1", deliver_at=60.0)], 1.0)
    log.append([message("m2")], 12.0)  # after m1's window
    assert inspect.cancel_scheduled(connection, "m1")
    assert log.append([message("m3")], 13.0).firsts == {0: "m2"}


def test_keys_whose_window_is_over_are_swept(path: Path, connection: apsw.Connection) -> None:
    log = Log(connection)
    log.append([message(f"m{number}", key=f"{number}") for number in range(1500)], 1.0)
    log.append([message("new", key="new")], 5.0)
    keeper = Maintenance(path, StoreClock(lambda: 2.0 + DEDUPE_WINDOW_S, lambda: 0.0), path.with_name("lock"))
    keeper._sweep(connection)
    keeper.close()
    assert connection.execute("SELECT key FROM bus_dedupe").fetchall() == [("new",)]
