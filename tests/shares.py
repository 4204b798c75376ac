"""Several processes that share a run, as `make test` has two: each file is tested by one of them, long files first.

pytest-xdist hands the files out (`--dist=loadfile` in pyproject.toml) in the order in which they were collected. While
the last one is at work the other processes have nothing left to do, so that it should be a short one. How long a file
takes is not known before; what its tests are allowed goes well with it: those that need more than the usual time say
so with the mark `timeout`.

A process that crashes is not replaced (`--max-worker-restart=0`): the run ends, and fails.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

_CRASHED = pytest.StashKey[bool]()


def is_one_of_several(config: pytest.Config) -> bool:
    """Whether this process has a share of a run that another one began."""
    return hasattr(config, "workerinput")


def process_of(config: pytest.Config) -> str:
    """Return a name that no other process of the run has."""
    return str(config.workerinput["workerid"]) if hasattr(config, "workerinput") else "only"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the files that may take long first. The tests of a file stay in their order."""
    if not is_one_of_several(config):
        return
    usual_s = float(config.getini("timeout"))
    files = [[*tests] for _, tests in itertools.groupby(items, key=path_of)]
    files.sort(key=lambda tests: (longest_s(tests, usual_s), len(tests)), reverse=True)
    items[:] = itertools.chain.from_iterable(files)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """Remember that a process crashed."""
    if error is not None:
        node.config.stash[_CRASHED] = True


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Forget what failed, if the run broke off: passing with `--last-failed` would say nothing of what never ran."""
    cache = getattr(session.config, "cache", None)
    broke_off = exitstatus == pytest.ExitCode.INTERNAL_ERROR or session.config.stash.get(_CRASHED, False)
    if broke_off and cache is not None and not is_one_of_several(session.config):
        cache.set("cache/lastfailed", {})


def path_of(item: pytest.Item) -> Path:
    return item.path


def longest_s(tests: Iterable[pytest.Item], usual_s: float) -> float:
    """Return the most that one of these tests may take, in seconds."""
    marks = (item.get_closest_marker("timeout") for item in tests)
    return max(usual_s if mark is None else float(mark.args[0]) for mark in marks)
