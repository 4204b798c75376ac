"""Several processes of one program under one parent: started, started again, reloaded, stopped together.

A child is a command that the operating system runs anew. Nothing is forked, so no open database, lock or thread is
shared. It has a session of its own: Ctrl-C in a terminal reaches the supervisor only, which passes it on once.

A child must not outlive its parent, however that ends. Its standard input is therefore a pipe to which nothing is
ever written and whose other end only the supervisor holds: when it ends, so should the child.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._core.duration import Duration, seconds
from .._core.errors import ConfigurationError
from .._core.exitcode import ExitCode
from .._core.limits import DRAIN_S, KILL_GRACE_S, QUICK_DEATH_S
from .._core.liveness import Health, together
from .._core.ports import Clock
from .._core.restart import Restarts
from .._core.url import parse_address
from .clock import SystemClock
from .health import answering, ask
from .reload import changes
from .signals import stop_signals

if TYPE_CHECKING:
    from .bus import Bus

_log = logging.getLogger("waystation.supervisor")

#: By which a child is told where to answer probes. `waystation run` reads it like its option `--health`.
HEALTH_VARIABLE = "WAYSTATION_HEALTH"

_LOOPBACK = "127.0.0.1"
_PORT_MAX = 65535


def supervise(
    command: Sequence[str],
    *,
    processes: int,
    drain: Duration = DRAIN_S,
    reload: Sequence[Path] = (),
    bus: Bus | None = None,
    health: str | None = None,
) -> int:
    """Keep several processes of a program running until SIGTERM or SIGINT. What `waystation run --processes` does.

    Args:
        command: The program and its arguments. It should stop at SIGTERM, and when its standard input ends.
        drain: What each process is given to stop, before it is killed.
        reload: Folders whose Python files, when they change, make every process start anew.
        bus: Where leases of a process that died are released at once. It is connected only then.
        health: An address such as `127.0.0.1:8080` at which `GET /ready` and `GET /live` are answered for all
            processes. The n-th is told by `WAYSTATION_HEALTH` to answer for itself on loopback, at the port + n.

    Returns:
        An exit status: 0; 1 or 2 if a process could not be kept running; 3 if work was abandoned.

    Raises:
        ConfigurationError: `processes` is under 1, `health` is no address, or this is not the main thread.
    """
    clock, connecting = SystemClock(), asyncio.Lock()

    async def release(pid: int) -> None:
        if bus is not None:
            async with connecting, bus:
                await bus.release_process(pid)

    supervisor = Supervisor(
        command,
        processes=processes,
        clock=clock,
        drain_s=seconds(drain, name="drain"),
        reload=reload,
        release=release,
        health=None if health is None else parse_address(health, name="health"),
    )
    return asyncio.run(supervisor.run())


@dataclass(slots=True)
class _Child:
    """A running process. `asked` is set when it is to end."""

    number: int
    process: Process
    started: float
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    killed: bool = False

    def __str__(self) -> str:
        return f"process {self.number} (pid {self.process.pid})"

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended.

        Not by `Process.send_signal`, which may collect a process that has just ended, and then its status is lost.
        """
        if self.process.returncode is None:
            try:
                os.kill(self.process.pid, number)
            except ProcessLookupError:
                pass  # its end is about to be told


class Supervisor:
    """Keeps `processes` copies of a command running until SIGTERM or SIGINT.

    One that ends unasked is started again, as `_core/restart.py` decides; when that gives up, or a child says that
    its program is wrong (`ExitCode.USAGE`), everything is stopped. The first signal asks every child to drain; one
    that still runs `KILL_GRACE_S` after its deadline is killed. The second is passed on, so that children abandon
    their work.

    Args:
        command: The program and its arguments.
        drain_s: What each child is given to drain, in seconds; it should know the same number.
        reload: Folders whose Python files, when they change, make every child start anew.
        release: Called with the process id of each child that did not end by itself and in order: what it
            held can be given to others. An error is logged.
        health: Host and port at which probes are answered.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        processes: int,
        clock: Clock,
        drain_s: float = DRAIN_S,
        reload: Sequence[Path] = (),
        release: Callable[[int], Awaitable[object]] | None = None,
        health: tuple[str, int] | None = None,
    ) -> None:
        if processes < 1:
            raise ConfigurationError(f"processes={processes} must be 1 or more")
        if health is not None and not 0 < health[1] <= _PORT_MAX - processes:
            raise ConfigurationError(
                f"health at port {health[1]}: {processes} processes need the ports after it"
            )
        self._command = tuple(command)
        self._processes = processes
        self._clock = clock
        self._drain_s = drain_s
        self._reload = tuple(reload)
        self._release = release
        self._health = health
        self._children: dict[int, _Child] = {}
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()
        self._result = ExitCode.OK

    async def run(self) -> ExitCode:
        """Supervise until everything has ended. If this is cancelled, the children are killed.

        Returns:
            `ABANDONED` if a child abandoned work or had to be killed, `FAILURE` or `USAGE` if it gave up.

        Raises:
            ConfigurationError: Not in the main thread, where signals arrive, or probes cannot be answered.
        """
        with stop_signals(self._signalled):
            async with self._answering(), asyncio.TaskGroup() as tasks:
                watcher = tasks.create_task(self._watch())
                numbers = range(1, self._processes + 1)
                await asyncio.wait([tasks.create_task(self._keep(number, tasks)) for number in numbers])
                watcher.cancel()
        _log.info("stopped")
        return self._result

    async def _keep(self, number: int, tasks: asyncio.TaskGroup) -> None:
        """Keep one process running."""
        restarts = Restarts()
        while not self._stopping.is_set():
            child = await self._start(number)
            status = await self._end(child)
            lived_s = self._clock.monotonic() - child.started
            if status != ExitCode.OK:
                tasks.create_task(
                    self._released(child)
                )  # beside the restart: a locked store must not delay it
            if self._stopping.is_set():
                self._note_end(child, status)
            elif not child.asked.is_set():
                restarts = restarts.died(lived_s)
                _log.warning("%s %s, %.1f s after its start", child, _words(status), lived_s)
                await self._after_death(child, status, restarts)
                if restarts.hopeless:
                    restarts = Restarts()  # a changed file gives new hope

    async def _start(self, number: int) -> _Child:
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, start_new_session=True, env=self._environment(number)
        )
        child = self._children[number] = _Child(number, process, self._clock.monotonic())
        if self._stopping.is_set():
            child.asked.set()
        _log.info("%s started", child)
        return child

    def _environment(self, number: int) -> dict[str, str]:
        """Tell a child where to answer probes; and to compile anew what may change while it is being started.

        Python tells a compiled file that is too old by its size and whole seconds, and people save twice in one.
        """
        environment = dict(os.environ)
        if self._health is not None:
            environment[HEALTH_VARIABLE] = f"{_LOOPBACK}:{self._health[1] + number}"
        if self._reload:
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        return environment

    def _answering(self) -> AbstractAsyncContextManager[object]:
        if self._health is None:
            return nullcontext()
        host, port = self._health
        return answering(host, port, self._probe, clock=self._clock)

    async def _probe(self) -> Health:
        """Ask every process; while everything stops, none is ready."""
        assert self._health is not None, "nobody else asks"
        first = self._health[1] + 1
        answers = await asyncio.gather(*(ask(_LOOPBACK, first + n) for n in range(self._processes)))
        found = together({f"process {number}": each for number, each in enumerate(answers, 1)})
        if self._stopping.is_set():
            return replace(found, ready=False, reasons=("stopping", *found.reasons))
        return found

    async def _end(self, child: _Child) -> int:
        """Wait for the end of a child; once it is asked to end, see that it does. Return its status."""
        ended = asyncio.create_task(child.process.wait())
        try:
            await _either(asyncio.wait({ended}), child.asked.wait())
            if not ended.done():
                child.send(signal.SIGTERM)
                await _either(asyncio.wait({ended}), self._patience())
                if not ended.done():
                    _log.error("%s did not end in time: killed", child)
        finally:
            del self._children[child.number]
            if not ended.done():
                child.killed = True
                child.send(signal.SIGKILL)
                await asyncio.wait({ended})
        return ended.result()

    async def _patience(self) -> None:
        """Wait as long as a child that is asked to end may take."""
        await _either(self._clock.sleep(self._drain_s), self._forced.wait())
        await self._clock.sleep(KILL_GRACE_S)

    async def _after_death(self, child: _Child, status: int, restarts: Restarts) -> None:
        """Wait before the next start, or give up. Where files are watched, wait for a change instead."""
        if status != ExitCode.USAGE and not restarts.hopeless:
            if restarts.delay_s:
                _log.info("process %d starts again in %g s", child.number, restarts.delay_s)
                await _either(self._stopping.wait(), self._clock.sleep(restarts.delay_s))
            return
        why = (
            "its program or a URL is wrong"
            if status == ExitCode.USAGE
            else f"it ended {restarts.quick_deaths} times in a row within {QUICK_DEATH_S:g} s of its start"
        )
        if self._reload:
            _log.error("process %d waits for a changed file: %s", child.number, why)
            await _either(self._stopping.wait(), self._changed.wait())
        else:
            _log.error("giving up on process %d: %s", child.number, why)
            self._result = ExitCode.USAGE if status == ExitCode.USAGE else ExitCode.FAILURE
            self._stop()

    async def _released(self, child: _Child) -> None:
        """Let others have what a dead process held, now and not when its leases end."""
        if self._release is None:
            return
        try:
            await self._release(child.process.pid)
        except Exception:  # noqa: BLE001 - whatever a transport raises, the other processes go on
            _log.exception("what %s held waits for the end of its leases", child)

    async def _watch(self) -> None:
        """Start every process anew when a file changes."""
        if not self._reload:
            return
        async for names in changes(self._reload, self._clock):
            _log.info("%s changed: starting anew", ", ".join(names[:3]) + (", …" if names[3:] else ""))
            for child in self._children.values():
                child.asked.set()
            self._changed.set()
            self._changed = asyncio.Event()

    def _signalled(self, number: signal.Signals) -> None:
        if not self._stopping.is_set():
            _log.info("%s: stopping, in %g s at most; a second signal forces", number.name, self._drain_s)
            self._stop()
            return
        _log.warning("%s again: forcing", number.name)
        self._forced.set()
        for child in self._children.values():
            child.send(signal.SIGTERM)

    def _stop(self) -> None:
        self._stopping.set()
        for child in self._children.values():
            child.asked.set()

    def _note_end(self, child: _Child, status: int) -> None:
        """Take the status of a child that was asked to end into the result."""
        _log.info("%s %s", child, _words(status))
        if self._result is not ExitCode.OK:
            return
        if child.killed or status == ExitCode.ABANDONED:
            self._result = ExitCode.ABANDONED
        elif status not in (
            ExitCode.OK,
            -signal.SIGTERM,
        ):  # SIGTERM ends what is still importing: nothing began
            self._result = ExitCode.FAILURE


def _words(status: int) -> str:
    """Say how a process ended."""
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return "abandoned work" if status == ExitCode.ABANDONED else f"ended with status {status}"


async def _either(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until one of them is over, and cancel the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
