"""A run that processes share: nothing that goes wrong in one of them is taken for success, now or when run again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shares import longest_s

ROOT = Path(__file__).parent.parent

FILES = {
    "test_first.py": "def test_one(): pass",
    "test_second.py": "def test_one(): pass\ndef test_two(): {}\ndef test_three(): pass",
    "test_third.py": "def test_one(): pass",
}


PLUGINS = [word for name in ("xdist.plugin", "pytest_timeout", "tests.shares") for word in ("-p", name)]


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a folder as those of this one are run."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    settings = ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={folder}", "-o", "testpaths="]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *PLUGINS, *settings, *options, str(folder)],
        cwd=ROOT,
        env={**env, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def write(folder: Path, statement: str) -> None:
    for name, text in FILES.items():
        (folder / name).write_text(text.format(statement))


def last_failed(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(folder, "--last-failed", "--last-failed-no-failures", "none")


def test_a_test_that_fails_in_one_process_fails_the_run_and_can_be_run_again(tmp_path: Path) -> None:
    write(tmp_path, "assert False")
    done = run(tmp_path, "--numprocesses", "2")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "1 failed, 4 passed" in done.stdout.splitlines()[-1]
    write(tmp_path, "pass")
    again = last_failed(tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 passed" in again.stdout.splitlines()[-1]


def test_a_process_that_crashes_fails_the_run_and_what_is_run_again(tmp_path: Path) -> None:
    write(tmp_path, "import os; os.kill(os.getpid(), 9)")
    done = run(tmp_path, "--numprocesses", "2")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "crashed while running 'test_second.py::test_two'" in done.stdout
    write(tmp_path, "pass")
    assert last_failed(tmp_path).returncode == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_run_that_breaks_off_fails_as_does_what_is_run_again(tmp_path: Path, processes: str) -> None:
    write(tmp_path, "assert False")
    (tmp_path / "conftest.py").write_text(
        "def pytest_runtest_logfinish(nodeid):\n    assert not nodeid.endswith('test_second.py::test_three')"
    )
    done = run(tmp_path, "--numprocesses", processes)
    assert done.returncode == pytest.ExitCode.INTERNAL_ERROR, done.stdout + done.stderr
    (tmp_path / "conftest.py").unlink()
    write(tmp_path, "pass")
    assert last_failed(tmp_path).returncode == pytest.ExitCode.NO_TESTS_COLLECTED


def test_what_may_take_longest_is_begun_first(request: pytest.FixtureRequest) -> None:
    usual = [item for item in request.session.items if item.path == Path(__file__)]
    assert longest_s(usual, 7.0) == 7.0
    usual[0].add_marker(pytest.mark.timeout(90))
    assert longest_s(usual, 7.0) == 90.0
