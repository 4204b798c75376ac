"""Real processes for measuring between: started, spoken to over their pipes, and ended whatever happens.

The parent sends a line to let a worker go on; the worker answers with lines of JSON. A worker's errors appear on the
parent's stderr as they happen.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any, Self, cast

import msgspec

from .report import MeasurementFailed

#: How long a worker may stay silent, in seconds: filling a store with ten million messages fits in, a hang does not.
SILENCE_S_MAX = 600.0

#: How long a worker may take to end by itself, in seconds.
EXIT_S_MAX = 10.0


class Worker:
    """A process that plays one role of a benchmark; a context manager. Leaving it ends the process.

    Args:
        role: Which of `waystation.bench.worker.ROLES`.
        arguments: Keyword arguments of the role.
    """

    def __init__(self, role: str, **arguments: Any) -> None:
        self._role = role
        self._arguments = msgspec.json.encode(arguments).decode()

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "waystation.bench.worker", self._role, self._arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed:
            self._process.kill()
        self._stdin.close()
        try:
            self._process.wait(EXIT_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def go(self) -> None:
        """Let a worker that waits go on."""
        self._stdin.write(b"go\n")
        self._stdin.flush()

    def answer(self) -> Any:
        """Wait for the worker's next line, and return its value.

        Raises:
            MeasurementFailed: The worker ended instead, or stayed silent for too long.
        """
        watchdog = threading.Timer(SILENCE_S_MAX, self._process.kill)
        watchdog.daemon = True  # a signal may come before it can be cancelled, and nothing should wait for it
        try:
            watchdog.start()
            line = self._stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise MeasurementFailed(
                f"the process {self._role!r} ended early, or was silent for {SILENCE_S_MAX:.0f} s"
            )
        return msgspec.json.decode(line)


class Channel:
    """A worker's end of the pipes."""

    def say(self, value: Any = None) -> None:
        """Send a value to the parent."""
        sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
        sys.stdout.buffer.flush()

    def wait(self) -> None:
        """Block until the parent says to go on.

        Raises:
            MeasurementFailed: The parent is gone.
        """
        if not sys.stdin.buffer.readline():
            raise MeasurementFailed("the parent has ended")

    def ready(self) -> None:
        """Say that everything is prepared, and block until the parent says to go on."""
        self.say("ready")
        self.wait()


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the block as Ctrl-C does, so that workers and scratch folders do not stay behind.

    What is ignored, as SIGHUP under nohup, stays ignored. A second signal ends the process at once.

    Raises:
        SystemExit: With 128 and the signal's number.
    """
    before = {
        number: handler
        for number in (signal.SIGTERM, signal.SIGHUP)
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def end(number: int, _: FrameType | None) -> None:
        restore()
        raise SystemExit(128 + number)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        restore()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder on a disk, and remove it with all that is in it.

    `/var/tmp` outlives a restart and is therefore on a disk, where `/tmp` may be memory and a flush cost nothing.
    """
    disk = Path("/var/tmp")  # noqa: S108 - a private folder inside it
    usable = disk.is_dir() and os.access(disk, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="waystation-bench-", dir=disk if usable else None) as folder:
        yield Path(folder)


def rss_peak_mib() -> float:
    """Return the most memory that this process ever held, in MiB.

    On Linux from its own address space: `ru_maxrss` there begins with what the parent held when it forked.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 / (1024 if sys.platform == "darwin" else 1)
