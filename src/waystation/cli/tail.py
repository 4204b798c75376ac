"""`waystation tail`: the last messages of topics, and those that come, without taking any from a group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import typer
from rich.text import Text

from waystation._core.duration import rfc3339
from waystation._core.inspection import Inspector
from waystation._core.limits import BATCH_MESSAGES_MAX, TAIL_POLL_S
from waystation._core.message import Message
from waystation._core.topic import check_pattern, matches
from waystation._core.url import did_you_mean

from .output import body_text, console, message_row, note, print_json_line
from .parameters import positional
from .target import Target, inspector_at


def tail(
    target: Target = None,
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="PATTERN", help="A topic, or 'orders.*', 'orders.#', '#'.", show_default=False
        ),
    ] = None,
    *,
    count: Annotated[
        int, typer.Option("-n", "--lines", metavar="N", min=0, help="How many of each topic.")
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is published from now on.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print the last messages of topics. Groups lose nothing by it.

    Example: `waystation tail sqlite:///shop.db 'orders.#' --follow`
    """
    where, wanted = positional(["PATTERN"], target, pattern)
    show = _print_json if as_json else _print_line
    shown = asyncio.run(_tail(where, check_pattern(wanted), count, follow, show))
    if not shown:
        raise typer.Exit(1)


async def _tail(
    target: str, pattern: str, count: int, follow: bool, show: Callable[[int, Message], None]
) -> int:
    """Show messages, or say why there are none; return how many. With `follow` only Ctrl-C ends it."""
    shown = 0
    async with inspector_at(target, create=follow) as inspector:
        ends = await _ends(inspector, pattern)
        if not ends:
            note(f"no topic {pattern!r} yet{did_you_mean(pattern, await _names(inspector))}")
        places = {topic: max(0, end - count) for topic, end in ends.items()}
        while True:
            rows = await _next(inspector, places, ends)
            for offset, message in rows:
                show(offset, message)
            shown += len(rows)
            if not rows:
                if not follow:
                    if ends and not shown:
                        note(f"no messages in {pattern!r}")
                    return shown
                await asyncio.sleep(TAIL_POLL_S)
                ends = await _ends(inspector, pattern)


async def _names(inspector: Inspector) -> list[str]:
    return [info.name for info in await inspector.topics()]


async def _ends(inspector: Inspector, pattern: str) -> dict[str, int]:
    """Return the topics that fit, and the offset that the next message of each will have."""
    return {info.name: info.next_offset for info in await inspector.topics() if matches(pattern, info.name)}


async def _next(
    inspector: Inspector, places: dict[str, int], ends: dict[str, int]
) -> list[tuple[int, Message]]:
    """Return some messages between these places and ends, by time, and move the places behind them.

    A topic that is not in `places` has just appeared and is read from its beginning.
    """
    found: list[tuple[int, Message]] = []
    for topic, end in ends.items():
        start = places.get(topic, 0)
        if start < end:
            rows = await inspector.browse(topic, start=start, limit=min(end - start, BATCH_MESSAGES_MAX))
            places[topic] = rows[-1][0] + 1 if rows else end
            found.extend(rows)
    return sorted(found, key=lambda row: row[1].time)


def _print_line(offset: int, message: Message) -> None:
    line = Text()
    line.append(rfc3339(message.time), style="dim")
    line.append(f" {message.topic}", style="cyan")
    line.append(f" {offset}", style="dim")
    if message.key is not None:
        line.append(f" {message.key}", style="yellow")
    line.append(f" {body_text(message)}")
    out = console()
    out.print(line, soft_wrap=True)
    out.file.flush()


def _print_json(offset: int, message: Message) -> None:
    print_json_line({"offset": offset} | message_row(message))
