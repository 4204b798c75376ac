"""`waystation demo`."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    quick: Annotated[bool, typer.Option("--quick", help="The first part of the year only.")] = False,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The medium, such as tcp://127.0.0.1:7400; a temporary SQLite file unless given.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Replay 336,776 real departures through a store, kill a worker on the way, and check what arrived.

    Example: `waystation demo --quick`
    """
    from waystation.demo import main

    raise typer.Exit(main(quick=quick, url=url))
