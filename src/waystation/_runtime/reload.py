"""Noticing that source files changed, by looking at them: no dependency, the same on every system."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from .._core.limits import RELOAD_POLL_S
from .._core.ports import Clock

#: Folders that hold other people's code, or none.
SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})

Snapshot: TypeAlias = Mapping[str, int]
"""The Python files of some folders, and when each was last changed (nanoseconds)."""


async def changes(folders: Sequence[Path], clock: Clock) -> AsyncGenerator[Sequence[str], None]:
    """Yield the names of Python files below `folders` that were changed, added or removed, each time there are some.

    A thread looks, so that a large tree does not stop the event loop.
    """
    before = await asyncio.to_thread(snapshot, folders)
    while True:
        await clock.sleep(RELOAD_POLL_S)
        now = await asyncio.to_thread(snapshot, folders)
        if changed := differences(before, now):
            yield changed
        before = now


def snapshot(folders: Sequence[Path]) -> Snapshot:
    """Look at every Python file below `folders`. Hidden folders and those in `SKIPPED` are left out."""
    return {name: changed for folder in folders for name, changed in _files(folder)}


def differences(before: Snapshot, after: Snapshot) -> Sequence[str]:
    """Return the files that were added, removed or changed, by name."""
    return sorted({name for name, _ in before.items() ^ after.items()})


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in SKIPPED]
        for path in (Path(parent, name) for name in names if name.endswith(".py")):
            try:
                yield str(path), path.stat().st_mtime_ns
            except FileNotFoundError:
                continue  # an editor replaced it between the two calls; the next look sees the new one
