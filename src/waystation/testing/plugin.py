"""The pytest plugin: a program's own bus on a medium of the test's own, in virtual time, with faults if wanted.

pytest finds it by itself. `docs/how-to/testing.md` shows how it is used.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from waystation import Bus

    from .clock import VirtualClock
    from .embedded import EmbeddedBus

# What is imported inside functions would otherwise cost every run of pytest, whether it tests a bus or not.

_MARK = "waystation_faults"

#: How many schedules a test is run under, unless it says.
_RUNS_COUNT = 200


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a program say where its bus is."""
    parser.addini("waystation_bus", "The bus that is tested, as MODULE:BUS, such as shop:bus.")


def pytest_configure(config: pytest.Config) -> None:
    """Announce the mark."""
    config.addinivalue_line(
        "markers",
        f"{_MARK}(n={_RUNS_COUNT}, seed=0): run the test n times, each time under another schedule of faults.",
    )


@pytest.fixture
def waystation_bus(pytestconfig: pytest.Config) -> Bus:
    """Return the bus that is tested. Override it, or set `waystation_bus = "shop:bus"` in pytest's settings."""
    from waystation import Bus

    place = pytestconfig.getini("waystation_bus")
    module, _, name = place.partition(":")
    if not module or not name:
        raise pytest.UsageError(
            'say which bus is tested: waystation_bus = "shop:bus" in pytest\'s settings, or a fixture waystation_bus '
            "that returns it"
        )
    found = getattr(importlib.import_module(module), name, None)
    if not isinstance(found, Bus):
        raise pytest.UsageError(f"waystation_bus = {place!r}: {module} has no bus of the name {name!r}")
    return found


@pytest.fixture
def waystation_url() -> str:
    """Return the kind of medium that a test gets a new one of; nothing: `memory://` if its handlers need no more.

    Override it for another, such as `sqlite:///shop.db?settle=flushed`; the file is made in the test's own folder.
    """
    return ""


@pytest.fixture
def clock() -> VirtualClock:
    """Return the time of the test, which passes when the test says so."""
    from .clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def bus(waystation_bus: Bus) -> EmbeddedBus:
    """Return the program's bus, on a new medium. While an `async` test runs, its handlers do."""
    from .embedded import EmbeddedBus

    return EmbeddedBus.of(waystation_bus)


@dataclass(frozen=True, slots=True)
class Stage:
    """What a test of a bus plays on: the bus, a new medium for each run, and the time."""

    bus: EmbeddedBus
    urls: Iterator[str]
    clock: VirtualClock


@pytest.fixture
def _waystation_stage(request: pytest.FixtureRequest, bus: object, tmp_path: Path) -> Iterator[Stage | None]:
    """Return what a test plays on; nothing if `bus` is a fixture of the project's own, and none of our business."""
    from .embedded import EmbeddedBus
    from .scratch import scratch

    if not isinstance(bus, EmbeddedBus):
        yield None
        return
    url: str = request.getfixturevalue("waystation_url")
    clock: VirtualClock = request.getfixturevalue("clock")
    with scratch(url or bus.simplest_url, folder=tmp_path) as media:
        yield Stage(bus, media.urls, clock)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test of a bus its stage; refuse a mark that means nothing."""
    for item in items:
        mark = item.get_closest_marker(_MARK)
        if mark is not None and (mark.args or not mark.kwargs.keys() <= {"n", "seed"}):
            raise pytest.UsageError(f"{item.nodeid}: write {_MARK}(n={_RUNS_COUNT}, seed=0)")
        if not isinstance(item, pytest.Function):
            continue
        if "bus" in item.fixturenames and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.append("_waystation_stage")
        elif mark is not None:
            raise pytest.UsageError(f"{item.nodeid}: {_MARK} is for an `async` test with the fixture `bus`")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the `async` tests of a bus, and those of the conformance suite, each on an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    if hasattr(pyfuncitem.obj, "mark"):
        from . import items

        return items.call(pyfuncitem)
    stage = pyfuncitem.funcargs.get("_waystation_stage")
    mark = pyfuncitem.get_closest_marker(_MARK)
    if not isinstance(stage, Stage):
        if mark is not None:
            pytest.fail(
                f"{_MARK} is for a test with Waystation's own fixture `bus`, which is overridden here",
                pytrace=False,
            )
        return None
    if mark is None:
        asyncio.run(_once(pyfuncitem, stage))
    else:
        asyncio.run(_often(pyfuncitem, stage, **mark.kwargs))
    return True


async def _once(item: pytest.Function, stage: Stage) -> None:
    from .items import arguments

    with stage.bus.on(next(stage.urls), clock=stage.clock):
        async with stage.bus.at_work():
            await item.obj(**arguments(item))


async def _often(item: pytest.Function, stage: Stage, *, n: int = _RUNS_COUNT, seed: int = 0) -> None:
    from .faults.life import Survival
    from .items import arguments

    given = arguments(item)

    def test(clock: VirtualClock) -> Awaitable[None]:
        started: Awaitable[None] = item.obj(**(given | {"clock": clock} if "clock" in given else given))
        return started

    await Survival(test, stage.bus, stage.urls).prove(range(seed, seed + n))
