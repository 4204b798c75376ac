"""Runs `async def` tests, each on an event loop of its own; no plug-in needed.

A test that leaves a task running fails, even if its assertions hold: whatever is started must be ended by
the one who started it, and a stray task is how a later test comes to fail for no reason.

What programs under test leave in the folder for temporary files (the sockets of a database whose own path is too
long for them) lies in one folder of the run, and goes with it.
"""

import asyncio
import functools
import inspect
import multiprocessing.util
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests import brokers, matrix, shares
from tests.matrix import pytest_addoption

__all__ = ["pytest_addoption"]


def pytest_configure(config: pytest.Config) -> None:
    """Give this run, and the processes that it starts, a short folder for temporary files; pytest's own stay."""
    if not shares.is_one_of_several(config):
        have_a_folder(config)
    for name, plugin in {"brokers": brokers, "shares": shares}.items():
        config.pluginmanager.register(plugin, name)
    matrix.pytest_configure(config)


def have_a_folder(config: pytest.Config) -> None:
    """Make it, and clear it away with the run. The processes that share a run inherit it."""
    usual = tempfile.gettempdir()
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", usual)
    multiprocessing.util.get_temp_dir()  # made now, in the usual place: it is cleared away after this one
    folder = tempfile.mkdtemp(prefix="ws-")
    tempfile.tempdir = os.environ["TMPDIR"] = folder

    def clear_away() -> None:
        tempfile.tempdir = os.environ["TMPDIR"] = usual
        shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(clear_away)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a coroutine function with its fixtures; leave every other test to pytest."""
    test = pyfuncitem.obj
    property_test = getattr(test, "hypothesis", None)  # `@given` hides the coroutine function inside
    if property_test is not None and inspect.iscoroutinefunction(property_test.inner_test):
        property_test.inner_test = on_a_loop(property_test.inner_test)
    if not inspect.iscoroutinefunction(test):
        return None
    wanted = inspect.signature(test).parameters
    on_a_loop(test)(**{name: value for name, value in pyfuncitem.funcargs.items() if name in wanted})
    return True


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The same test for a caller without a loop."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(and_nothing_left(test(*args, **kwargs)))

    return run


async def and_nothing_left(test: Coroutine[Any, Any, None]) -> None:
    """Await the test, then insist that it ended every task that it began."""
    await test
    await asyncio.sleep(0)  # what was cancelled in the test's last step may end now
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        pytest.fail(f"the test left {len(left)} running: " + ", ".join(map(repr, left)))
