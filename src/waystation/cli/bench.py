"""`waystation bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench(
    group: Annotated[
        str | None,
        typer.Argument(
            metavar="[GROUP]",
            help="Only 'memory', 'sqlite' or 'tcp'; 'rabbitmq', 'kafka', 'nats' or 'redis', which start a server of "
            "their own; or a running one: its URL.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only the figure of this name.", show_default=False)
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer and smaller runs: about a minute for each group.")
    ] = False,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write the figures to a file as well.", show_default=False
        ),
    ] = None,
) -> None:
    """Measure, and print each figure beside the limit that the same machine gave in the same run.

    On a broker the limit is its own client at its fastest; other frameworks are measured beside, if they are installed.

    Example: `waystation bench sqlite --quick --json figures.json`
    """
    from waystation.bench import main

    raise typer.Exit(main(group=group, only=only, quick=quick, json_path=json))
