"""Processes that outlive whoever started them, and are ended by nobody but by their own number and birth.

A process's number is given to another one day. So its time of birth is kept beside it, and what was not born then is
somebody else's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from .patience import until
from .plan import Process

#: How often a process is asked to end, in seconds: one that is just writing something may refuse, and forget it.
_ASK_AGAIN_S = 1.0

#: How much of the end of a log is told when a server does not start, in bytes.
_LAST_WORDS_BYTES = 2000


class Started(msgspec.Struct, frozen=True):
    """A process that was started.

    Attributes:
        born: When, as the system tells it: with `pid` it is this process and no other.
        port: Where clients connect; None: it only helps the others.
        log: What it says.
    """

    name: str
    pid: int
    born: str
    port: int | None
    log: str


def start(process: Process, folder: Path) -> Started:
    """Start a process in a session of its own, so that no Ctrl-C meant for somebody else reaches it.

    Raises:
        OSError: The program cannot be started.
    """
    log = folder / f"{process.name}.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        process.argv[0],
        process.argv,
        {**os.environ, **process.env},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return Started(process.name, pid, _born(pid) or "", process.port, str(log))


def runs(started: Started) -> bool:
    """Say whether it is still there: this one, not another that was given its number."""
    try:  # what has ended and is a child of ours is there until it is asked for
        os.waitpid(started.pid, os.WNOHANG)
    except ChildProcessError:
        pass
    return _born(started.pid) == started.born


def send(started: Started, number: signal.Signals) -> None:
    """Send a signal; nothing happens if it has ended."""
    if runs(started):
        try:
            os.kill(started.pid, number)
        except ProcessLookupError:
            pass


def end(all_started: Sequence[Started], *, patience_s: float) -> None:
    """End processes in order if that can be done in time, and else at once; those that help the others are the last."""
    nodes = [started for started in all_started if started.port is not None]
    for group in (nodes, [started for started in all_started if started.port is None]):
        deadline = time.monotonic() + patience_s
        for started in group:
            send(started, signal.SIGCONT)
        # All at once: the last of a cluster would wait for a majority that is not there any more.
        while any(runs(started) for started in group) and time.monotonic() < deadline:
            for started in group:
                send(started, signal.SIGTERM)
            soon = min(deadline, time.monotonic() + _ASK_AGAIN_S)
            for started in group:
                gone(started, max(soon - time.monotonic(), 0))
        for started in group:
            kill(started)


def kill(started: Started) -> None:
    """End a process at once, as a power cut would."""
    send(started, signal.SIGKILL)
    gone(started, float("inf"))


def gone(started: Started, patience_s: float) -> bool:
    """Wait for a process to end; say whether it has."""
    return until(lambda: not runs(started), patience_s)


def last_words(log: Path) -> str:
    """Return the end of what a process said, as one line."""
    try:
        text = log.read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _born(pid: int) -> str | None:
    """Return when a process was born, as the system tells it; None: there is none, or it only waits to be buried."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            return None
        # A process of several threads whose first has ended waits for the others, and holds its ports meanwhile.
        buried = fields[0] == "X" or (fields[0] == "Z" and fields[17] in ("0", "1"))
        return None if buried else fields[19]
    try:
        done = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    state, _, born = done.stdout.strip().partition(" ")
    return None if state.startswith("Z") else born.strip()
