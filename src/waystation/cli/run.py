"""`waystation run`: handlers at work, in this process or in several."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from waystation import Bus, supervise
from waystation._core.exitcode import ExitCode
from waystation._core.limits import DRAIN_S, KILL_GRACE_S

from .logs import LogFormat, LogLevel, log_to_stderr
from .parameters import seconds_of
from .target import load_bus

_log = logging.getLogger("waystation.run")

_FOLDER = typer.Option(
    "--reload-dir",
    metavar="FOLDER",
    help="Where to look for changes; the current folder unless given.",
    show_default=False,
)


def run(
    context: typer.Context,
    place: Annotated[
        str, typer.Argument(metavar="MODULE:BUS", help="Such as shop:bus, for 'bus' in shop.py.")
    ],
    *,
    processes: Annotated[int, typer.Option("--processes", "-p", metavar="N", min=1, help="How many.")] = 1,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew when a Python file changes.")] = False,
    reload_dir: Annotated[list[Path] | None, _FOLDER] = None,
    drain: Annotated[
        str, typer.Option(metavar="TIME", help="How long handlers may take to finish when it is stopped.")
    ] = f"{DRAIN_S:g}s",
    health: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            envvar="WAYSTATION_HEALTH",
            show_envvar=False,
            show_default=False,
            help="Answer GET /ready and /live here, such as 127.0.0.1:8080; else where WAYSTATION_HEALTH says.",
        ),
    ] = None,
    log_level: Annotated[
        LogLevel, typer.Option(help="Log lines of this level and graver ones.")
    ] = LogLevel.INFO,
    log_format: Annotated[LogFormat, typer.Option(help="For people, or for machines.")] = LogFormat.CONSOLE,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
) -> None:
    """Start the handlers of a bus, and stop them gracefully at SIGTERM or Ctrl-C; a second one forces.

    With several processes a supervisor starts a dead one again: at once, then after pauses that double. It gives up
    when one ends 5 times in a row within 10 s of its start. Exits with 3 if work was abandoned.

    Example: `waystation run shop:bus --processes 2`
    """
    log_to_stderr(log_level, log_format)
    drain_s = seconds_of(drain, "--drain")
    if supervised:
        _end_with_parent(drain_s)
    if reload or reload_dir:
        sys.dont_write_bytecode = (
            True  # as in the processes that are started, so that none reads what is too old
        )
    bus = load_bus(place)
    if processes == 1 and not reload and not reload_dir:
        raise typer.Exit(_run_here(bus, drain_s, health))
    debug = ("--debug",) if (context.parent and context.parent.params.get("debug")) else ()
    child = (
        *(sys.executable, "-m", "waystation.cli", *debug, "run", place, "--supervised"),
        *("--drain", f"{drain_s:.3f}s", "--log-level", log_level.value, "--log-format", log_format.value),
    )
    folders = _folders(reload, reload_dir)
    raise typer.Exit(
        supervise(child, processes=processes, drain=drain_s, reload=folders, bus=bus, health=health)
    )


def loops() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes event loops: uvloop where it is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _run_here(bus: Bus, drain_s: float, health: str | None) -> ExitCode:
    """Run a bus in this process."""
    with asyncio.Runner(loop_factory=loops()) as runner:
        abandoned = runner.run(bus.run(drain=drain_s, health=health))
    return ExitCode.ABANDONED if abandoned else ExitCode.OK


def _folders(reload: bool, folders: Sequence[Path] | None) -> Sequence[Path]:
    if folders:
        return folders
    return [Path.cwd()] if reload else []


def _end_with_parent(drain_s: float) -> None:
    """End this process when its supervisor ends: then its standard input, which only the supervisor holds, ends too.

    A thread waits, so that it works while the program is still being imported, and when its event loop is stuck.
    """

    def wait() -> None:
        while os.read(0, 1024):
            pass
        _log.warning("the supervisor is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(drain_s + KILL_GRACE_S)
        os._exit(ExitCode.ABANDONED)

    threading.Thread(target=wait, name="waystation-supervised", daemon=True).start()
