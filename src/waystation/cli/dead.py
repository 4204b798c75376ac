"""`waystation dead`: look at dead letters, give them another chance, or delete them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Annotated, Any

import typer

from waystation import ConfigurationError
from waystation._core.duration import rfc3339
from waystation._core.inspection import DeadInfo, Inspector
from waystation._core.limits import BATCH_MESSAGES_MAX

from .framework import Command, Family
from .hints import insist_on_group
from .output import Row, body_text, console, message_row, note, print_json, say, show_facts, show_rows
from .parameters import AsJson, Group, Limit, positional
from .target import Target, inspector_at, is_target

Numbers = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NUMBER]...", help="As 'dead list' shows them.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="Every one, or with --group every one of that group.")]

#: SQLite counts to 2^63 - 1.
_DIGITS_MAX = 18


def build() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(
        cls=Family, help="Dead letters: messages that were given up, with the reason.", no_args_is_help=True
    )
    app.command("list", cls=Command)(list_dead)
    app.command("show", cls=Command)(show)
    app.command("retry", cls=Command)(retry)
    app.command("purge", cls=Command)(purge)
    return app


def list_dead(
    target: Target = None, *, group: Group = None, limit: Limit = 100, as_json: AsJson = False
) -> None:
    """List dead letters, oldest first.

    Example: `waystation dead list sqlite:///shop.db --group billing`
    """
    (where,) = positional([], target)
    found = asyncio.run(_list(where, group, limit))
    rows = [_json(dead) for dead in found] if as_json else [_row(dead) for dead in found]
    show_rows(rows, as_json=as_json, empty="no dead letters")
    if len(found) == limit and not as_json:
        note(f"the first {limit}; --limit shows more")


def show(
    target: Target = None,
    number: Annotated[
        str | None, typer.Argument(metavar="NUMBER", help="As 'dead list' shows it.", show_default=False)
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter with its message, its reason and where the program raised.

    Example: `waystation dead show sqlite:///shop.db 17`
    """
    where, text = positional(["NUMBER"], target, number)
    (wanted,) = _numbers([text])
    dead = asyncio.run(_find(where, wanted))
    if dead is None:
        note(f"no dead letter {wanted}")
        raise typer.Exit(1)
    if as_json:
        print_json(_json(dead))
        return
    show_facts(
        {
            "number": str(dead.number),
            "group": dead.group,
            "topic": dead.topic,
            "attempts": dead.attempts,
            "died": rfc3339(dead.died),
            "reason": dead.reason,
        }
        | {name: value for name, value in message_row(dead.message).items() if name not in ("topic", "body")}
        | {"body": body_text(dead.message)}
    )
    if dead.detail not in ("", dead.reason):
        console().print()
        say(dead.detail.rstrip())


def retry(
    target: Target = None,
    numbers: Numbers = None,
    *,
    every: All = False,
    group: Group = None,
) -> None:
    """Give dead letters back to their group, as new first attempts.

    Example: `waystation dead retry sqlite:///shop.db 17 18`
    """
    where, chosen = _chosen(target, numbers, every=every, group=group)
    count = asyncio.run(_apply(where, chosen, group, lambda inspector: inspector.retry_dead))
    _report(count, "given back")


def purge(
    target: Target = None,
    numbers: Numbers = None,
    *,
    every: All = False,
    group: Group = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete dead letters for good.

    Example: `waystation dead purge sqlite:///shop.db --all --group billing --yes`
    """
    where, chosen = _chosen(target, numbers, every=every, group=group)
    if chosen is None and not yes:
        of = f" of group {group!r}" if group else ""
        typer.confirm(f"Delete every dead letter{of}?", abort=True)
    count = asyncio.run(_apply(where, chosen, group, lambda inspector: inspector.purge_dead))
    _report(count, "deleted")


def _chosen(
    target: str | None, numbers: Sequence[str] | None, *, every: bool, group: str | None
) -> tuple[str, list[int] | None]:
    """Return TARGET and the numbers, None for all."""
    texts = list(numbers or ())
    if target is not None and not is_target(target):
        texts = [target, *texts]
        target = None
    (where,) = positional([], target)
    if every == bool(texts):
        raise ConfigurationError(
            "name dead letters by number, as 'waystation dead list' shows them, or use --all"
        )
    if group is not None and not every:
        raise ConfigurationError("--group goes with --all")
    return where, None if every else _numbers(texts)


def _numbers(texts: Sequence[str]) -> list[int]:
    for text in texts:
        if not text.isdecimal() or len(text) > _DIGITS_MAX:
            raise ConfigurationError(f"{text!r} is not the number of a dead letter")
    return [int(text) for text in texts]


async def _list(target: str, group: str | None, limit: int) -> Sequence[DeadInfo]:
    async with inspector_at(target) as inspector:
        if group is not None:
            insist_on_group(group, await inspector.groups())
        return await inspector.dead(group=group, limit=limit)


async def _find(target: str, number: int) -> DeadInfo | None:
    async with inspector_at(target) as inspector:
        found = await inspector.dead(limit=1, after=number - 1)
    return found[0] if found and found[0].number == number else None


async def _apply(
    target: str,
    numbers: list[int] | None,
    group: str | None,
    action: Callable[[Inspector], Callable[[Sequence[int]], Awaitable[int]]],
) -> int:
    """Do something to the dead letters of these numbers, or to all; return how many there were."""
    async with inspector_at(target) as inspector:
        act = action(inspector)
        if numbers is not None:
            return await act(numbers)
        if group is not None:
            insist_on_group(group, await inspector.groups())
        return sum([await act(batch) async for batch in _batches(inspector, group)])


async def _batches(inspector: Inspector, group: str | None) -> AsyncIterator[list[int]]:
    """Yield the numbers of all dead letters that there are now, a batch at a time."""
    after = 0
    while found := await inspector.dead(group=group, limit=BATCH_MESSAGES_MAX, after=after):
        after = found[-1].number
        yield [dead.number for dead in found]


def _report(count: int, what: str) -> None:
    say(f"{count:,} {what}")
    if not count:
        raise typer.Exit(1)


def _row(dead: DeadInfo) -> Row:
    return {
        "number": str(dead.number),
        "group": dead.group,
        "topic": dead.topic,
        "attempts": dead.attempts,
        "died": rfc3339(dead.died),
        "reason": dead.reason.partition("\n")[0],
    }


def _json(dead: DeadInfo) -> dict[str, Any]:
    return {
        "number": dead.number,
        "group": dead.group,
        "topic": dead.topic,
        "attempts": dead.attempts,
        "died": rfc3339(dead.died),
        "reason": dead.reason,
        "detail": dead.detail,
        "message": message_row(dead.message),
    }
