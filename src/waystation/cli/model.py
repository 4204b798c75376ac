"""`waystation model …`: queue mathematics on the command line, in human units, one command per question."""

from __future__ import annotations

import typer

from . import model_backlog, model_line, model_queue
from .framework import Family
from .model_options import ModelCommand


def build() -> typer.Typer:
    """Return the group of commands."""
    about = "Compute beforehand: how long, how many, how much."
    app = typer.Typer(cls=Family, help=about, no_args_is_help=True)
    app.command("transfer", cls=ModelCommand)(model_line.transfer_)
    app.command("backlog", cls=ModelCommand)(model_backlog.backlog_)
    app.command("throughput", cls=ModelCommand)(model_line.throughput_)
    app.command("load", cls=ModelCommand)(model_queue.load)
    app.command("queue", cls=ModelCommand)(model_queue.queue_)
    app.command("size", cls=ModelCommand)(model_queue.size)
    app.command("drain", cls=ModelCommand)(model_backlog.drain_)
    return app
