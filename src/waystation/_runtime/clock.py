"""The real clock. Tests bring a virtual one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .._core.ports import Timer


class SystemClock:
    """Time as the operating system and the running event loop tell it."""

    #: The builtins themselves: a wrapper would cost as much again for every message sent.
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    async def sleep(self, delay_s: float) -> None:
        """Wait, and let others run."""
        await asyncio.sleep(delay_s)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """Call on the running event loop when the delay has passed."""
        return asyncio.get_running_loop().call_later(delay_s, callback)
