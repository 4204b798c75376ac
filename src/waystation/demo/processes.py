"""The demo's child processes: `waystation run` for the application's parts, and the feeder.

Each has a session of its own, so that Ctrl-C reaches the director alone, and writes to a log in the demo's folder, so
that a live view is not written over. Its standard input is a pipe that ends when the director does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path
from typing import Final, Self

from .app import EFFECTS_VARIABLE, URL_VARIABLE

#: How long a process may take to drain once it was asked to end, in seconds.
STOP_S_MAX: Final = 15.0

#: Lines of a log that are shown when its process failed.
LOG_LINES_SHOWN: Final = 15

_BUSES: Final = "waystation.demo.buses"
_FEEDER: Final = "waystation.demo.feeder"


class DemoFailed(Exception):
    """The demo could not come to its end; the sentence says why."""


class Crew:
    """All child processes; a context manager. Leaving it ends them.

    Args:
        url: The bus's URL; each child finds it in its environment.
        effects_url: That of the database for what the handlers keep; None: it is in the bus's own medium.
        folder: Where their logs go.
    """

    def __init__(self, url: str, effects_url: str | None, folder: Path) -> None:
        self._environment = {**os.environ, URL_VARIABLE: url}
        if effects_url is not None:
            self._environment[EFFECTS_VARIABLE] = effects_url
        self._folder = folder
        self._children: dict[str, Process] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(_end(child) for child in self._children.values()))

    async def run(self, part: str, *, processes: int = 1) -> None:
        """Start `waystation run` for one part of the application."""
        place = f"{_BUSES}:{part}_bus"
        await self._start(part, "waystation.cli", "run", place, "--supervised", "--processes", str(processes))

    async def feed(self, limit: int | None) -> None:
        """Start the feeder."""
        await self._start("feeder", _FEEDER, str(limit or 0))

    def let_feeder_go_on(self) -> None:
        """Let the feeder publish its next part."""
        pipe = self._children["feeder"].stdin
        assert pipe is not None
        pipe.write(b"go on\n")

    @property
    def fed(self) -> bool:
        """Whether the feeder has published everything."""
        return self._children["feeder"].returncode == 0

    def check(self) -> None:
        """Do nothing while every process is well.

        Raises:
            DemoFailed: One ended before it was asked to; the sentence ends with the last lines of its log.
        """
        for name, child in self._children.items():
            status = child.returncode
            if status is not None and (name, status) != ("feeder", 0):
                raise DemoFailed(f"the process {name!r} ended with status {status}:\n{self._log(name)}")

    async def _start(self, name: str, module: str, *arguments: str) -> None:
        with self._log_path(name).open("wb") as log:
            self._children[name] = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, *arguments),
                stdin=PIPE,
                stdout=log,
                stderr=STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def _log_path(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _log(self, name: str) -> str:
        lines = self._log_path(name).read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LOG_LINES_SHOWN:])


async def _end(child: Process) -> None:
    """Ask a process to end, and end it if it does not. Cancelling ends it at once."""
    assert child.stdin is not None
    if child.returncode is None:
        child.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S_MAX):
            await child.wait()
    except TimeoutError:
        pass
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        child.stdin.close()
