"""Workers are real processes that end with their benchmark, and the limits are measured between two of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from waystation.bench import limits
from waystation.bench.processes import Worker, ended_in_order, rss_peak_mib, scratch_folder
from waystation.bench.report import MeasurementFailed

#: A benchmark that waits for its worker, which waits for it.
MEASURING = """
from waystation.bench.limits import make_database
from waystation.bench.processes import Worker, ended_in_order, scratch_folder
with ended_in_order(), scratch_folder() as folder:
    with Worker("raw-write", path=make_database(folder / "raw.db"), total=1, size_bytes=128) as worker:
        assert worker.answer() == "ready"
        print(folder, worker.pid, flush=True)
        worker.answer()
"""


def test_a_raw_log_carries_every_order_between_two_processes(tmp_path: Path) -> None:
    assert limits.log_rate(tmp_path, 2_500, 128) > 0


def test_a_raw_signal_is_timed_once_for_each_order(tmp_path: Path) -> None:
    latencies_ms = limits.signal_latencies_ms(tmp_path, 20, per_s=2_000)
    assert len(latencies_ms) == 20
    assert all(latency > 0 for latency in latencies_ms)


def test_a_worker_that_fails_makes_the_measurement_fail(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        Worker("no-such-role") as worker,
        pytest.raises(MeasurementFailed, match="'no-such-role' ended early"),
    ):
        worker.answer()
    assert "KeyError" in capfd.readouterr().err


def test_a_worker_ends_when_the_measurement_is_interrupted(tmp_path: Path) -> None:
    worker = Worker("raw-write", path=limits.make_database(tmp_path / "raw.db"), total=1, size_bytes=128)
    with pytest.raises(KeyboardInterrupt):
        interrupt(worker)
    assert not worker.running


def test_the_scratch_folder_is_removed_with_all_that_is_in_it() -> None:
    with scratch_folder() as folder:
        (folder / "raw.db").write_bytes(b"x")
    assert not folder.exists()


def test_a_process_that_is_told_to_end_takes_its_workers_and_its_folder_along() -> None:
    program = subprocess.Popen([sys.executable, "-c", MEASURING], stdout=subprocess.PIPE, text=True)
    with program:
        assert program.stdout is not None
        folder, worker = program.stdout.readline().split()
        program.terminate()
    assert program.returncode == 128 + signal.SIGTERM
    assert not Path(folder).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(worker), 0)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_in_order():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_peak_of_memory_is_at_least_an_interpreter() -> None:
    assert 5 < rss_peak_mib() < 10_000


def interrupt(worker: Worker) -> None:
    with worker:
        assert worker.answer() == "ready"
        raise KeyboardInterrupt
