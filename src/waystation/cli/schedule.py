"""`waystation schedule`: messages that wait for their time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer

from waystation import ConfigurationError
from waystation._core.duration import rfc3339
from waystation._core.inspection import ScheduledInfo
from waystation._core.topic import check_pattern

from .framework import Command, Family
from .output import age, body_text, message_row, note, say, show_rows
from .parameters import AsJson, Limit, positional, seconds_of
from .target import Target, inspector_at

MessageId = Annotated[
    str | None, typer.Argument(metavar="ID", help="As 'schedule list' shows it.", show_default=False)
]


def build() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(cls=Family, help="Messages that wait for their time.", no_args_is_help=True)
    app.command("list", cls=Command)(list_scheduled)
    app.command("move", cls=Command)(move)
    app.command("cancel", cls=Command)(cancel)
    return app


def list_scheduled(
    target: Target = None,
    *,
    topic: Annotated[
        str | None,
        typer.Option(metavar="TOPIC", help="Only of this topic, or pattern.", show_default=False),
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Only what is due before.", show_default=False)
    ] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List messages that wait for their time, the next one first. WHEN is as in 'schedule move'.

    Example: `waystation schedule list sqlite:///shop.db --topic 'orders.#' --before 1d`
    """
    (where,) = positional([], target)
    pattern = "#" if topic is None else check_pattern(topic)
    found = asyncio.run(_scheduled(where, pattern, None if before is None else _instant(before), limit))
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


def move(
    target: Target = None,
    message_id: MessageId = None,
    when: Annotated[
        str | None,
        typer.Argument(metavar="WHEN", help="A time, or how long from now: 1h.", show_default=False),
    ] = None,
) -> None:
    """Let a message wait for another time. Exits with 1 if it is not there, or not any more.

    WHEN is a time with its zone, such as 2027-01-31T09:00:00+01:00, or how long from now, such as 90s, 2m, 1h or 3d.

    Example: `waystation schedule move sqlite:///shop.db 9u2xT0aKq3Zb-1 2h`
    """
    where, wanted, text = positional(["ID", "WHEN"], target, message_id, when)
    due = _instant(text)
    if not asyncio.run(_move(where, wanted, due)):
        note(f"no message {wanted!r} waits for its time")
        raise typer.Exit(1)
    say(f"{wanted} moved to {rfc3339(due)}")


def cancel(
    target: Target = None,
    message_id: MessageId = None,
) -> None:
    """Delete a message that waits for its time. Exits with 1 if it is not there, or not any more.

    Example: `waystation schedule cancel sqlite:///shop.db 9u2xT0aKq3Zb-1`
    """
    where, wanted = positional(["ID"], target, message_id)
    if not asyncio.run(_cancel(where, wanted)):
        note(f"no message {wanted!r} waits for its time")
        raise typer.Exit(1)
    say(f"{wanted} cancelled")


def _instant(text: str) -> float:
    """Return a time as typed, in Unix seconds: RFC 3339 with a zone, or a duration from now.

    Raises:
        ConfigurationError: It is neither.
    """
    with contextlib.suppress(ValueError):
        if (moment := datetime.fromisoformat(text)).tzinfo is not None:
            return moment.timestamp()
    with contextlib.suppress(ConfigurationError):
        return time.time() + seconds_of(text, "WHEN")
    raise ConfigurationError(
        f"{text!r} is not a time with its zone: write 2027-01-31T09:00:00+01:00, or how long from now: 90s, 2m, 3d"
    )


async def _scheduled(target: str, pattern: str, before: float | None, limit: int) -> Sequence[ScheduledInfo]:
    async with inspector_at(target) as inspector:
        return await inspector.scheduled(pattern=pattern, before=before, limit=limit)


async def _move(target: str, message_id: str, due: float) -> bool:
    async with inspector_at(target) as inspector:
        return await inspector.move_scheduled(message_id, due)


async def _cancel(target: str, message_id: str) -> bool:
    async with inspector_at(target) as inspector:
        return await inspector.cancel_scheduled(message_id)
