"""`waystation bench`: what is measured, what is printed, what is written; never how fast."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from waystation import ConfigurationError, bench
from waystation.bench import GROUPS, Measurement, main, select
from waystation.bench.processes import scratch_folder
from waystation.bench.report import Figure, MeasurementFailed, summarise
from waystation.bench.scale import Scale

NAMES = [
    *("memory.batch_us", "memory.single_us"),
    *("sqlite.durable.batch", "sqlite.durable.concurrent", "sqlite.durable.1k"),
    *("sqlite.latency.p50_ms", "sqlite.latency.p99_ms", "sqlite.idle.cpu", "sqlite.backlog.ratio", "rss_mib"),
    *("tcp.rtt.sequential", "tcp.rtt.pipelined", "tcp.oneway.batch", "tcp.oneway.concurrent"),
    *("tcp.served.ratio", "tcp.idle_kib", "tcp.idle.p99_us"),
]


def names(group: str | None, only: str | None) -> list[str]:
    return [name for measurement in select(group, only) for name in measurement.names]


def test_every_documented_figure_is_measured() -> None:
    assert names(None, None) == NAMES


def test_a_group_and_a_figure_can_be_chosen() -> None:
    assert names("memory", None) == NAMES[:2]
    assert names(None, "sqlite.idle.cpu") == ["sqlite.idle.cpu"]


@pytest.mark.parametrize(("group", "only"), [("mysql", None), (None, "memory.batch"), ("memory", "rss_mib")])
def test_an_unknown_group_or_figure_is_refused(group: str | None, only: str | None) -> None:
    with pytest.raises(ConfigurationError, match="use one of"):
        main(group=group, only=only, quick=True, json_path=None)


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        main(group=None, only=None, quick=True, json_path=tmp_path / "none" / "bench.json")


def test_a_figure_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    assert main(group=None, only="memory.batch_us", quick=True, json_path=path) == 0
    out = capsys.readouterr().out
    assert "cores" in out.splitlines()[0]
    assert "memory.batch_us" in out
    (figure,) = json.loads(path.read_bytes())
    assert figure["name"] == "memory.batch_us"
    assert figure["ratio"] == pytest.approx(figure["value"] / figure["limit"])


def test_a_failed_measurement_is_told_and_the_others_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(scale: Scale) -> Iterator[Figure]:
        raise MeasurementFailed("3 sent, 2 arrived")
        yield

    def whole(scale: Scale) -> Iterator[Figure]:
        yield summarise("whole", "s", [1.0])

    group = (Measurement(("broken",), broken), Measurement(("whole",), whole))
    monkeypatch.setitem(GROUPS, "test", group)
    path = tmp_path / "bench.json"
    assert bench.main(group="test", only=None, quick=True, json_path=path) == 1
    assert "broken failed: 3 sent, 2 arrived" in capsys.readouterr().err
    assert [figure["name"] for figure in json.loads(path.read_bytes())] == ["whole"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_benchmark_that_is_told_to_end_takes_its_scratch_folder_along(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    folders = list[Path]()

    def told(scale: Scale) -> Iterator[Figure]:
        with scratch_folder() as folder:
            folders.append(folder)
            os.kill(os.getpid(), number)
            yield summarise("told", "s", [1.0])

    monkeypatch.setitem(GROUPS, "test", (Measurement(("told",), told),))
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as exit_info:
        main(group="test", only=None, quick=True, json_path=None)
    assert exit_info.value.code == 128 + number
    assert signal.getsignal(number) is before
    assert not folders[0].exists()
