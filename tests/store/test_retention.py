"""What is deleted, and what never is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from waystation._core.limits import INBOX_RETENTION_S, UNREAD_RETENTION_S
from waystation._core.message import Message
from waystation._core.ports import Subscription
from waystation._store import groups, inspect
from waystation._store.clock import StoreClock
from waystation._store.database import connect, create
from waystation._store.log import Log
from waystation._store.maintenance import Maintenance
from waystation._store.retention import Retention, declared
from waystation._store.retention import declare as declare_retention
from waystation._store.seek import seek

MIB = 1024 * 1024


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


def declare(connection: apsw.Connection, topic: str, group: str) -> None:
    groups.declare(connection, Log(connection), Subscription(pattern=topic, group=group))


def settle_all(connection: apsw.Connection, topic: str, group: str) -> None:
    seek(connection, group, topic, "new", 1.0)


def sweep(path: Path, connection: apsw.Connection, retention: Retention, now: float) -> None:
    connection.execute("DELETE FROM bus_setting")
    declare_retention(connection, retention)
    keeper = Maintenance(path, StoreClock(lambda: now, lambda: 0.0), path.with_name("lock"))
    try:
        keeper._sweep(connection)
        keeper._sweep(connection)  # finds nothing more to say or do
    finally:
        keeper.close()


def kept(connection: apsw.Connection, topic: str) -> int:
    return next(info.messages for info in inspect.topics(connection) if info.name == topic)


def send(connection: apsw.Connection, topic: str, now: float, *, count: int = 1, size: int = 10) -> None:
    for number in range(count):
        Log(connection).append([Message(f"m{now}-{number}", topic, b"x" * size)], now)


def test_what_is_settled_is_kept_for_its_time(path: Path, connection: apsw.Connection) -> None:
    declare(connection, "t", "g")
    send(connection, "t", 100.0)
    send(connection, "t", 150.0)
    settle_all(connection, "t", "g")
    sweep(path, connection, Retention(keep_s=60.0), 159.0)
    assert kept(connection, "t") == 2
    sweep(path, connection, Retention(keep_s=60.0), 160.0)
    assert kept(connection, "t") == 1
    sweep(path, connection, Retention(), 160.0)
    assert kept(connection, "t") == 0


def test_what_some_group_has_not_settled_is_kept_however_old_and_large(
    path: Path, connection: apsw.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    declare(connection, "t", "g")
    declare(connection, "t", "slow")
    send(connection, "t", 1.0, count=3, size=MIB)
    settle_all(connection, "t", "g")
    sweep(path, connection, Retention(keep_s=1.0, bytes_max=MIB), 1e9)
    assert kept(connection, "t") == 3
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "more than keep_bytes" in warning


def test_above_the_size_the_oldest_that_is_settled_goes_first(
    path: Path, connection: apsw.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    for topic in ("old", "new", "stuck"):
        declare(connection, topic, "g")
    send(connection, "stuck", 1.0, count=2, size=MIB)
    send(connection, "old", 2.0, count=60, size=MIB // 16)
    send(connection, "unread", 3.0, count=2, size=MIB)
    send(connection, "new", 4.0, count=60, size=MIB // 16)
    settle_all(connection, "old", "g")
    settle_all(connection, "new", "g")
    sweep(path, connection, Retention(keep_s=1e6, bytes_max=7 * MIB), 5.0)
    assert kept(connection, "stuck") == 2
    assert kept(connection, "old") == 0
    assert kept(connection, "new") == 60
    assert not caplog.records


def test_a_topic_that_nobody_reads_is_kept_for_a_week_or_as_long_as_is_said(
    path: Path, connection: apsw.Connection
) -> None:
    send(connection, "t", 0.0)
    sweep(path, connection, Retention(), UNREAD_RETENTION_S)
    assert kept(connection, "t") == 1
    sweep(path, connection, Retention(keep_s=2 * UNREAD_RETENTION_S), 1.5 * UNREAD_RETENTION_S)
    assert kept(connection, "t") == 1
    sweep(path, connection, Retention(keep_s=60.0), 61.0)
    assert kept(connection, "t") == 0


def test_the_inbox_remembers_longer_than_a_message_can_be_replayed() -> None:
    assert Retention().inbox_s == INBOX_RETENTION_S
    assert Retention(keep_s=30 * 86400.0).inbox_s == 60 * 86400.0


def test_what_is_kept_can_be_replayed_by_a_new_group(path: Path, connection: apsw.Connection) -> None:
    declare(connection, "t", "g")
    send(connection, "t", 100.0, count=5)
    settle_all(connection, "t", "g")
    sweep(path, connection, Retention(keep_s=60.0), 120.0)
    declare(connection, "t", "late")
    assert {info.group: info.lag for info in inspect.groups(connection, 121.0)} == {"g": 0, "late": 5}


def test_what_one_url_has_said_counts_for_all_until_another_says_otherwise(
    connection: apsw.Connection,
) -> None:
    assert declared(connection) == Retention()
    declare_retention(connection, Retention(keep_s=60.0, bytes_max=7 * MIB))
    declare_retention(connection, Retention())  # says nothing
    assert declared(connection) == Retention(keep_s=60.0, bytes_max=7 * MIB)
    declare_retention(connection, Retention(keep_s=0.0))
    assert declared(connection) == Retention(keep_s=0.0, bytes_max=7 * MIB)
