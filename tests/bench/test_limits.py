"""The raw limits: what two processes do with one file must not depend on which of them is first."""

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from waystation.bench.limits import make_database, open_database


def test_opening_the_raw_log_waits_for_nobody_who_is_at_work_in_it(tmp_path: Path) -> None:
    path = make_database(tmp_path / "raw.db")
    with closing(apsw.Connection(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO log (batch) VALUES (x'00')")
        with open_database(path, "FULL") as database:
            database.set_busy_timeout(0)
            assert database.pragma("journal_mode") == "wal"
            assert database.pragma("page_size") == 16_384
            assert database.execute("SELECT count(*) FROM log").get == 0


def test_a_process_of_the_raw_log_does_not_make_its_file(tmp_path: Path) -> None:
    with pytest.raises(apsw.CantOpenError), open_database(str(tmp_path / "raw.db"), "FULL"):
        pass  # another one would be making it at the same time
