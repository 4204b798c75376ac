"""`waystation schedule`: messages that wait for their time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from waystation._core.duration import rfc3339
from waystation._core.inspection import ScheduledInfo

from .framework import Command, Family
from .output import age, body_text, message_row, note, say, show_rows
from .parameters import AsJson, Limit, positional
from .target import Target, inspector_at


def build() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(cls=Family, help="Messages that wait for their time.", no_args_is_help=True)
    app.command("list", cls=Command)(list_scheduled)
    app.command("cancel", cls=Command)(cancel)
    return app


def list_scheduled(target: Target = None, *, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List messages that wait for their time, the next one first.

    Example: `waystation schedule list sqlite:///shop.db`
    """
    (where,) = positional([], target)
    found = asyncio.run(_scheduled(where, limit))
    if as_json:
        rows = [{"due": rfc3339(info.due), "message": message_row(info.message)} for info in found]
    else:
        rows = [
            {
                "id": info.message.id,
                "topic": info.message.topic,
                "due": rfc3339(info.due),
                "in": age(max(0.0, info.due - time.time())),
                "body": body_text(info.message),
            }
            for info in found
        ]
    show_rows(rows, as_json=as_json, empty="nothing is scheduled")


def cancel(
    target: Target = None,
    message_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="As 'schedule list' shows it.", show_default=False)
    ] = None,
) -> None:
    """Delete a message that waits for its time. Exits with 1 if it is not there, or not any more.

    Example: `waystation schedule cancel sqlite:///shop.db 9u2xT0aKq3Zb-1`
    """
    where, wanted = positional(["ID"], target, message_id)
    if not asyncio.run(_cancel(where, wanted)):
        note(f"no message {wanted!r} waits for its time")
        raise typer.Exit(1)
    say(f"{wanted} cancelled")


async def _scheduled(target: str, limit: int) -> Sequence[ScheduledInfo]:
    async with inspector_at(target) as inspector:
        return await inspector.scheduled(limit=limit)


async def _cancel(target: str, message_id: str) -> bool:
    async with inspector_at(target) as inspector:
        return await inspector.cancel_scheduled(message_id)
