"""What may be opened, with which settings, and what becomes of a file that is damaged or grows."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

import waystation
from waystation._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Retry
from waystation._core.errors import ConfigurationError, StoreCorrupt, StoreUnavailable, StoreVersion
from waystation._core.message import Message
from waystation._core.ports import Subscription
from waystation._store import database, groups, inspect, leases, maintenance
from waystation._store.claim import claim as claim_topic
from waystation._store.clock import StoreClock
from waystation._store.database import check_file_system, check_sqlite, connect, create, file_system_of
from waystation._store.leases import Member
from waystation._store.log import Log, partition_of
from waystation._store.maintenance import Maintenance
from waystation._store.schema import APPLICATION_ID, PAGE_BYTES, VERSION
from waystation._store.seek import seek
from waystation._store.settle import by_lease, settle

SOURCE = Path(waystation.__file__).parents[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus.db"


@pytest.fixture
def connection(path: Path) -> Iterator[apsw.Connection]:
    create(path)
    opened = connect(path, patient=True)
    yield opened
    opened.close()


# --- what is opened --------------------------------------------------------------------------------------------


def test_a_new_file_is_the_owners_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        create(path)
        connection = connect(path, patient=True)
        connection.execute("INSERT INTO bus_topic (name) VALUES ('t')")
        made = [path, path.with_name("bus.db-wal"), path.with_name("bus.db-shm")]
        assert [file.stat().st_mode & 0o777 for file in made] == [0o600] * 3
        connection.close()
    finally:
        assert os.umask(before) == 0, "creating a file changed the umask of the process"


def test_threads_that_create_files_at_once_leave_the_umask_as_it_was(tmp_path: Path) -> None:
    before = os.umask(0o022)
    together = threading.Barrier(8)

    def make(number: int) -> None:
        together.wait()
        for turn in range(10):
            create(tmp_path / f"{number}-{turn}.db")

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        assert os.umask(before) == 0o022


def test_a_new_file_has_our_marks_and_page_size(connection: apsw.Connection) -> None:
    assert connection.pragma("application_id") == APPLICATION_ID
    assert connection.pragma("user_version") == VERSION
    assert connection.pragma("page_size") == PAGE_BYTES
    assert connection.pragma("auto_vacuum") == 2, "space could never be given back"
    assert connection.pragma("integrity_check") == "ok"


def test_creating_a_file_that_is_there_changes_nothing(path: Path) -> None:
    create(path)
    before = path.read_bytes()
    create(path)
    assert path.read_bytes() == before


def test_an_empty_file_is_as_good_as_none(path: Path) -> None:
    path.touch()
    create(path)
    connect(path, patient=True).close()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere does not exist"):
        create(tmp_path / "nowhere" / "bus.db")
    assert not (tmp_path / "nowhere").exists()


def test_a_newer_schema_is_refused_and_left_alone(path: Path, connection: apsw.Connection) -> None:
    connection.pragma("user_version", VERSION + 1)
    with pytest.raises(StoreVersion, match=f"schema {VERSION + 1}"):
        create(path)
    assert connection.pragma("user_version") == VERSION + 1


@pytest.mark.parametrize("version", [0, VERSION, VERSION + 1])
def test_another_programs_database_is_refused_and_not_touched(path: Path, version: int) -> None:
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE users (name TEXT)")
    theirs.execute(f"PRAGMA user_version = {version}")
    theirs.commit()
    theirs.close()
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="another program"):
        create(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"garbage " * 1000, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_of_garbage_is_refused_and_not_touched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match="keep a copy"):
        create(path)
    assert path.read_bytes() == content


def test_a_path_that_is_a_folder_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        create(path)


def test_threads_may_create_one_file_at_once(tmp_path: Path) -> None:
    errors: list[Exception] = []

    def make(path: Path, together: threading.Barrier) -> None:
        together.wait()
        try:
            create(path)
        except Exception as error:  # noqa: BLE001 - the main thread tells
            errors.append(error)

    for turn in range(20):
        together = threading.Barrier(4)
        path = tmp_path / f"{turn}.db"
        threads = [threading.Thread(target=make, args=(path, together)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []


def test_eight_processes_may_create_the_file_at_once(path: Path) -> None:
    code = "import sys; from pathlib import Path; from waystation._store.database import create, connect;"
    code += "sys.stdin.read(); path = Path(sys.argv[1]); create(path); connect(path, patient=True)"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        for _ in range(8)
    ]
    for process in processes:  # all have been started before the first may go on
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    errors = [process.communicate()[1].decode() for process in processes]
    assert not any(errors), errors
    connection = connect(path, patient=True)
    assert connection.pragma("integrity_check") == "ok"
    assert (connection.pragma("page_size"), connection.pragma("auto_vacuum")) == (PAGE_BYTES, 2)
    connection.close()


# --- where, and with which SQLite ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.s3fs"])
def test_network_file_systems_are_refused(path: Path, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=kind):
        check_file_system(path, kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "apfs", "tmpfs", "overlay", "zfs", "fuseblk", ""])
def test_local_file_systems_are_taken(path: Path, kind: str) -> None:
    check_file_system(path, kind)


def test_the_file_system_is_asked_for_when_a_file_is_created(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "file_system_of", lambda _: "nfs4")
    with pytest.raises(ConfigurationError, match="network"):
        create(path)
    assert not path.exists()


@pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="no /proc/self/mounts here")
def test_the_kernel_says_which_file_system_it_is() -> None:
    assert file_system_of(Path("/proc/self")) == "proc"
    assert file_system_of(Path("/process")) != "proc"


def test_what_is_mounted_last_over_a_place_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    table = "/dev/a / ext4 rw 0 0\n/dev/b /data ext4 rw 0 0\nhost:/x /data nfs4 rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: table)
    assert file_system_of(Path("/data/bus.db")) == "nfs4"
    assert file_system_of(Path("/database")) == "ext4"


@given(st.tuples(st.just(3), st.integers(7, 60), st.integers(0, 12)))
def test_exactly_the_sqlite_versions_with_the_wal_reset_bug_are_refused(
    version: tuple[int, int, int],
) -> None:
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    if fixed:
        check_sqlite(version)
    else:
        with pytest.raises(StoreVersion, match="pip install -U apsw"):
            check_sqlite(version)


# --- settings ----------------------------------------------------------------------------------------------------


def test_settings_are_in_force_and_not_only_asked_for(path: Path) -> None:
    create(path)
    connection = connect(path, patient=False)
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 1  # NORMAL: what needs a flush is flushed after its commit
    assert not connection.pragma("mmap_size")
    assert connection.pragma("foreign_keys") == 1
    assert connection.pragma("trusted_schema") == 0
    assert connection.pragma("wal_autocheckpoint") == 0
    connection.close()


def test_the_impatient_do_not_wait_and_the_patient_do(path: Path, connection: apsw.Connection) -> None:
    other = connect(path, patient=False)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(apsw.BusyError):
        other.execute("BEGIN IMMEDIATE")
    database.set_patience(other, patient=True)
    timer = threading.Timer(0.02, lambda: connection.execute("ROLLBACK"))
    timer.start()
    other.execute("BEGIN IMMEDIATE")
    timer.join()
    other.close()


def test_the_wait_for_a_lock_has_an_end(
    path: Path, connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "STORE_BUSY_S", 0.01)
    connection.execute("BEGIN IMMEDIATE")
    other = connect(path, patient=True)
    with pytest.raises(StoreUnavailable, match="stayed locked"), database.translated(path):
        other.execute("BEGIN IMMEDIATE")
    other.close()


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (apsw.NotADBError("x"), StoreCorrupt),
        (apsw.CorruptError("x"), StoreCorrupt),
        (apsw.FullError("x"), StoreUnavailable),
        (apsw.BusyError("x"), StoreUnavailable),
        (apsw.CantOpenError("x"), StoreUnavailable),
        (apsw.IOError("x"), StoreUnavailable),
    ],
)
def test_every_error_of_sqlites_becomes_ours_and_names_the_file(error: apsw.Error, ours: type) -> None:
    translated = database.translate(error, Path("/data/bus.db"))
    assert isinstance(translated, ours)
    assert "/data/bus.db" in str(translated)


# --- damage ------------------------------------------------------------------------------------------------------


@contextmanager
def writing(connection: apsw.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")


def send(connection: apsw.Connection, *batches: list[Message]) -> None:
    for batch in batches:
        with writing(connection):
            Log(connection).append(batch, now=1.0)


def declare(connection: apsw.Connection, group: str = "g") -> int:
    with writing(connection):
        return groups.declare(connection, Log(connection), Subscription(pattern="t", group=group))


def claim(connection: apsw.Connection, group: int, limit: int, now: float = 2.0) -> list[Delivery]:
    with writing(connection):
        member = Member(group, "1-x", ordered=True, careful=True)
        return claim_topic(Log(connection), connection, member, 1, limit, now, now + 10).deliveries


def claim_all(connection: apsw.Connection, group: int, limit: int = 100, now: float = 2.0) -> list[str]:
    """Claim and accept until nothing comes; return the ids."""
    found: list[str] = []
    for _ in range(20):
        deliveries = claim(connection, group, limit, now)
        with writing(connection):
            settle(connection, by_lease([(delivery, ACCEPT) for delivery in deliveries]), now=2.0)
        found += [delivery.message.id for delivery in deliveries]
    return found


def flip_a_bit(connection: apsw.Connection, segment: int) -> None:
    data = bytearray(connection.execute("SELECT messages FROM bus_segment WHERE id = ?", (segment,)).get)
    data[len(data) // 2] ^= 0x10
    connection.execute("UPDATE bus_segment SET messages = ? WHERE id = ?", (bytes(data), segment))


@pytest.mark.parametrize("segment", [1, 2, 3])
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_a_flipped_bit_is_found_and_its_neighbours_are_delivered(
    connection: apsw.Connection, segment: int, limit: int
) -> None:
    batches = [[Message(f"m{n}{i}", "t", b"body", key="k") for i in range(2)] for n in (1, 2, 3)]
    send(connection, *batches)
    groups_declared = [declare(connection, "g"), declare(connection, "h")]
    flip_a_bit(connection, segment)
    whole = [message.id for batch in batches for message in batch if not message.id.startswith(f"m{segment}")]
    for group in groups_declared:
        assert claim_all(connection, group, limit) == whole
    dead = inspect.dead(connection, None, 10, 0)
    assert [info.group for info in dead] == ["g", "h"], "one dead letter for each group"
    assert all(info.reason.startswith("corrupt") for info in dead)
    assert all(info.lag == 0 for info in inspect.groups(connection, 2.0))


def test_what_was_settled_behind_a_damaged_segment_does_not_come_again(connection: apsw.Connection) -> None:
    # Found by reading: a range that ends early, before the damage, and of which everything is blocked by its key.
    same = next(key for key in map(str, range(100)) if partition_of(key) == partition_of("k"))
    batches = [Message("m0", "t", b"", key="k"), Message("m1", "t", b"", key="k")]
    batches += [Message("m2", "t", b"", key=same), Message("m3", "t", b"", key=same)]
    send(connection, *[[message] for message in batches])
    group = declare(connection)
    first, second, third, last = claim(connection, group, 4)
    with writing(connection):
        settle(connection, by_lease([(first, Retry(100.0)), (last, ACCEPT)]), now=2.0)
        settle(connection, by_lease([(second, RELEASE), (third, RELEASE)]), now=2.0)
    flip_a_bit(connection, 3)
    assert claim_all(connection, group, 1) == []
    assert [info.lag for info in inspect.groups(connection, 2.0)] == [2]
    assert claim_all(connection, group, 1, now=200.0) == ["m0", "m1"]


def test_an_owner_that_died_over_a_damaged_segment_leaves_the_rest(connection: apsw.Connection) -> None:
    send(connection, *[[Message(f"m{n}", "t", b"body", key="k")] for n in range(4)])
    group = declare(connection)
    assert len(claim(connection, group, 4)) == 4
    flip_a_bit(connection, 2)
    with writing(connection):
        assert leases.release_process(connection, 1) == 1
    assert claim_all(connection, group) == ["m0", "m2", "m3"]
    assert len(inspect.dead(connection, "g", 10, 0)) == 1


def test_a_damaged_segment_can_be_browsed_and_sought_over(connection: apsw.Connection) -> None:
    send(connection, *[[Message(f"m{n}", "t", b"body", key="k", time=float(n))] for n in range(3)])
    declare(connection)
    flip_a_bit(connection, 2)
    shown = inspect.browse(connection, "t", 0, 10)
    assert {offset: message.id for offset, message in shown} == {0: "m0", 1: "damaged", 2: "m2"}
    moment = datetime.fromtimestamp(1.0, tz=UTC)
    with writing(connection):
        assert seek(connection, "g", "t", moment, 2.0)


def flip_a_bit_of_a_row(connection: apsw.Connection, table: str) -> None:
    damaged = bytearray(connection.execute(f"SELECT message FROM bus_{table}").get)
    damaged[-3] ^= 0x10
    connection.execute(f"UPDATE bus_{table} SET message = ?", (bytes(damaged),))


def test_a_damaged_row_is_delivered_as_such_and_its_key_goes_on(connection: apsw.Connection) -> None:
    send(connection, [Message(f"m{n}", "t", b"a body", key="k") for n in range(3)])
    group = declare(connection)
    first, second, third = claim(connection, group, 3)
    with writing(connection):
        settle(connection, by_lease([(first, Retry(0.0)), (second, RELEASE), (third, RELEASE)]), now=2.0)
    flip_a_bit_of_a_row(connection, "pending")
    (damaged,) = claim(connection, group, 10)
    assert damaged.error is not None
    assert damaged.message.body != b"a body", "a wrong body was shown as if it were right"
    assert damaged.attempt == 2
    with writing(connection):
        settle(connection, by_lease([(damaged, DeadLetter("damaged"))]), now=2.0)
    assert claim_all(connection, group) == ["m1", "m2"]
    assert len(inspect.dead(connection, "g", 10, 0)) == 1


def test_a_damaged_dead_letter_can_still_be_listed_and_purged(connection: apsw.Connection) -> None:
    send(connection, [Message("m0", "t", b"a body")])
    (delivery,) = claim(connection, declare(connection), 1)
    with writing(connection):
        settle(connection, by_lease([(delivery, DeadLetter("bad"))]), now=2.0)
    flip_a_bit_of_a_row(connection, "dead")
    (info,) = inspect.dead(connection, None, 10, 0)
    assert (info.message.id, info.reason) == ("damaged", "bad")
    assert inspect.purge_dead(connection, [info.number]) == 1


def test_a_damaged_schedule_is_put_aside_and_keeps_nobody_waiting(
    connection: apsw.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    send(connection, [Message("m0", "t", b"a body", deliver_at=5.0)])
    flip_a_bit_of_a_row(connection, "scheduled")
    send(connection, [Message("m1", "t", b"a body", deliver_at=5.0)])
    group = declare(connection)
    for _ in range(2):
        with writing(connection):
            Log(connection).promote_due(6.0, 100)
    assert claim_all(connection, group, now=6.0) == ["m1"]
    assert len(caplog.records) == 1
    assert [info.message.id for info in inspect.scheduled(connection, 10)] == ["damaged"]


# --- growth ------------------------------------------------------------------------------------------------------


@pytest.fixture
def keeper(path: Path, connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Maintenance]:
    """Maintenance with limits that a test can reach."""
    monkeypatch.setattr(database, "WAL_CHECKPOINT_BYTES", 512 * 1024)
    monkeypatch.setattr(maintenance, "WAL_ALARM_BYTES", 2 * 1024 * 1024)
    monkeypatch.setattr(maintenance, "_CHECKPOINT_PAUSE_S", 0.0)
    keeper = Maintenance(path, StoreClock(lambda: 1.0, lambda: 0.0), path.with_name("lock"))
    yield keeper
    keeper.close()


@pytest.fixture
def other(path: Path, connection: apsw.Connection) -> Iterator[apsw.Connection]:
    """The connection on which maintenance works when a test calls it."""
    opened = connect(path, patient=False)
    yield opened
    opened.close()


@pytest.fixture
def reader(path: Path, connection: apsw.Connection) -> Iterator[apsw.Cursor]:
    """A read transaction that stays open until the cursor is closed."""
    opened = connect(path, patient=True)
    cursor = opened.execute("SELECT count(*) FROM bus_topic UNION ALL SELECT 2 UNION ALL SELECT 3")
    next(cursor)
    yield cursor
    opened.close()


def load(connection: apsw.Connection, megabytes: int, turn: Callable[[], object] = lambda: None) -> None:
    """Write so much, in commits of a quarter of it."""
    for _ in range(megabytes * 4):
        send(connection, [Message("m", "t", b"x" * (256 * 1024))])
        turn()


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for another thread."""
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail(what)


def test_the_write_ahead_log_stays_short_under_load(
    path: Path, connection: apsw.Connection, keeper: Maintenance, other: apsw.Connection
) -> None:
    rung = threading.Event()
    writer = connect(path, patient=True, on_long_wal=rung.set)
    sizes = []

    def maintain() -> None:
        sizes.append(keeper.wal_bytes())
        if rung.is_set():
            rung.clear()
            keeper._checkpoint(other)

    load(writer, 8, maintain)
    assert max(sizes) < 2 * 1024 * 1024
    assert path.stat().st_size > 6 * 1024 * 1024, "nothing was written back"
    writer.close()


def test_a_nudge_wakes_the_thread_that_checkpoints(
    path: Path, connection: apsw.Connection, keeper: Maintenance
) -> None:
    load(connection, 1)
    before = path.stat().st_size
    keeper.nudge()
    eventually(lambda: path.stat().st_size >= before + 1024 * 1024, "the log was not written back")


def test_a_long_reader_is_reported_once_and_forgotten_when_it_ends(
    connection: apsw.Connection,
    keeper: Maintenance,
    other: apsw.Connection,
    reader: apsw.Cursor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    load(connection, 3, lambda: keeper._checkpoint(other))
    assert keeper.wal_bytes() > 3 * 1024 * 1024
    assert [record.message.partition(":")[2] for record in caplog.records] == [
        f" process {os.getpid()} reads without end and keeps it from shrinking"
    ]
    reader.close()
    keeper._checkpoint(other)
    assert keeper.wal_bytes() == 0
    assert not keeper._alarmed


def test_a_long_reader_does_not_keep_writers_waiting(
    connection: apsw.Connection,
    keeper: Maintenance,
    reader: apsw.Cursor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A checkpoint holds the write lock while it waits for readers.
    load(connection, 1)
    monkeypatch.setattr(database, "STORE_BUSY_S", 0.5)
    database.set_patience(connection, patient=True)
    tried = keeper._prevented

    def commit_and_nudge() -> bool:
        keeper.nudge()
        send(connection, [Message("m", "t", b"x")])  # raises when the lock is held for too long
        return keeper._prevented > tried

    eventually(commit_and_nudge, "no checkpoint was tried")
    for _ in range(3):
        commit_and_nudge()


def test_settled_messages_are_deleted_and_their_space_is_given_back(
    path: Path, connection: apsw.Connection, keeper: Maintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "_FREE_PAGES_KEPT", 16)
    first, second = declare(connection, "g"), declare(connection, "h")
    load(connection, 4)
    claim_all(connection, first)
    keeper._sweep(connection)
    assert inspect.topics(connection)[0].messages == 16, "the other group is owed them"
    claim_all(connection, second)
    keeper._sweep(connection)
    assert inspect.topics(connection)[0].messages == 0
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    assert path.stat().st_size < 1024 * 1024


def test_only_one_process_maintains_at_a_time(path: Path) -> None:
    lock = path.with_name("lock")
    with maintenance._elected(lock) as first, maintenance._elected(lock) as second:
        assert (first, second) == (True, False)
    with maintenance._elected(path.with_name("lock")) as third:
        assert third
