"""The commands, put together: one module per family, errors in one place."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from waystation import WaystationError, __version__
from waystation._core.exitcode import exit_code

from . import bench, dead, demo, doctor, inspection, publish, request, run, schedule, tail
from .output import complain, say

EPILOG = (
    "Exit status: 0 done, 1 failed or nothing found, 2 wrong usage or configuration, 3 stopped with work abandoned, "
    "4 request not answered, 5 request answered with an error. "
    "TARGET is a URL or MODULE:BUS; set WAYSTATION_URL to leave it out."
)


class Commands(TyperGroup):
    """A group of commands that tells Waystation's errors, and those of the system, in a sentence."""

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except (WaystationError, OSError) as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            complain(str(error) or type(error).__name__)
            raise typer.Exit(exit_code(error)) from error


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
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    run_it, look, repair, measure = "Run", "Look", "Repair", "Measure"
    app.command("run", rich_help_panel=run_it)(run.run)
    app.command("demo", rich_help_panel=run_it)(demo.demo)
    app.command("publish", rich_help_panel="Send")(publish.publish)
    app.command("request", rich_help_panel="Send")(request.request)
    app.command("tail", rich_help_panel=look)(tail.tail)
    app.command("topics", rich_help_panel=look)(inspection.topics)
    app.command("groups", rich_help_panel=look)(inspection.groups)
    app.command("lag", rich_help_panel=look)(inspection.lag)
    app.add_typer(dead.build(), name="dead", rich_help_panel=repair)
    app.add_typer(schedule.build(), name="schedule", rich_help_panel=repair)
    app.command("doctor", rich_help_panel=measure)(doctor.doctor)
    app.command("bench", rich_help_panel=measure)(bench.bench)
    return app
