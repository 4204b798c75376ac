"""Whether something else in this process has the file open.

A process loses its locks on a file as soon as anything in it closes that file, and two SQLite libraries do not know of
each other: one of them would write while the other believes that nobody does. What comes later cannot be noticed here,
which is why the documentation says it too.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import apsw

from ..._core.errors import ConfigurationError
from . import forks


def refuse(path: Path) -> None:
    """Refuse a file that is open in this process other than by our SQLite.

    Raises:
        ConfigurationError: It is.
    """
    if _is_open(path) and not _is_ours(path):  # in this order: another thread may be opening it with us
        raise ConfigurationError(
            f"{path.name} is open in this process through something else, such as the sqlite3 module, and the two "
            "would not see each other's locks: close that first, and use bus.transaction() or a file of your own"
        )


def _is_ours(path: Path) -> bool:
    return forks.has_entered(path) or any(each.filename == str(path) for each in apsw.connections())


def _is_open(path: Path) -> bool:
    """Say whether a descriptor of this process leads to a file. False where that cannot be known."""
    with suppress(OSError):
        file = path.stat()
        for number in os.listdir("/dev/fd"):
            with suppress(OSError):  # the one that reads the list is closed by now
                if os.path.samestat(os.fstat(int(number)), file):
                    return True
    return False
