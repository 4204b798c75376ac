"""Who reads a database right now: what the kernel knows of SQLite's locks. Linux only; elsewhere nobody is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: The bytes of the shared-memory file that a connection locks while it reads the write-ahead log: SQLite's
#: WAL_READ_LOCK(0) to WAL_READ_LOCK(4), part of its file format.
_READ_MARKS: Final = range(123, 128)


def readers_of(path: Path) -> list[int]:
    """Return the processes that have a read transaction open on a database, by their ids.

    The shared-memory file is never opened for it: closing it again would drop this process's own locks.
    """
    try:
        inode = os.stat(path.with_name(path.name + "-shm")).st_ino
        table = Path("/proc/locks").read_text()
    except OSError:
        return []
    found = set()
    for line in table.splitlines():
        fields = line.split()  # 1: POSIX ADVISORY READ 4711 08:01:1234567 124 124
        if len(fields) == 8 and fields[3] == "READ" and fields[5].endswith(f":{inode}"):
            pid, first = int(fields[4]), int(fields[6])
            if first in _READ_MARKS and pid > 0:
                found.add(pid)
    return sorted(found)
