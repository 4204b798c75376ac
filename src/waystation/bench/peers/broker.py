"""A NATS server of our own, for the peers that need one between their ends."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..processes import EXIT_S_MAX
from ..report import MeasurementFailed

#: How long the server may take to start, in seconds.
START_S_MAX = 10.0


def nats_server_path() -> str | None:
    """Return the server's program: of this environment, or else of the system, if there is one."""
    return shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")


@contextmanager
def nothing_between() -> Iterator[int]:
    """Stand for the broker of those who have none."""
    yield 0


@contextmanager
def nats_server() -> Iterator[int]:
    """Run a server on a free port of this machine; give the port, and end the server whatever happens.

    Raises:
        MeasurementFailed: It did not start.
    """
    path = nats_server_path()
    assert path is not None, "asked for where there is none"
    command = [path, "--addr", "127.0.0.1", "--port", "-1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        try:
            yield _port(server, server.stderr)
        finally:
            server.terminate()
            try:
                server.wait(EXIT_S_MAX)
            except subprocess.TimeoutExpired:
                server.kill()


def _port(server: subprocess.Popen[bytes], log: IO[bytes]) -> int:
    watchdog = threading.Timer(START_S_MAX, server.kill)
    watchdog.daemon = True  # a signal may come before it can be cancelled, and nothing should wait for it
    watchdog.start()
    try:
        port = 0
        for line in log:
            if found := re.search(rb"client connections on 127\.0\.0\.1:(\d+)", line):
                port = int(found[1])
            elif b"Server is ready" in line:
                return port
    finally:
        watchdog.cancel()
    raise MeasurementFailed("the NATS server did not start")
