"""Which files this process has open, so that a forked child is not let near them.

SQLite keeps one book for each process of the files that it has locked, and a fork copies the book but not the locks. A
child that connected anew to such a file would believe that it holds them: its parent, the last one to close as far as
the file can tell, would delete the write-ahead log under the child's hands, and with it what was confirmed there. So
there is one book here too, of the same extent as SQLite's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ..._core.errors import ConfigurationError


class Entry(NamedTuple):
    """A file that is open, and the process that opened it."""

    path: Path
    pid: int


#: SQLite's own book is like this: one for each process, copied by a fork. Entered and left in one step each.
_OPEN: list[Entry] = []


def enter(path: Path) -> Entry:
    """Write down that this process opens a file, by its real path.

    Raises:
        ConfigurationError: This process was forked while the file was open.
    """
    entry = Entry(path, os.getpid())
    if any(other.path == path and other.pid != entry.pid for other in list(_OPEN)):
        raise ConfigurationError(
            f"{path.name} was open when this process was forked, which SQLite does not survive: fork before the bus "
            "connects, or start processes anew (multiprocessing's 'spawn' or 'forkserver')"
        )
    _OPEN.append(entry)
    return entry


def has_entered(path: Path) -> bool:
    """Say whether a file is open, or is being opened, by this book."""
    return any(entry.path == path for entry in list(_OPEN))


def leave(entry: Entry) -> None:
    """Write down that it is closed."""
    _OPEN.remove(entry)
