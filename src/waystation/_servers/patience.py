"""Waiting for what happens in other processes, which tell nobody: by looking again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

#: How often one looks, in seconds.
_LOOK_S = 0.05


def until(condition: Callable[[], bool], patience_s: float) -> bool:
    """Wait until something holds; say whether it does, at the latest after so many seconds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True
