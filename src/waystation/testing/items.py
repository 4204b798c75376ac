"""Running `async def` tests, each on an event loop of its own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from typing import Any

import pytest

#: How long one test may take, in real seconds, before what it waits for is held to never come.
_PATIENCE_S = 60.0


def call(item: pytest.Function) -> bool | None:
    """Run a coroutine function with its fixtures; return None for any other test."""
    if not inspect.iscoroutinefunction(item.obj):
        return None
    asyncio.run(_patiently(item.obj(**arguments(item))))
    return True


def arguments(item: pytest.Function) -> dict[str, Any]:
    """Return those of a test's fixtures that it takes as arguments."""
    wanted = inspect.signature(item.obj).parameters
    return {name: value for name, value in item.funcargs.items() if name in wanted}


async def _patiently(test: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        await test
