"""`waystation replay`: let a group have messages once more, or skip what waits."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from waystation import ConfigurationError
from waystation._core.inspection import SeekInfo
from waystation._core.ports import Start
from waystation._core.topic import check_pattern

from .output import Row, note, show_rows
from .parameters import AsJson, positional, seconds_of
from .target import Target, inspector_at

#: SQLite counts to 2^63 - 1.
_DIGITS_MAX = 18


def replay(
    target: Target = None,
    group: Annotated[
        str | None, typer.Argument(metavar="GROUP", help="As 'groups' shows it.", show_default=False)
    ] = None,
    *,
    start: Annotated[
        str,
        typer.Option(
            "--from", metavar="WHERE", help="Offset, time, age, earliest or new.", show_default=False
        ),
    ],
    topic: Annotated[
        str, typer.Option(metavar="PATTERN", help="Only these of the topics that the group reads.")
    ] = "#",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    as_json: AsJson = False,
) -> None:
    """Move a group's place: every message from there on that is still kept comes once, as a first attempt.

    WHERE is an offset as 'tail' shows it, a time with its zone such as 2027-01-31T09:00:00+01:00, an age such as 90s,
    2h or 3d, 'earliest', or 'new' to skip what waits. What waits for a retry stays, and so do dead letters; other
    groups notice nothing. Programs may go on running: what they are handling now is refused when they settle it.

    Example: `waystation replay sqlite:///shop.db billing --topic orders.placed --from 2h --dry-run`
    """
    where, wanted = positional(["GROUP"], target, group)
    found = asyncio.run(_seek(where, wanted, check_pattern(topic), _start(start), dry_run=dry_run))
    rows = [_json(info) if as_json else _row(info) for info in found]
    show_rows(rows, as_json=as_json, empty="")
    if dry_run:
        note("nothing was changed: this was a dry run")
    elif not any(info.again or info.skipped for info in found):
        note("nothing comes again: 'waystation topics' shows what is still kept")


async def _seek(target: str, group: str, pattern: str, start: Start, *, dry_run: bool) -> Sequence[SeekInfo]:
    async with inspector_at(target) as inspector:
        return await inspector.seek(group, pattern, start, dry_run=dry_run)


def _start(text: str) -> Start:
    """Return a place as typed.

    Raises:
        ConfigurationError: It is none.
    """
    if text == "earliest":
        return "earliest"
    if text == "new":
        return "new"
    if text.isdecimal() and len(text) <= _DIGITS_MAX:
        return int(text)
    with contextlib.suppress(ValueError):
        if (moment := datetime.fromisoformat(text)).tzinfo is not None:
            return moment
    with contextlib.suppress(ConfigurationError):
        return datetime.fromtimestamp(time.time() - seconds_of(text, "--from"), UTC)
    raise ConfigurationError(
        f"--from {text!r} is no place: write an offset, a time with its zone such as 2027-01-31T09:00:00+01:00, an age "
        "such as 2h, earliest, or new"
    )


def _row(info: SeekInfo) -> Row:
    return {
        "group": info.group,
        "topic": info.topic,
        "again": info.again,
        "skipped": info.skipped,
        "taken back": info.taken_back,
        "lag": info.lag,
    }


def _json(info: SeekInfo) -> Row:
    return {
        "group": info.group,
        "topic": info.topic,
        "again": info.again,
        "skipped": info.skipped,
        "taken_back": info.taken_back,
        "lag": info.lag,
    }
