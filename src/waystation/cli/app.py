"""The commands, put together: one module per family, what is common to all in `framework.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from waystation import __version__

from . import (
    bench,
    conform,
    dead,
    demo,
    doctor,
    inspection,
    model,
    moving,
    publish,
    replay,
    request,
    run,
    schedule,
    serve,
    servers,
    tail,
)
from .framework import Command, Commands
from .output import say

EPILOG = (
    "Exit status: 0 done, 1 failed or nothing found, 2 wrong usage or configuration, 3 stopped with work abandoned, "
    "4 request not answered, 5 request answered with an error. "
    "TARGET is a URL or MODULE:BUS; set WAYSTATION_URL to leave it out."
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"waystation {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="WAYSTATION_DEBUG", help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Typed, durable messaging between Python processes."""


def build() -> typer.Typer:
    """Return the whole command line."""
    app = typer.Typer(
        name="waystation",
        cls=Commands,
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    run_it, look, repair, measure = "Run", "Look", "Repair", "Measure"
    app.command("run", cls=Command, rich_help_panel=run_it)(run.run)
    app.command("serve", cls=Command, rich_help_panel=run_it)(serve.serve)
    app.command("up", cls=Command, rich_help_panel=run_it)(servers.start)
    app.command("down", cls=Command, rich_help_panel=run_it)(servers.stop)
    app.command("demo", cls=Command, rich_help_panel=run_it)(demo.demo)
    app.command("bridge", cls=Command, rich_help_panel=run_it)(moving.bridge)
    app.command("publish", cls=Command, rich_help_panel="Send")(publish.publish)
    app.command("send", cls=Command, rich_help_panel="Send")(publish.send)
    app.command("request", cls=Command, rich_help_panel="Send")(request.request)
    app.command("tail", cls=Command, rich_help_panel=look)(tail.tail)
    app.command("topics", cls=Command, rich_help_panel=look)(inspection.topics)
    app.command("groups", cls=Command, rich_help_panel=look)(inspection.groups)
    app.command("lag", cls=Command, rich_help_panel=look)(inspection.lag)
    app.command("replay", cls=Command, rich_help_panel=repair)(replay.replay)
    app.command("move", cls=Command, rich_help_panel=repair)(moving.move)
    app.add_typer(dead.build(), name="dead", rich_help_panel=repair)
    app.add_typer(schedule.build(), name="schedule", rich_help_panel=repair)
    app.command("doctor", cls=Command, rich_help_panel=measure)(doctor.doctor)
    app.command("conform", cls=Command, rich_help_panel=measure)(conform.conform)
    app.command("bench", cls=Command, rich_help_panel=measure)(bench.bench)
    app.add_typer(model.build(), name="model", rich_help_panel=measure)
    return app
