"""Who keeps the write-ahead log from shrinking: a real reader in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from waystation._core.message import Message
from waystation._store import maintenance
from waystation._store.clock import StoreClock
from waystation._store.database import connect, create
from waystation._store.log import Log
from waystation._store.maintenance import Maintenance
from waystation._store.readers import readers_of

READER = (
    "import apsw, sys; c = apsw.Connection(sys.argv[1]); c.execute('BEGIN'); "
    "c.execute('SELECT count(*) FROM bus_topic').get; print('reading', flush=True); sys.stdin.read()"
)


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who reads")
def test_a_process_that_reads_without_end_is_named_and_the_log_recovers_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(maintenance, "WAL_ALARM_BYTES", 256 * 1024)
    monkeypatch.setattr(maintenance, "_CHECKPOINT_PAUSE_S", 0.0)
    path = tmp_path / "bus.db"
    create(path)
    connection, other = connect(path, patient=True), connect(path, patient=False)
    keeper = Maintenance(path, StoreClock(lambda: 1.0, lambda: 0.0), tmp_path / "lock")
    command = [sys.executable, "-c", READER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        connection.execute("BEGIN IMMEDIATE")
        Log(connection).append([Message("m", "t", b"x")], 1.0)
        connection.execute("COMMIT")
        assert child.stdout.readline() == b"reading\n"
        assert readers_of(path) == [child.pid]
        for _ in range(4):
            connection.execute("BEGIN IMMEDIATE")
            Log(connection).append([Message("m", "t", b"x" * 256 * 1024)], 1.0)
            connection.execute("COMMIT")
            keeper._checkpoint(other)
        assert [f"process {child.pid} reads" in record.message for record in caplog.records] == [True]
        assert keeper.wal_bytes() > 256 * 1024
        child.communicate()
    assert readers_of(path) == []
    keeper._checkpoint(other)
    assert keeper.wal_bytes() == 0
    keeper.close()
    connection.close()
    other.close()
