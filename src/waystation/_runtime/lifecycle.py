"""A bus from its start to its graceful end: what `bus.run()` and `waystation run` do."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from .signals import stop_signals

_log = logging.getLogger("waystation.run")


class Runnable(Protocol):
    """What of a bus is used here."""

    def running(self) -> AbstractAsyncContextManager[object]:
        """Connect and run the handlers; disconnect at the end."""

    async def drain(self, deadline_s: float) -> int:
        """Let handlers finish, give back what was not begun; return how many were cut off at the deadline."""


async def run_until_stopped(bus: Runnable, drain_s: float) -> int:
    """Run handlers until SIGTERM or SIGINT, then drain them; a second signal cuts everything short.

    Args:
        drain_s: How long handlers may go on after the first signal, in seconds.

    Returns:
        How many handlers were abandoned, at least 1 if a second signal came. Their messages come again.

    Raises:
        ConfigurationError: This is not the main thread, or a handler needs what its transport cannot give.
    """
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    stopping, forced = asyncio.Event(), asyncio.Event()

    def received(number: signal.Signals) -> None:
        if not stopping.is_set():
            _log.info("%s: stopping, in %g s at most; a second signal forces", number.name, drain_s)
            stopping.set()
        else:
            _log.warning("%s again: forcing", number.name)
            forced.set()
            task.cancel()

    with stop_signals(received):
        try:
            async with bus.running():
                _log.info("running; SIGTERM or Ctrl-C stops")
                await stopping.wait()
                abandoned = await bus.drain(drain_s)
        except asyncio.CancelledError:
            if not forced.is_set():
                raise  # somebody else's wish
            while task.uncancel():
                pass
            abandoned = 1
    if forced.is_set():
        _log.error("stopped by force; what still ran was abandoned and comes again")
    elif abandoned:
        _log.error(
            "stopped; %d handlers were abandoned at the deadline, their messages come again", abandoned
        )
    else:
        _log.info("stopped")
    return abandoned
