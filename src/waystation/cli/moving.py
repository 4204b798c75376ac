"""`waystation move` and `waystation bridge`: from one medium to another."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from waystation import ConfigurationError
from waystation._core.url import redact
from waystation._moving.bridge import Bridge, Copied, Ends
from waystation._moving.journal import Journal
from waystation._moving.media import SYSTEM_CLOCK, mark_of, opened
from waystation._moving.move import Move, Moved, Plan

from .logs import LogFormat, LogLevel, log_to_stderr
from .output import note, print_json, say, show_facts
from .parameters import AsJson
from .run import loops
from .target import check_exists

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The URL to move from.", show_default=False)]
Target = Annotated[str, typer.Argument(metavar="TARGET", help="The URL to move to.", show_default=False)]


def move(
    source: Source,
    target: Target,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be moved.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave at the source what was moved. Nobody may handle it there.")
    ] = False,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where it is put down how far the move is. Default: a file in this folder, named after the two.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take everything along to another medium: topics, groups and their places, what is owed, scheduled, and dead.

    Stop the programs that handle messages first. Killed at any moment, the same command goes on where it was.

    Example: `waystation move sqlite:///shop.db nats://127.0.0.1:4222`
    """
    check_exists(source)
    if mark_of(source) == mark_of(target):
        raise ConfigurationError(
            f"{redact(source)} and {redact(target)} are the same: there is nothing to move"
        )
    if dry_run:
        plan = asyncio.run(_plan(source, target))
        _show(plan, as_json=as_json)
        return
    file = journal or Path(f"waystation-move-{mark_of(source)}-{mark_of(target)}")
    moved = asyncio.run(_move(source, target, file, clear=not keep))
    _show(moved, as_json=as_json)
    if not as_json:
        _say_what_is_left(moved, source, target, file)


def bridge(
    source: Source,
    target: Target,
    *,
    topics: Annotated[
        list[str],
        typer.Option("--topics", "-t", metavar="PATTERN", help="What to copy: 'orders.#'. May be repeated."),
    ],
    group: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The bridge's group at the source, which keeps its place. Default: named after the target.",
            show_default=False,
        ),
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Begin with what is published from now on, when it is run first.")
    ] = False,
    log_level: Annotated[
        LogLevel, typer.Option(help="Log lines of this level and graver ones.")
    ] = LogLevel.INFO,
    log_format: Annotated[LogFormat, typer.Option(help="For people, or for machines.")] = LogFormat.CONSOLE,
) -> None:
    """Keep copying messages to another medium, each at least once and with its id, until SIGTERM or Ctrl-C.

    Example: `waystation bridge sqlite:///shop.db nats://127.0.0.1:4222 --topics 'orders.#'`
    """
    log_to_stderr(log_level, log_format)
    check_exists(source)
    marks = mark_of(source), mark_of(target)
    if marks[0] == marks[1]:
        raise ConfigurationError(f"{redact(source)} and {redact(target)} are the same: a bridge needs two")
    with asyncio.Runner(loop_factory=loops()) as runner:
        copied = runner.run(
            _bridge(source, target, marks, group or f"bridge-{marks[1]}", tuple(topics), new=new)
        )
    say(f"copied {copied.copied:,} messages, {copied.known:,} of which were there already")
    if copied.refused:
        note(f"{copied.refused:,} were not taken: waystation dead list {redact(source)}")


async def _plan(source: str, target: str) -> Plan:
    async with opened(source, clock=SYSTEM_CLOCK) as one, opened(target, clock=SYSTEM_CLOCK) as other:
        return await Move(one, other, clock=SYSTEM_CLOCK).plan()


async def _move(source: str, target: str, file: Path, *, clear: bool) -> Moved:
    journal = Journal(file)
    try:
        _claim(journal, source, target, file)
        async with opened(source, clock=SYSTEM_CLOCK) as one, opened(target, clock=SYSTEM_CLOCK) as other:
            mover = Move(one, other, clock=SYSTEM_CLOCK, say=note)
            if journal.fact("stage") is None:
                await mover.plan()  # refuses what cannot be, before anything is touched
            return await mover.run(journal, clear=clear)
    finally:
        journal.close()


def _claim(journal: Journal, source: str, target: str, file: Path) -> None:
    """Have the journal be of this move, or find that it is.

    Raises:
        ConfigurationError: It is of another.
    """
    ends = f"{mark_of(source)} {mark_of(target)}"
    before = journal.fact("ends")
    if before not in (None, ends):
        raise ConfigurationError(f"{file} is the journal of another move: choose another file with --journal")
    if before is None:
        with journal.step():
            journal.put("ends", ends)
    else:
        note(f"going on with what {file} has")


async def _bridge(
    source: str, target: str, marks: tuple[str, str], group: str, patterns: tuple[str, ...], *, new: bool
) -> Copied:
    async with opened(source, clock=SYSTEM_CLOCK) as one, opened(target, clock=SYSTEM_CLOCK) as other:
        ends = Ends(
            source=one,
            target=other,
            source_mark=marks[0],
            target_mark=marks[1],
            group=group,
            patterns=patterns,
            start="new" if new else "earliest",
        )
        bridge = Bridge(ends, clock=SYSTEM_CLOCK)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, bridge.stop)
        try:
            note(f"copying {', '.join(patterns)} as group {group}; SIGTERM or Ctrl-C stops")
            return await bridge.run()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def _show(found: Plan | Moved, *, as_json: bool) -> None:
    facts = msgspec.to_builtins(found)
    if as_json:
        print_json(facts)
    else:
        show_facts({name.replace("_", " "): value for name, value in facts.items() if value != []})


def _say_what_is_left(moved: Moved, source: str, target: str, file: Path) -> None:
    if moved.damaged:
        note(f"{moved.damaged:,} damaged messages are still at {redact(source)}, which was left as it is")
    elif not moved.cleared:
        note(f"{redact(source)} still has what was moved: start nothing there that handles messages")
    if moved.late:
        note(
            f"{moved.late:,} messages were published at {redact(source)} when it was over: they are still there"
        )
    if moved.handled_again:
        note(f"{moved.handled_again:,} messages may be handled once more than they should be")
    say(f"moved; programs use {redact(target)} from now on. {file} can be removed")
