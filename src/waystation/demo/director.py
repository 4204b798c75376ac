"""The director: starts every process, watches them to the end, and compares what arrived with the file."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from waystation import Bus, WaystationError

from .._core.exitcode import ExitCode, exit_code
from .._core.url import redact
from .app import DEPARTED
from .effects import create_tables
from .flights import find_csv, read_flights
from .processes import Crew, DemoFailed
from .verify import compare, direct_pass
from .view import View, closing_table
from .watch import WORKERS_COUNT, Watch

#: Flights that `--quick` replays: the first three weeks.
QUICK_FLIGHTS_COUNT: Final = 20_000


def main(*, quick: bool, url: str | None) -> int:
    """Replay the departures of 2013 through a store, and check what arrived.

    Args:
        quick: Only the first `QUICK_FLIGHTS_COUNT` flights.
        url: The medium; None for a SQLite file in a temporary folder, which is deleted at the end.

    Returns:
        0 if everything arrived as it should, 1 if there is any difference, 2 if the demo cannot run at all,
        130 if it was interrupted.
    """
    limit = QUICK_FLIGHTS_COUNT if quick else None
    try:
        return asyncio.run(_interruptible(replay(url, find_csv(), limit, console=Console())))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 128 + signal.SIGINT
    except WaystationError as error:
        sys.stderr.write(f"waystation demo: {error}\n")
        return exit_code(error)
    except DemoFailed as error:
        sys.stderr.write(f"waystation demo: {error}\n")
        return ExitCode.FAILURE


async def replay(url: str | None, csv: Path, limit: int | None, *, console: Console) -> ExitCode:
    """Run the whole demo and print what came of it. Its processes and its folder are gone afterwards.

    Args:
        url: As for `main`.
        csv: The zipped file of flights.
        limit: How many of them; None for all.

    Raises:
        WaystationError: The medium cannot be used, or lacks something that the demo needs.
        DemoFailed: A process ended early, or the store holds an earlier run.
    """
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="waystation-demo-") as folder:
        place = url if url is not None else f"sqlite:///{folder}/flights.db"
        bus = Bus(place, name="director")
        _check(bus)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(bus)
            _check(bus)  # again: what is behind a server is known once it has said so
            beside = None if bus.capabilities.transactions else f"sqlite:///{folder}/effects.db"
            effects = bus if beside is None else await stack.enter_async_context(Bus(beside, name="effects"))
            await _prepare(bus, effects)
            async with Crew(place, beside, Path(folder)) as crew:
                await _start(crew, limit)
                # The feeder reads the file meanwhile too, so there is nothing to look at yet.
                console.print(f"reading the departures: {csv}", highlight=False, soft_wrap=True)
                direct = await asyncio.to_thread(lambda: direct_pass(read_flights(csv, limit)))
                total = len(direct.flights)
                with View(
                    console, f"{total:,} departures from New York in 2013, through {redact(place)}"
                ) as view:
                    watch = Watch(bus, effects, crew, view, total=total, begun=begun)
                    await watch.run()
            rows = compare(direct, await watch.outcome())
    console.print(closing_table(rows))
    console.print(watch.summary(), highlight=False, soft_wrap=True)
    return ExitCode.OK if all(row.same for row in rows) else ExitCode.FAILURE


async def _interruptible(work: Coroutine[Any, Any, ExitCode]) -> ExitCode:
    """Let SIGTERM end the demo as Ctrl-C does: its processes and its folder go with it."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def _check(bus: Bus) -> None:
    """Refuse a medium that lacks something.

    Raises:
        UnsupportedCapability: The sentence says what is missing.
    """
    facts = bus.capabilities
    facts.require("multi_process", by="the demo")
    facts.require("ordered_by_key", by="the demo")
    facts.require("request_reply", by="the demo")
    facts.require("inspectable", by="the demo's view")


async def _prepare(bus: Bus, effects: Bus) -> None:
    async with effects.transaction() as tx:
        known = not await create_tables(tx)
    if known or any(info.topic == DEPARTED.name for info in await bus.inspector().groups()):
        raise DemoFailed("this store holds an earlier run of the demo: delete it, or name another with --url")


async def _start(crew: Crew, limit: int | None) -> None:
    await crew.run("delays", processes=WORKERS_COUNT)
    await crew.run("alerts")
    await crew.run("status")
    await crew.feed(limit)
