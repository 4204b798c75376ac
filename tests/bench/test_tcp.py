"""`waystation bench tcp`: every figure is measured between real processes, at a tiny scale; never how fast."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from waystation.bench import peers, tcp, tcp_idle, tcp_served
from waystation.bench.contenders import BUS, told_per_s
from waystation.bench.processes import Worker
from waystation.bench.report import Figure, MeasurementFailed
from waystation.bench.scale import QUICK, Scale

TINY = replace(
    QUICK,
    rounds=1,
    batch=3_000,
    concurrent=2_000,
    tcp_in_turn=20,
    tcp_together=300,
    tcp_peers=20,
    tcp_idle=20,
)


@pytest.mark.parametrize("measure", [tcp.rtt_sequential, tcp.rtt_pipelined, tcp.oneway_batch])
def test_a_figure_stands_beside_its_limit_and_its_peers(
    measure: Callable[[Scale], Iterator[Figure]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "PEERS", {"asyncio streams": peers.PEERS["asyncio streams"]})
    (figure,) = measure(TINY)
    assert figure.value > 0
    assert figure.limit is not None
    assert figure.ratio == pytest.approx(figure.value / figure.limit)
    assert figure.peers["asyncio streams"] > 0


def test_publishing_from_many_tasks_stands_beside_its_limit() -> None:
    (figure,) = tcp.oneway_concurrent(TINY)
    assert figure.value > 0
    assert figure.ratio is not None


def test_a_served_store_stands_beside_the_same_one_in_the_file_system() -> None:
    (figure,) = tcp_served.served_ratio(TINY)
    assert figure.value > 0
    assert figure.unit == "of sqlite.durable.batch"


def test_idle_connections_are_counted_and_an_honest_client_is_timed_beside_them() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    size, latency = tcp_idle.idle(TINY)
    assert size.unit == "KiB each of 20 idle"
    assert size.limit is not None
    assert latency.value > 0
    assert latency.ratio is not None
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_fewer_idle_connections_are_made_where_fewer_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_idle, "open_files_max", lambda: tcp_idle.OTHER_FILES_COUNT + 15)
    size, _ = tcp_idle.idle(TINY)
    assert size.unit == "KiB each of 10 idle"


def test_the_idle_connections_are_really_there() -> None:
    with BUS.worker("answer", port=0) as server:
        port = server.answer()
        before = connections(server)
        with BUS.worker("hold", port=port, count=7) as holder:
            holder.answer()
            assert connections(server) == before + 7
            holder.go()
        server.go()


def test_messages_that_come_twice_fail_the_measurement(capfd: pytest.CaptureFixture[str]) -> None:
    with BUS.worker("take", port=0, total=10) as taker:
        port = taker.answer()
        for _ in range(2):
            with BUS.worker("tell", port=port, total=5) as teller:
                teller.answer()
                teller.go()
                teller.answer()
        with pytest.raises(MeasurementFailed, match="'bus-take' ended early"):
            taker.answer()
    assert "10 orders were sent; 10 arrived, with checksum 20" in capfd.readouterr().err


def test_the_memory_of_a_process_is_told_and_that_of_a_dead_one_is_not() -> None:
    assert tcp_idle.rss_kib(os.getpid()) > 5_000
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    with pytest.raises(MeasurementFailed, match="nobody says"):
        tcp_idle.rss_kib(dead.pid)


def test_everything_that_is_published_is_handled() -> None:
    assert told_per_s(BUS, 2_500) > 0


def connections(server: Worker) -> int:
    """How many sockets a process has, on Linux."""
    folder = Path(f"/proc/{server.pid}/fd")
    if not folder.exists():
        pytest.skip("only Linux shows the sockets of a process")
    return sum(os.readlink(entry).startswith("socket:") for entry in folder.iterdir())
