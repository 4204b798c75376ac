"""`waystation schedule`: messages that wait for their time, and messages that recur."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

import typer

from waystation import ConfigurationError
from waystation._core.duration import rfc3339
from waystation._core.inspection import Inspector, RecurringInfo, ScheduledInfo
from waystation._core.topic import check_pattern, matches

from .framework import Command, Family
from .output import Row, age, body_text, message_row, note, say, show_rows
from .parameters import AsJson, Limit, positional, seconds_of
from .target import Target, inspector_at


def _argument(name: str, about: str) -> Any:
    return typer.Argument(metavar=name, help=about, show_default=False)


MessageId = Annotated[str | None, _argument("ID", "Of a message, as 'schedule list' shows it.")]
AnyId = Annotated[str | None, _argument("ID", "Of a message, or the name of a recurring one.")]
Name = Annotated[str | None, _argument("NAME", "Of a recurring message, as 'schedule list' shows it.")]
When = Annotated[str | None, _argument("WHEN", "A time, or how long from now: 1h.")]


def build() -> typer.Typer:
    """Return the group of commands."""
    about = "Messages that wait for their time, and messages that recur."
    app = typer.Typer(cls=Family, help=about, no_args_is_help=True)
    app.command("list", cls=Command)(list_scheduled)
    app.command("move", cls=Command)(move)
    app.command("cancel", cls=Command)(cancel)
    app.command("pause", cls=Command)(pause)
    app.command("resume", cls=Command)(resume)
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
    """List what waits for its time and what recurs, the next one first. WHEN is as in 'schedule move'.

    Example: `waystation schedule list sqlite:///shop.db --topic 'orders.#' --before 1d`
    """
    (where,) = positional([], target)
    pattern = "#" if topic is None else check_pattern(topic)
    found = asyncio.run(_find(where, pattern, None if before is None else _instant(before), limit))
    rows = [_json(info) if as_json else _row(info) for info in found]
    show_rows(rows, as_json=as_json, empty="nothing is scheduled")


def move(target: Target = None, message_id: MessageId = None, when: When = None) -> None:
    """Let a message wait for another time. Exits with 1 if it is not there, or not any more.

    WHEN is a time with its zone, such as 2027-01-31T09:00:00+01:00, or how long from now, such as 90s, 2m, 1h or 3d.

    Example: `waystation schedule move sqlite:///shop.db 9u2xT0aKq3Zb-1 2h`
    """
    where, wanted, text = positional(["ID", "WHEN"], target, message_id, when)
    due = _instant(text)
    _change(where, lambda inspector: inspector.move_scheduled(wanted, due), otherwise=_NO_MESSAGE % wanted)
    say(f"{wanted} moved to {rfc3339(due)}")


def cancel(target: Target = None, message_id: AnyId = None) -> None:
    """Delete a message that waits for its time, or one that recurs. Exits with 1 if it is not there, or not any more.

    A program that declares a recurring message brings it back when it starts; to hold one back for good, pause it.

    Example: `waystation schedule cancel sqlite:///shop.db 9u2xT0aKq3Zb-1`
    """
    where, wanted = positional(["ID"], target, message_id)

    async def both(inspector: Inspector) -> bool:
        return await inspector.cancel_scheduled(wanted) or await inspector.remove_recurring(wanted)

    _change(where, both, otherwise=_NO_MESSAGE % wanted + ", and none recurs by this name")
    say(f"{wanted} cancelled")


def pause(target: Target = None, name: Name = None) -> None:
    """Publish a recurring message no more, also after a restart. What is held back is not published later.

    Example: `waystation schedule pause sqlite:///shop.db daily-report`
    """
    _pause(target, name, paused=True)


def resume(target: Target = None, name: Name = None) -> None:
    """Publish a recurring message again, from its next time on.

    Example: `waystation schedule resume sqlite:///shop.db daily-report`
    """
    _pause(target, name, paused=False)


_NO_MESSAGE = "no message %r waits for its time"


def _pause(target: str | None, name: str | None, *, paused: bool) -> None:
    where, wanted = positional(["NAME"], target, name)
    _change(
        where,
        lambda inspector: inspector.pause_recurring(wanted, paused=paused),
        otherwise=f"no message recurs by the name {wanted!r}",
    )
    say(f"{wanted} {'paused' if paused else 'goes on'}")


def _change(target: str, change: Callable[[Inspector], Awaitable[bool]], *, otherwise: str) -> None:
    """Change something, or say that it is not there and exit with 1."""

    async def changed() -> bool:
        async with inspector_at(target) as inspector:
            return await change(inspector)

    if not asyncio.run(changed()):
        note(otherwise)
        raise typer.Exit(1)


async def _find(
    target: str, pattern: str, before: float | None, limit: int
) -> list[ScheduledInfo | RecurringInfo]:
    async with inspector_at(target) as inspector:
        found: list[ScheduledInfo | RecurringInfo] = [
            *await inspector.scheduled(pattern=pattern, before=before, limit=limit),
            *(info for info in await inspector.recurring() if matches(pattern, info.topic)),
        ]
    found.sort(key=lambda info: info.due)
    return [info for info in found if before is None or info.due < before][:limit]


def _row(info: ScheduledInfo | RecurringInfo) -> Row:
    time_left = age(max(0.0, info.due - time.time()))
    if isinstance(info, ScheduledInfo):
        message = info.message
        named, recurs, body = {"id": message.id, "topic": message.topic}, "", body_text(message)
    else:
        named, recurs, body = {"id": info.name, "topic": info.topic}, info.rule, ""
        time_left = "paused" if info.paused else time_left
    return named | {"due": rfc3339(info.due), "in": time_left, "recurs": recurs, "body": body}


def _json(info: ScheduledInfo | RecurringInfo) -> Row:
    due = rfc3339(info.due)
    if isinstance(info, ScheduledInfo):
        return {"due": due, "message": message_row(info.message)}
    what = {"name": info.name, "topic": info.topic, "rule": info.rule, "paused": info.paused}
    return {"due": due, "recurring": what}


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
