"""What the examples share: programs whose lines are shown as they come, and which are gone at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from types import TracebackType
from typing import Final, Self

#: How long a program may take to end once it was asked to, in seconds.
STOP_S_MAX: Final = 5.0


class Program:
    """A process that runs, and what it prints."""

    def __init__(self, name: str, process: Process) -> None:
        self._name = name
        self._process = process
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._showing = asyncio.create_task(self._show())

    async def until(self, text: str) -> None:
        """Wait until it prints a line with this text.

        Raises:
            EOFError: It ended before it did.
        """
        while line := await self._lines.get():
            if text in line:
                return
        raise EOFError(f"{self._name} ended before it said {text!r}")

    async def end(self) -> int:
        """Wait for its end and its last line; return its exit status."""
        await self._showing
        return await self._process.wait()

    async def stop(self) -> int:
        """Ask it to end, as a service manager does, and return its exit status."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S_MAX):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()
        finally:
            await self._showing

    async def _show(self) -> None:
        assert self._process.stdout is not None, "it was asked for"
        async for line in self._process.stdout:
            text = line.decode()
            print(f"{self._name:>9} | {text.rstrip()}", flush=True)
            self._lines.put_nowait(text)
        self._lines.put_nowait("")


class Stage:
    """The programs of one example; a context manager that ends those that still run.

    Args:
        environment: What each of them finds in its environment, beside what is there already.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self._programs: list[Program] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in self._programs:
            await program.stop()

    async def start(self, name: str, module: str, *arguments: str) -> Program:
        """Start `python -m module`, and show each line that it prints behind its name."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments), env=self._environment, stdout=PIPE, stderr=STDOUT
        )
        program = Program(name, process)
        self._programs.append(program)
        return program


def free_port() -> int:
    """Return a port of this machine at which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def say(text: str) -> None:
    """Show a line of the example itself."""
    print(f"--- {text}", flush=True)
