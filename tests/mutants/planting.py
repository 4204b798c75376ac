"""Planting a fault in a copy of the source, and running the tests that are there to find it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "waystation"

#: How long the tests of one mutant may take, in seconds. With a fault a thread may wait for ever, and its process too.
PATIENCE_S = 120.0

#: How long they have then to end the servers that they have started, in seconds: RabbitMQ takes a few.
ENDING_S = 15.0


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: in this file, these words are replaced by those; one of these tests must fail.

    Attributes:
        name: What the program does wrong.
        file: Below `src/waystation`.
        words: They occur there as often as `times` says.
        tests: As pytest names them.
    """

    name: str
    file: str
    words: str
    instead: str
    tests: tuple[str, ...]
    times: int = 1

    def planted_in(self, text: str) -> str:
        """Return a file's text with the fault in it.

        Raises:
            LookupError: The file has changed.
        """
        found = text.count(self.words)
        if found != self.times:
            raise LookupError(f"{self.file}: find the words for {self.name!r} anew, they occur {found} times")
        return text.replace(self.words, self.instead)


def is_caught(mutant: Mutant, folder: Path) -> bool:
    """Run a mutant's tests against a copy of the source with its fault.

    Raises:
        RuntimeError: The tests could not be run.
    """
    source = folder / "src"
    shutil.copytree(ROOT / "src", source)  # with what was compiled: only the one file is compiled anew
    file = source / "waystation" / mutant.file
    file.write_text(mutant.planted_in(file.read_text(encoding="utf-8")), encoding="utf-8")
    try:
        return not passes(mutant.tests, source)
    finally:
        shutil.rmtree(source)


def passes(
    tests: Iterable[str], source: Path, options: Sequence[str] = ("-x",), *, patience_s: float = PATIENCE_S
) -> bool:
    """Run tests against a source; say whether all of them pass, and come to an end.

    Raises:
        RuntimeError: They could not be run.
    """
    quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-o", f"pythonpath={source} ."]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *quiet, *options, *tests],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(source)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        end(process)
        return False
    if process.returncode not in (0, 1):
        raise RuntimeError(said)
    return process.returncode == 0


def end(process: subprocess.Popen[str]) -> None:
    """End tests that hang, and let them clear away first."""
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
