"""`waystation serve`: a medium of this machine, for programs on others."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from waystation._core.exitcode import ExitCode

from .logs import LogFormat, LogLevel, log_to_stderr
from .run import loops
from .target import bus_at


def serve(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="What to serve: sqlite:///shop.db, or MODULE:BUS for a program's own."
        ),
    ],
    *,
    listen: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Where clients connect, and who is let in. What other machines can reach needs the options tls_cert, "
            "tls_key and token_file, or tls_client_ca.",
        ),
    ] = "tcp://127.0.0.1:7400",
    log_level: Annotated[
        LogLevel, typer.Option(help="Log lines of this level and graver ones.")
    ] = LogLevel.INFO,
    log_format: Annotated[LogFormat, typer.Option(help="For people, or for machines.")] = LogFormat.CONSOLE,
) -> None:
    """Serve a durable store to programs on other hosts, until SIGTERM or Ctrl-C.

    Its clients use `Bus("tcp://HOST:7400")` and have everything that the store has, with the same guarantees.

    Example: `waystation serve sqlite:///shop.db --listen tcp://127.0.0.1:7400`
    """
    log_to_stderr(log_level, log_format)
    bus = bus_at(url)
    with asyncio.Runner(loop_factory=loops()) as runner:
        forced = runner.run(bus.serve(listen))
    raise typer.Exit(ExitCode.ABANDONED if forced else ExitCode.OK)
