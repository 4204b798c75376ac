"""Where a group begins, and what ids say, as scripts write it."""

from __future__ import annotations

import math
from datetime import datetime

from ..._core.duration import unix_time
from ..._core.ports import Start


def start_text(start: Start) -> str:
    """Return a start position as scripts read it.

    Raises:
        ConfigurationError: A time without a zone.
    """
    if isinstance(start, datetime):
        return f"time {max(0, math.floor(unix_time(start, name='start') * 1000))}"
    return f"offset {max(0, start)}" if isinstance(start, int) else start


def seconds_of(entry_id: bytes) -> float | None:
    """Return when an entry was added, in Unix seconds; None if there is no entry."""
    return int(entry_id.partition(b"-")[0]) / 1000 if entry_id else None
