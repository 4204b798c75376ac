"""The README's first screen, played: the program and the commands that it shows, with the output that it shows."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

#: From the first program to the next heading.
SCREEN = README[README.index("## A message outlives its worker") : README.index("## Set up")]

WAYSTATION = (sys.executable, "-m", "waystation.cli")


def publish(folder: Path, order: str) -> None:
    command = re.search(rf"\$ waystation (publish .+ '.*{order}.*')", SCREEN)
    assert command is not None, "the README publishes this order"
    arguments = [argument.strip("'") for argument in re.findall(r"'[^']*'|\S+", command[1])]
    done = subprocess.run([*WAYSTATION, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    assert done.stdout.endswith("FLUSHED\n")


@contextmanager
def worker(folder: Path, printed: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*WAYSTATION, "run", "shop:bus"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        printed.extend(line.rstrip() for line in process.communicate()[0].splitlines())


def read_until(process: subprocess.Popen[str], words: str, printed: list[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        printed.append(line.rstrip())
        if words in line:
            return
    pytest.fail(f"the worker ended before it printed {words!r}:\n" + "\n".join(printed))


def masked(line: str) -> str:
    """A line without what differs from run to run: the time, the process, the drawn delay."""
    line = re.sub(r"^\d\d:\d\d:\d\d\.\d{3} ", "TIME ", line)
    return re.sub(r"again in [\d.]+ s", "again in N s", re.sub(r"\[\d+\]", "[PID]", line))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_the_first_screen_shows_what_happens(tmp_path: Path, end: signal.Signals) -> None:
    program = re.search(r"```python\n(.*?)```", SCREEN, re.DOTALL)
    assert program is not None
    (tmp_path / "shop.py").write_text(program[1])
    printed: list[str] = []
    with worker(tmp_path, printed) as first:
        read_until(first, "running", printed)
        publish(tmp_path, "A-1")
        read_until(first, "charged 9.5 for A-1", printed)
        first.send_signal(end)
        assert first.wait() == (0 if end is signal.SIGINT else -signal.SIGKILL)
    publish(tmp_path, "A-2")
    with worker(tmp_path, printed) as second:
        read_until(second, "charged 12.0 for A-2", printed)
    blocks = re.findall(r"(?<!-->\n)```console\n(.*?)```", SCREEN, re.DOTALL)
    shown = {masked(line) for block in blocks for line in block.splitlines() if not line.startswith("$")}
    assert len(shown) >= 5, "the README shows output"
    missing = shown - {masked(line) for line in printed}
    assert not {line for line in missing if end is signal.SIGINT or "stop" not in line}
